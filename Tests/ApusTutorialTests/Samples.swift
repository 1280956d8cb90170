import ApusDSL
import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import ApusTutorial

/// A launch of a level: its kernel, its arguments, and what comes out.
struct Sample {
  let kernel: any Kernel
  let grid: GridSize
  /// Binds buffers and gives the arguments and the output's address.
  let bind: (inout GlobalMemory) -> (arguments: [KernelArgument], output: UInt64)

  /// Runs the level's kernel, or a changed one with the same parameters.
  func run(
    _ changed: KernelIR? = nil, seed: UInt64 = 0
  ) throws -> (report: SimulationReport, output: [Float]) {
    var memory = GlobalMemory()
    let (arguments, output) = bind(&memory)
    // The limit is far above what these launches take: a hanging one must fail soon.
    let options = SimulationOptions(seed: seed, instructionLimit: 1 << 18)
    let report = Simulator(try changed ?? kernel.build(), options: options).run(
      grid: grid, arguments: arguments, memory: &memory)
    return (report, memory.elements(at: output, as: Float.self))
  }
}

/// Matrices of a level, row by row, already rounded to bf16 where the kernel has bf16.
struct Matrix {
  let rows: Int
  let columns: Int
  let values: [Float]

  /// Small integers, so that products are exact in any order.
  static func integers(_ rows: Int, _ columns: Int, _ random: inout SplitMix64) -> Matrix {
    Matrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { _ in Float(Int.random(in: -3...3, using: &random)) })
  }

  /// Numbers in −2…2 with the precision of bf16.
  static func bfloats(_ rows: Int, _ columns: Int, _ random: inout SplitMix64) -> Matrix {
    Matrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { _ in
        BFloat16(Float.random(in: -2...2, using: &random)).float
      })
  }

  subscript(row: Int, column: Int) -> Float { values[row * columns + column] }

  private var codes: [UInt16] { values.map { BFloat16($0).bitPattern } }

  func bind(_ name: String, _ memory: inout GlobalMemory) -> KernelArgument {
    .pointer(memory.bind(name, elements: codes))
  }

  /// A tensor map with boxes of 64 columns and some rows.
  func bindMap(_ name: String, box rows: Int, _ memory: inout GlobalMemory) -> KernelArgument {
    .tensorMap(
      TensorMapDescription(
        address: memory.bind(name, elements: codes), elementByteCount: 2,
        sizes: [columns, self.rows], strides: [2 * columns], box: [64, rows],
        swizzle: .bytes128))
  }

  /// Self · otherᵀ.
  func product(_ other: Matrix) -> [Float] {
    (0..<rows).flatMap { row in
      (0..<other.rows).map { column in
        (0..<columns).reduce(Float(0)) { $0 + self[row, $1] * other[column, $1] }
      }
    }
  }
}

extension KernelArgument {
  static func u32(_ value: Int) -> KernelArgument { .scalar(.u32(UInt32(value))) }
  static func f32(_ value: Float) -> KernelArgument { .scalar(.f32(value)) }
}

/// Queries, keys and values of one head of width 64, and the attention of each query.
struct AttentionSample {
  let q: Matrix
  let k: Matrix
  let v: Matrix
  /// Of scores, times log₂e: 1 ÷ √64 · log₂e.
  let scale: Float = 0.125 * 1.442_695_04

  init(queries: Int, keys: Int, seed: UInt64) {
    var random = SplitMix64(seed: seed)
    q = .bfloats(queries, 64, &random)
    k = .bfloats(keys, 64, &random)
    v = .bfloats(keys, 64, &random)
  }

  /// Element (row, column) of the output in binary64, and a bound of the kernel's error there.
  ///
  /// P is rounded to bf16, 2^−9 relative, before it meets V; l is not. The exponent s·x − m has an
  /// error of 64 products and two more roundings, each at most 2^−23 of s · Σ|q·k|, which ln 2
  /// turns into a relative one of the power; ex2, α and 1 ÷ l add a few 2^−22. Sums over keys lose
  /// at most 2^−23 each, in P·V and in l.
  func expected(_ row: Int) -> [(value: Double, bound: Double)] {
    var largestTerm = 0.0
    let exponents = (0..<k.rows).map { key in
      let terms = (0..<64).map { Double(q[row, $0]) * Double(k[key, $0]) * Double(scale) }
      largestTerm = max(largestTerm, terms.reduce(0) { $0 + abs($1) })
      return terms.reduce(0, +)
    }
    let m = exponents.max() ?? 0
    let p = exponents.map { power($0 - m) }
    let l = p.reduce(0, +)
    let relative =
      0x1p-9 + 2 * (0.694 * largestTerm * 67 * 0x1p-23 + 6 * 0x1p-22)
      + 2 * Double(k.rows) * 0x1p-23
    return (0..<64).map { column in
      let sum = (0..<k.rows).reduce(0) { $0 + p[$1] * Double(v[$1, column]) }
      let magnitude = (0..<k.rows).reduce(0) { $0 + p[$1] * abs(Double(v[$1, column])) }
      return (sum / l, relative * magnitude / l)
    }
  }

  /// The elements that are further from the definition than the bound allows.
  func failures(_ output: [Float]) -> [String] {
    (0..<q.rows).flatMap { row in
      zip(0..<64, expected(row)).compactMap { column, expected in
        let found = Double(output[row * 64 + column])
        return abs(found - expected.value) <= expected.bound
          ? nil : "row \(row), column \(column): \(found), not \(expected.value)"
      }
    }
  }
}

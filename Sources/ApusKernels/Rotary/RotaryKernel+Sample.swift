internal import ApusCore
internal import ApusIR
internal import ApusNumerics

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

extension RotaryKernel: SampledKernel {
  /// More heads than a lane group serves, more pairs than its lanes take at once where the kernel has
  /// such rows, and elements behind the rotated ones.
  public func sample(seed: UInt64) -> KernelSample {
    let sample = RotarySample(self, seed: seed)
    return KernelSample(
      summary: "\(sample.rows) rows, \(sample.heads[0])+\(sample.heads[1]) heads of \(sample.dim), "
        + "\(sample.rotaryDim) rotated",
      buffers: sample.buffers, launches: sample.launches, check: sample.check)
  }
}

/// The numbers of a sample, and the definition in float64.
private struct RotarySample: Sendable {
  let kernel: RotaryKernel
  let rotaryDim: Int
  let dim: Int
  /// Heads of q and of k.
  let heads = [3, 2]
  let positions: [Int]
  /// q, then k.
  private let values: [[Float]]
  private let table: [Float]
  private let rope: RotaryEmbedding
  /// Elements before each tensor: rows of the narrow kernels are not aligned.
  private let lead: Int

  var rows: Int { positions.count }

  init(_ kernel: RotaryKernel, seed: UInt64) {
    self.kernel = kernel
    // The greatest power of two in these accesses is the kernel's lanes.
    let accesses = kernel.lanes == 1 ? 1 : kernel.lanes + 1
    rotaryDim = 2 * accesses * kernel.width
    dim = rotaryDim + 3 * kernel.width
    lead = kernel.width == 1 ? 1 : 0
    rope = RotaryEmbedding(pairing: kernel.pairing, rotaryDim: rotaryDim, scale: 2)
    var numbers = SampleNumbers(seed: seed)
    // A table has a row for each position.
    let last = kernel.angles == .table ? 4 : (1 << 20) - 1
    positions = [1, last, 0, Int(numbers.bits() % UInt64(last))]
    let (rows, dim) = (positions.count, dim)
    values = heads.map { numbers.values(rows * $0 * dim) }
    table = numbers.values(kernel.angles == .table ? (last + 1) * rotaryDim : 1)
  }

  var buffers: [KernelSample.Buffer] {
    let inputs = values.map { [Float](repeating: 0, count: lead) + $0 }
    let isWide = kernel.positions == .i64
    return [
      SampleNumbers.input("q", inputs[0], as: kernel.type),
      SampleNumbers.input("k", inputs[1], as: kernel.type),
      .output("qOut", byteCount: inputs[0].count * kernel.type.byteCount),
      .output("kOut", byteCount: inputs[1].count * kernel.type.byteCount),
      isWide
        ? .input("positions", positions.map(Int64.init))
        : .input("positions", positions.map(Int32.init)),
      .input("fractions", RotaryKernel.fractions(of: rope, rotaryDim: rotaryDim)),
      .input("table", table),
    ]
  }

  func launches(_ addresses: [UInt64]) -> [KernelLaunch] {
    let type = ScalarType(kernel.type)
    func view(_ buffer: Int) -> TensorView {
      .sample(addresses[buffer], type, [rows, heads[buffer % 2], dim], skipping: lead)
    }
    let source: RotarySource =
      switch kernel.angles {
      case .computed: .frequencies(rope)
      case .table:
        .cosSinCache(
          .sample(addresses[6], .f32, [table.count / rotaryDim, rotaryDim]),
          pairing: kernel.pairing)
      }
    let arguments = RotaryArguments(
      q: view(0), k: view(1), qOut: view(2), kOut: view(3),
      positions: .sample(addresses[4], kernel.positions == .i64 ? .i64 : .i32, [rows]),
      source: source)
    return RotaryKernel.launches(for: arguments, fractions: addresses[5], target: .sm80).launches
  }

  func check(_ contents: [[UInt8]]) -> [String] {
    var findings = SampleFindings()
    // Two products and a sum in f32; computed cosines and sines err by 2^−24 of a turn.
    let angle = kernel.angles == .table ? 0 : 2 * Double.pi * 0x1p-24
    for (part, name) in ["qOut", "kOut"].enumerated() {
      let found = SampleNumbers.values(of: contents[2 + part], as: kernel.type)
      for row in 0..<rows * heads[part] {
        let (expected, magnitude) = definition(part, row)
        for column in 0..<dim {
          let bound = kernel.type.bound(
            expected[column], error: magnitude[column] * (0x1p-22 + angle))
          findings.require(
            "\(name)[\(row / heads[part]), \(row % heads[part]), \(column)]",
            found[lead + row * dim + column], is: expected[column],
            within: column < rotaryDim ? bound : 0)
        }
      }
    }
    return findings.lines
  }

  /// A rotated row, and |a| + |b| of the pair of each element.
  private func definition(_ part: Int, _ row: Int) -> ([Double], [Double]) {
    let x = values[part][row * dim..<(row + 1) * dim].map(Double.init)
    let position = positions[row / heads[part]]
    let half = rotaryDim / 2
    var result = x
    var magnitude = x.map(\.magnitude)
    for pair in 0..<half {
      let (a, b) = kernel.pairing == .half ? (pair, pair + half) : (2 * pair, 2 * pair + 1)
      var (cosine, sine) = (0.0, 0.0)
      switch kernel.angles {
      case .computed:
        // theta^(−2i / rotaryDim) / scale
        let theta = pow(10_000, -Double(pair) / Double(half)) / 2 * Double(position)
        (cosine, sine) = (cos(theta), sin(theta))
      case .table:
        cosine = Double(table[position * rotaryDim + pair])
        sine = Double(table[position * rotaryDim + half + pair])
      }
      result[a] = x[a] * cosine - x[b] * sine
      result[b] = x[b] * cosine + x[a] * sine
      magnitude[a] = x[a].magnitude + x[b].magnitude
      magnitude[b] = magnitude[a]
    }
    return (result, magnitude)
  }
}

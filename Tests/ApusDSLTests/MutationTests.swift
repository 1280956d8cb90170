import ApusDSL
import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import Testing

/// Every synchronising op of a kernel, broken one at a time, must be noticed.
@Suite struct MutationTests {
  private static let seeds: Range<UInt64> = 0..<4

  private func options(_ seed: UInt64) -> SimulationOptions {
    SimulationOptions(seed: seed, instructionLimit: 1 << 17)
  }

  /// Lists what was not caught; `harmless` says which mutants may survive, each with its proof.
  private func expectCaught(
    _ run: MutationRun, count: Int, harmless: [String: String] = [:],
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) {
    for mutation in run.wrongResults {
      Issue.record("wrong results unnoticed: \(mutation)", sourceLocation: sourceLocation)
    }
    for mutation in run.survivors where harmless["\(mutation.operation) \(mutation.change)"] == nil
    {
      Issue.record("survivor: \(mutation)", sourceLocation: sourceLocation)
    }
    #expect(run.count == count, sourceLocation: sourceLocation)
    #expect(20 * run.survivors.count <= run.count, sourceLocation: sourceLocation)
  }

  @Test func `the transposing copy`() throws {
    let (rows, columns) = (32, 64)
    let x = (0..<rows * columns).map { Float($0) }
    let kernel = try TransposingCopy().build()
    let run = MutationRun(of: kernel, target: .sm80, seeds: Self.seeds) { kernel, seed in
      var memory = GlobalMemory()
      let xs = memory.bind("x", elements: x)
      let ys = memory.bindOutput("y", byteCount: 4 * x.count)
      let report = Simulator(kernel, options: options(seed)).run(
        grid: GridSize(columns / 32, rows / 32),
        arguments: [
          .pointer(xs), .pointer(ys), .scalar(.u32(UInt32(rows))), .scalar(.u32(UInt32(columns))),
        ], memory: &memory)
      let y = memory.elements(at: ys, as: Float.self)
      let expected = (0..<x.count).map { x[$0 % rows * columns + $0 / rows] }
      return MutationRun.Result(errors: report.errors, isCorrect: y == expected)
    }
    expectCaught(run, count: 1)
  }

  @Test func `the row softmax has nothing to break`() throws {
    let kernel = try RowSoftmax(columns: 64, warps: 4).build()
    #expect(KernelMutation.all(of: kernel).isEmpty)
  }

  @Test func `the ring product`() throws {
    let (panels, columns) = (5, 16)
    let k = 64 * panels
    var random = SplitMix64(seed: 6)
    let a = (0..<64 * k).map { _ in Float(Int.random(in: -8...8, using: &random)) }
    let b = (0..<columns * k).map { _ in Float(Int.random(in: -8...8, using: &random)) }
    var expected: [Float] = []
    for row in 0..<64 {
      for column in 0..<columns {
        var sum: Float = 0
        for inner in 0..<k { sum += a[row * k + inner] * b[column * k + inner] }
        expected.append(sum)
      }
    }
    let kernel = try RingProduct(columns: columns, stages: 2).build()
    let run = MutationRun(of: kernel, target: .sm90a, seeds: Self.seeds) { kernel, seed in
      var memory = GlobalMemory()
      func map(_ name: String, _ values: [Float], rows: Int) -> KernelArgument {
        let address = memory.bind(name, elements: values.map { BFloat16($0).bitPattern })
        return .tensorMap(
          TensorMapDescription(
            address: address, elementByteCount: 2, sizes: [k, rows], strides: [2 * k],
            box: [64, rows], swizzle: .bytes128))
      }
      let maps = [map("a", a, rows: 64), map("b", b, rows: columns)]
      let c = memory.bindOutput("c", byteCount: 4 * 64 * columns)
      let report = Simulator(kernel, options: options(seed)).run(
        grid: GridSize(1), arguments: maps + [.pointer(c), .scalar(.u32(UInt32(panels)))],
        memory: &memory)
      return MutationRun.Result(
        errors: report.errors, isCorrect: memory.elements(at: c, as: Float.self) == expected)
    }
    expectCaught(run, count: 24)
  }
}

import ApusDSL
import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import Foundation
import Testing

@Suite struct ExecutionTests {
  /// A limit far above what these launches take: a hanging one must fail soon.
  private static let options = SimulationOptions(instructionLimit: 1 << 18)

  /// Indices at which two results differ: short, where a difference of arrays would be long.
  private func mismatches<T: Equatable>(_ found: [T], _ expected: [T]) -> [Int] {
    if found.count != expected.count { return [min(found.count, expected.count)] }
    return Array(found.indices.filter { found[$0] != expected[$0] }.prefix(8))
  }

  @Test(arguments: [0, 1, 3, 4, 5, 511, 512, 513, 1030])
  func `vector add adds every element and nothing else`(_ count: Int) throws {
    var memory = GlobalMemory()
    let x = (0..<count).map { Float($0) }
    let y = (0..<count).map { Float(3 * $0 + 1) }
    let xs = memory.bind("x", elements: x)
    let ys = memory.bind("y", elements: y)
    let zs = memory.bindOutput("z", byteCount: 4 * count)
    let report = Simulator(try VectorAdd(threads: 128).build(), options: Self.options).run(
      grid: GridSize(3),
      arguments: [.pointer(xs), .pointer(ys), .pointer(zs), .scalar(.u32(UInt32(count)))],
      memory: &memory)
    #expect(report.errors == [])
    #expect(mismatches(memory.elements(at: zs, as: Float.self), zip(x, y).map { $0 + $1 }) == [])
  }

  @Test(arguments: [1, 4, 5])
  func `row softmax agrees with binary64`(_ rows: Int) throws {
    let columns = 64
    let seed: UInt64 = 11
    var random = SplitMix64(seed: seed)
    let x = (0..<rows * columns).map { _ in Float.random(in: -8...8, using: &random) }
    var memory = GlobalMemory()
    let xs = memory.bind("x", elements: x)
    let ys = memory.bindOutput("y", byteCount: 4 * x.count)
    let report = Simulator(
      try RowSoftmax(columns: columns, warps: 4).build(), options: Self.options
    ).run(
      grid: GridSize((rows + 3) / 4),
      arguments: [.pointer(xs), .pointer(ys), .scalar(.u32(UInt32(rows)))], memory: &memory)
    #expect(report.errors == [], "seed \(seed)")
    let y = memory.elements(at: ys, as: Float.self)
    for row in 0..<rows {
      let part = x[row * columns..<(row + 1) * columns].map(Double.init)
      let largest = part.max() ?? 0
      let exponentials = part.map { exp2(($0 - largest) * 1.442_695_040_888_963_4) }
      let sum = exponentials.reduce(0, +)
      for column in 0..<columns {
        let expected = exponentials[column] / sum
        // Scaled arguments of ex2 reach 24 and are rounded twice (x · log₂e and the difference),
        // log₂e itself once: 3 · 24 · 2^−24 · ln 2 relative; ex2, rcp and the sum add 2^−22 each
        // plus seven additions of half an ulp.
        let bound = expected * (3 * 24 * 0x1p-24 * 0.694 + 3 * 0x1p-22 + 9 * 0x1p-24)
        #expect(
          abs(Double(y[row * columns + column]) - expected) <= bound,
          "seed \(seed), row \(row), column \(column)")
      }
    }
  }

  @Test func `the transposing copy moves every element to its place`() throws {
    let (rows, columns) = (64, 96)
    let x = (0..<rows * columns).map { Float($0) }
    var memory = GlobalMemory()
    let xs = memory.bind("x", elements: x)
    let ys = memory.bindOutput("y", byteCount: 4 * x.count)
    let report = Simulator(try TransposingCopy().build(), options: Self.options).run(
      grid: GridSize(columns / 32, rows / 32),
      arguments: [
        .pointer(xs), .pointer(ys), .scalar(.u32(UInt32(rows))), .scalar(.u32(UInt32(columns))),
      ], memory: &memory)
    #expect(report.errors == [])
    let y = memory.elements(at: ys, as: Float.self)
    #expect(mismatches(y, (0..<x.count).map { x[$0 % rows * columns + $0 / rows] }) == [])
  }

  /// Small integers, exact in bfloat16, whose products sum exactly in binary32.
  private func integers(_ count: Int, _ random: inout SplitMix64) -> [Int] {
    (0..<count).map { _ in Int.random(in: -8...8, using: &random) }
  }

  private func product(_ a: [Int], _ b: [Int], k: Int) -> [Float] {
    (0..<a.count / k).flatMap { row in
      (0..<b.count / k).map { column in
        Float((0..<k).reduce(0) { $0 + a[row * k + $1] * b[column * k + $1] })
      }
    }
  }

  @Test func `the warp product is exact on small integers`() throws {
    let seed: UInt64 = 5
    var random = SplitMix64(seed: seed)
    let (k, columns) = (128, 16)
    let a = integers(16 * k, &random)
    let b = integers(columns * k, &random)
    var memory = GlobalMemory()
    let aAddress = memory.bind("a", elements: a.map { BFloat16(Float($0)).bitPattern })
    let bAddress = memory.bind("b", elements: b.map { BFloat16(Float($0)).bitPattern })
    let c = memory.bindOutput("c", byteCount: 4 * 16 * columns)
    let report = Simulator(try WarpProduct(columns: columns).build(), options: Self.options).run(
      grid: GridSize(1),
      arguments: [
        .pointer(aAddress), .pointer(bAddress), .pointer(c), .scalar(.u32(UInt32(k))),
      ], memory: &memory)
    #expect(report.errors == [], "seed \(seed)")
    #expect(
      mismatches(memory.elements(at: c, as: Float.self), product(a, b, k: k)) == [],
      "seed \(seed)")
  }

  @Test func `the ring product is exact on small integers`() throws {
    let seed: UInt64 = 6
    var random = SplitMix64(seed: seed)
    let (panels, columns) = (5, 16)
    let k = 64 * panels
    let a = integers(64 * k, &random)
    let b = integers(columns * k, &random)
    var memory = GlobalMemory()
    func map(_ name: String, _ values: [Int], rows: Int) -> KernelArgument {
      let address = memory.bind(name, elements: values.map { BFloat16(Float($0)).bitPattern })
      return .tensorMap(
        TensorMapDescription(
          address: address, elementByteCount: 2, sizes: [k, rows], strides: [2 * k],
          box: [64, rows], swizzle: .bytes128))
    }
    let maps = [map("a", a, rows: 64), map("b", b, rows: columns)]
    let c = memory.bindOutput("c", byteCount: 4 * 64 * columns)
    let report = Simulator(
      try RingProduct(columns: columns, stages: 2).build(), options: Self.options
    ).run(
      grid: GridSize(1),
      arguments: maps + [.pointer(c), .scalar(.u32(UInt32(panels)))], memory: &memory)
    #expect(report.errors == [], "seed \(seed)")
    #expect(
      mismatches(memory.elements(at: c, as: Float.self), product(a, b, k: k)) == [],
      "seed \(seed)")
  }

  @Test func `block reductions give every thread the result`() throws {
    let kernel = try Sketch { block in
      let x = block.pointer("x", to: U32.self)
      let y = block.pointer("y", to: U32.self)
      let scratch = block.shared("scratch", U32.self, count: 4)
      let value = block.load(x[block.threadIndex])
      let sum = block.blockSum(value, scratch: scratch)
      let largest = block.blockMax(value, scratch: scratch)
      block.store([sum, largest], to: y[block.threadIndex << 1])
    }.build()
    let x = (0..<128).map { UInt32($0 * 37 % 101) }
    var memory = GlobalMemory()
    let xs = memory.bind("x", elements: x)
    let ys = memory.bindOutput("y", byteCount: 8 * 128)
    let report = Simulator(kernel, options: Self.options).run(
      grid: GridSize(1), arguments: [.pointer(xs), .pointer(ys)], memory: &memory)
    #expect(report.errors == [])
    let expected = [x.reduce(0, +), x.max() ?? 0]
    #expect(
      mismatches(
        memory.elements(at: ys, as: UInt32.self), (0..<128).flatMap { _ in expected }) == [])
  }
}

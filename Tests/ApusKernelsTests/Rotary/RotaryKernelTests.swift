import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

@MainActor @Suite struct RotaryKernelTests {
  private struct Case {
    var pairing = RotaryEmbedding.Pairing.half
    var usesTable = false
    var isInPlace = false
    var isPadded = false
    var qType = ElementType.bf16
    var kType = ElementType.bf16
    var rows = 3
    var qHeads = 5
    var kHeads = 2
    var dim = 64
    var rotaryDim: Int?
    var llama31: RotaryEmbedding.Llama31?
    var greatestPosition = 4095
    var target = Target.sm90a
    var seed: UInt64 = 1
  }

  /// A rotation in place, for tests of mutants.
  static func runInPlace(target: Target) throws {
    var value = Case()
    value.isInPlace = true
    value.target = target
    try RotaryKernelTests().check(value)
  }

  @discardableResult private func check(_ c: Case) throws -> LaunchPlan {
    var random = SplitMix64(seed: c.seed)
    let pad = c.isPadded ? 3 : 0
    func tensor(_ type: ElementType, _ heads: Int) -> TestTensor {
      let tensor = TestTensor(
        ScalarType(type), [c.rows, heads, c.dim], padding: [0, pad, pad], lead: pad,
        random: &random)
      tensor.fill { _ in Float.random(in: -4...4, using: &random) }
      return tensor
    }
    let inputs = [tensor(c.qType, c.qHeads), tensor(c.kType, c.kHeads)]
    let originals = inputs.map { $0.copy() }
    let outputs = c.isInPlace ? inputs : [tensor(c.qType, c.qHeads), tensor(c.kType, c.kHeads)]
    let positions = (0..<c.rows).map { _ in Int.random(in: 0...c.greatestPosition, using: &random) }
    let width = c.rotaryDim ?? c.dim
    let table = TestTensor(
      .f32, [c.usesTable ? c.greatestPosition + 1 : 1, width], padding: [0, pad],
      random: &random)
    table.fill { _ in Float.random(in: -1...1, using: &random) }
    var device = TestDevice()
    for (index, input) in inputs.enumerated() {
      device.bind("input\(index)", input, isWritable: c.isInPlace)
    }
    if !c.isInPlace {
      for (index, output) in outputs.enumerated() {
        device.bind("output\(index)", output, isWritable: true)
      }
    }
    device.bind("table", table)
    func arguments(
      _ view: (TestTensor) -> TensorView, _ inputs: [TestTensor]
    ) -> RotaryArguments {
      RotaryArguments(
        q: view(inputs[0]), k: view(inputs[1]), qOut: view(outputs[0]), kOut: view(outputs[1]),
        positions: positions,
        source: c.usesTable
          ? .cosSinCache(view(table), pairing: c.pairing)
          : .frequencies(
            RotaryEmbedding(pairing: c.pairing, rotaryDim: c.rotaryDim, llama31: c.llama31)))
    }
    let expected = try Reference.rotate(arguments(\.host, originals))
    let onDevice = arguments(\.device, inputs)
    try onDevice.validate(memory: .cuda(device: 0), operation: "rotate")
    let plan = RotaryKernel.launches(for: onDevice, target: c.target)
    try simulate(plan, on: &device, target: c.target)
    device.readBack()
    var mismatches = Mismatches()
    for (part, wanted) in [expected.q, expected.k].enumerated() {
      let type = part == 0 ? c.qType : c.kType
      for (at, index) in outputs[part].indices.enumerated() {
        let found = outputs[part].float(index)
        if index[2] >= width {
          mismatches.check(
            outputs[part].bits(index) == originals[part].bits(index),
            "\(index) keeps its bits; \(c)")
          continue
        }
        let half = width / 2
        let partner =
          c.pairing == .half ? (index[2] + half) % width : index[2] ^ 1
        let size = Double(
          originals[part].float(index).magnitude
            + originals[part].float([index[0], index[1], partner]).magnitude)
        // Cosine and sine err by 3 · 2^−24 at most (angle and polynomial), products and sum round.
        let error = 5 * 0x1p-24 * size
        let limit = Double(type.greatestFiniteMagnitude)
        let clamped = min(max(wanted[at], -limit), limit)
        let rounding = 0.5 * type.ulp(of: min(clamped.magnitude + error, limit))
        mismatches.check(
          (Double(found) - clamped).magnitude <= error + rounding,
          "\(index): \(found), not \(clamped); \(c)")
      }
    }
    if c.rows * (c.qHeads + c.kHeads) > 0 { mismatches.expectNone() }
    return plan
  }

  @Test(arguments: RotaryEmbedding.Pairing.allCases)
  func `tables and computed angles rotate every element`(
    _ pairing: RotaryEmbedding.Pairing
  ) throws {
    for usesTable in [false, true] {
      for isInPlace in [false, true] {
        for (dim, rotaryDim) in [(64, nil), (128, 64), (80, 32), (16, 2), (33, 32)] {
          try check(
            Case(
              pairing: pairing, usesTable: usesTable, isInPlace: isInPlace,
              isPadded: dim == 80 || dim == 64 && usesTable, rows: 2, dim: dim,
              rotaryDim: rotaryDim, greatestPosition: 99, seed: UInt64(dim)))
        }
      }
    }
  }

  @Test(arguments: ElementType.allCases)
  func `q and k of every type are rotated`(_ type: ElementType) throws {
    for (index, other) in ElementType.allCases.enumerated() {
      let plan = try check(
        Case(
          qType: type, kType: other, rows: 2, dim: 32, target: index % 2 == 0 ? .sm80 : .sm90a,
          seed: 4))
      #expect(plan.launches.count == (type == other ? 1 : 2))
    }
  }

  @Test func `angles stay exact at positions of 31 bits`() throws {
    for (greatest, rows) in [(1 << 20, 16), (Int(Int32.max) >> 8, 16)] {
      try check(
        Case(
          qType: .f32, kType: .f32, rows: rows, qHeads: 1, kHeads: 1, dim: 32,
          greatestPosition: greatest, seed: 9))
      try check(
        Case(
          qType: .f32, kType: .f32, rows: rows, qHeads: 1, kHeads: 1, dim: 32,
          llama31: RotaryEmbedding.Llama31(), greatestPosition: greatest, seed: 10))
    }
  }

  @Test func `no rows and no heads launch nothing`() throws {
    #expect(try check(Case(rows: 0)).launches.isEmpty)
    #expect(try check(Case(qHeads: 0, kHeads: 0)).launches.isEmpty)
    #expect(try check(Case(qHeads: 0)).launches.count == 1)
    #expect(try check(Case(kHeads: 0)).launches.count == 1)
  }
}

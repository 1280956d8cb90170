import ApusCore
import ApusDSL
import ApusIR
import ApusNumerics
import ApusTestSupport
import Testing

@testable import ApusCLI
@testable import ApusKernels

/// Samples outside of the catalogue: a wrong alarm at warm-up would refuse a kernel that is right.
@Suite struct SampleSweepTests {
  private static let count = 3

  private func sweep(
    _ seed: UInt64, _ make: (inout SplitMix64) -> any SampledKernel
  ) throws {
    var random = SplitMix64(seed: seed)
    for _ in 0..<Self.count {
      let kernel = make(&random)
      try expectRight(kernel, seed: random.next())
    }
  }

  private func expectRight(_ kernel: any SampledKernel, seed: UInt64) throws {
    let target = try #require(kernel.targets.first)
    let result = SampleRun.run(
      kernel, ir: try kernel.build(for: target), target: target, seed: seed)
    #expect(result.findings == [], "\(kernel.symbol): \(result.problem), seed \(seed)")
  }

  @Test func `decode gathers rows of more bytes than a warp copies at once`() throws {
    let problem = AttentionProblem(
      shape: AttentionShape(qoHeadCount: 8, kvHeadCount: 8, headDimQK: 256),
      types: AttentionTypes(q: .f32), qoIndptr: RaggedIndptr(uniform: 1, batch: 1),
      geometry: .ragged(RaggedIndptr([0, 700])))
    let kernel = DecodeSelection.choose(
      problem, target: .sm80, multiprocessors: 108, overlaps: false
    ).kernel
    #expect(kernel.loader == .gather)
    try expectRight(kernel, seed: 7)
  }

  @Test func `merges of any types, conventions and widths`() throws {
    try sweep(5) { random in
      let input = random.pick(ElementType.allCases)
      let form = random.pick(MergeKernel.Form.allCases)
      return MergeKernel(
        form: form, input: input,
        output: form == .maskedPair ? input : random.pick(ElementType.allCases),
        convention: random.pick([.base2, .natural, .flashMLA]),
        width: random.pick([16 / input.byteCount, 1]), dim: 1 + Int(random.next() % 576))
    }
  }

  @Test func `what decode problems of any kind choose`() throws {
    try sweep(6) { random in
      while true {
        let problem = Self.decodeProblem(&random)
        let target = random.pick([Target.sm80, .sm89, .sm90a])
        if DecodeSelection.refusal(problem, target: target) != nil { continue }
        return DecodeSelection.choose(
          problem, target: target, multiprocessors: 132, overlaps: random.pick([true, false])
        ).kernel
      }
    }
  }

  private static func decodeProblem(_ random: inout SplitMix64) -> AttentionProblem {
    let kvHeads = random.pick([1, 2, 8])
    let batch = random.pick([1, 2, 16, 64])
    let lengths = [Int](repeating: random.pick([40, 700, 8192, 65_536]), count: batch)
    let types: [ElementType] = [.bf16, .f16, .f32]
    var problem = AttentionProblem(
      shape: AttentionShape(
        qoHeadCount: random.pick([1, 2, 4, 7, 8, 16]) * kvHeads, kvHeadCount: kvHeads,
        headDimQK: random.pick([32, 64, 80, 96, 128, 160, 256, 512])),
      types: AttentionTypes(
        q: random.pick(types), kv: random.pick(ElementType.allCases), o: random.pick(types)),
      qoIndptr: RaggedIndptr(uniform: random.pick([1, 1, 2, 5]), batch: batch),
      geometry: random.pick([
        .ragged(RaggedIndptr(lengths: lengths)),
        .paged(
          PageTable(
            pageSize: random.pick([1, 16, 64]), blocks: [], pagesPerRequest: 0, lengths: lengths)),
      ]))
    problem.mask.isCausal = random.pick([true, false])
    if random.pick([true, false]) { problem.modification.logitsSoftCap = 30 }
    if random.pick([true, false]) {
      problem.modification.alibiSlopes = [Float](repeating: 1, count: problem.shape.qoHeadCount)
    }
    if random.pick([true, false, false]) {
      problem.mask.custom = CustomMask(
        bytes: [], byteIndptr: RaggedIndptr(uniform: 0, batch: batch),
        bitOrder: random.pick([.little, .big]))
    }
    problem.options.precision = random.pick([.fast, .accurate])
    return problem
  }

  @Test func `appends of any types, widths and scales`() throws {
    try sweep(1) { random in
      let source = random.pick(ElementType.allCases)
      let cache = random.pick(ElementType.allCases)
      let plain = source == cache ? AppendKernel.Storing.copy : .round
      let keys = random.pick([plain, .divide, .dynamic])
      let values = random.pick([plain, .divide, .dynamic, keys == .dynamic ? .joint : .absent])
      let lists = random.pick(AppendKernel.Lists.allCases)
      let width = random.pick([16 / source.byteCount, 1])
      func dim() -> Int { (1 + Int(random.next() % UInt64(576 / width))) * width }
      return AppendKernel(
        source: source, cache: cache, keys: keys, values: values, lists: lists,
        checksIndices: random.pick([true, false]), width: width, keyDim: dim(), valueDim: dim())
    }
  }

  @Test func `rotations of any type, width and positions`() throws {
    try sweep(2) { random in
      let type = random.pick(ElementType.allCases)
      let width = random.pick([16 / type.byteCount, 1])
      return RotaryKernel(
        type: type, pairing: random.pick(RotaryEmbedding.Pairing.allCases),
        angles: random.pick(RotaryKernel.Angles.allCases), width: width,
        rotaryDim: 2 * width * (1 + Int(random.next() % UInt64(256 / width))),
        positions: random.pick(RotaryKernel.Positions.allCases))
    }
  }

  @Test func `general attention of any types, features and dimensions`() throws {
    try sweep(3) { random in
      let types = AttentionTypes(
        q: random.pick(ElementType.allCases), kv: random.pick(ElementType.allCases),
        o: random.pick(ElementType.allCases))
      let features = GeneralAttentionKernel.Features(rawValue: random.pick([0, 1, 2, 3, 4, 6]))
      let width = random.pick([8, 1])
      let step = features.contains(.latent) ? width : 8
      let qk = step * (1 + Int(random.next() % UInt64(576 / step)))
      let vo = min(512, step * (1 + Int(random.next() % UInt64(qk / step))))
      let isNarrow = width == 1 && max(qk, vo) > 256
      return GeneralAttentionKernel(
        types: types, features: features, width: width,
        rows: random.pick(isNarrow ? [1, 2] : [1, 2, 4, 8]), headDimQK: qk, headDimVO: vo)
    }
  }

  @Test func `merges of general attention of any type and width`() throws {
    try sweep(4) { random in
      GeneralMergeKernel(
        output: random.pick(ElementType.allCases), headDimVO: 8 * (1 + Int(random.next() % 64)))
    }
  }
}

extension SplitMix64 {
  fileprivate mutating func pick<Element>(_ elements: [Element]) -> Element {
    elements[Int(next() % UInt64(elements.count))]
  }
}

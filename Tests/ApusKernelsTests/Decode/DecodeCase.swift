import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusReference
import ApusSimulator

/// A small decode problem with its tensors as bytes, for the simulator and for the definition.
struct DecodeCase {
  enum Placement: Hashable, CustomStringConvertible {
    case pages(Int)
    case combinedPages(Int)
    case blockTable(Int)
    case padded
    case ragged

    var description: String {
      switch self {
      case .pages(let size): "pages \(size)"
      case .combinedPages(let size): "combined pages \(size)"
      case .blockTable(let size): "block table \(size)"
      case .padded: "padded"
      case .ragged: "ragged"
      }
    }
  }

  var types = AttentionTypes(q: .bf16)
  var headDim = 128
  var qoHeads = 8
  var kvHeads = 2
  var kvLengths = [0, 1, 15, 16, 17, 70]
  /// Query tokens of each request; 1 of each if empty.
  var qoLengths: [Int] = []
  var placement = Placement.pages(16)
  var layout = KVLayout.nhd
  var mask = AttentionMask.none
  var modification = ScoreModification()
  var options = ExecutionOptions()
  var scales = AttentionScales()
  var hasSinks = false
  var hasHeadScales = false
  var hasLSE = true
  var lseConvention = LSEConvention.base2
  var blocks = 3
  var target = Target.sm90a
  /// The capacity of the plan, and the lengths of the batches that its lists held before; their last
  /// page indices are those of a cache of their own.
  var capacity: PlanCapacity?
  var earlierLengths: [[Int]] = []
  /// Changes to the configuration that the case would get.
  var tuning = DecodeTuning.chosen
  var seed: UInt64 = 1
  var specials: [Special] = []

  /// A value in one element of a key or value of KV head 0 of each request that is long enough.
  struct Special: Hashable {
    var value: Float
    /// Keys of the request behind it.
    var distance: Int
    var isKey = false
  }
}

/// One buffer of a case.
private struct CaseTensor {
  var bytes: [UInt8]
  let type: ScalarType
  let shape: [Int]

  func view(_ address: UInt64, _ memory: MemorySpace) -> TensorView {
    TensorView(
      address: UInt(address), byteCount: bytes.count, scalarType: type, shape: shape,
      strides: TensorView.denseStrides(shape), memory: memory)
  }
}

extension DecodeCase {
  /// What a run left.
  struct Outcome {
    var o: [Float]
    var lse: [Float]
    var bytes: [UInt8]
    /// What the simulator reported.
    var errors: [SimulationError] = []
    /// o of the definition.
    var expected: [Double] = []
    /// Simulator errors and values off the definition, a line each.
    var complaints: [String]
    var plan: DecodePlan?
  }

  private var queryCounts: [Int] {
    qoLengths.isEmpty ? [Int](repeating: 1, count: kvLengths.count) : qoLengths
  }

  private func generator() -> some RandomNumberGenerator { CaseGenerator(state: seed) }

  /// The problem, K and V by token, and the tensors in the order q, k, v, o, lse, sinks, scales.
  private func make() -> (problem: AttentionProblem, tensors: [CaseTensor]) {
    var random = generator()
    let rows = queryCounts.reduce(0, +)
    func tensor(_ type: ElementType, _ shape: [Int], _ values: [Float]) -> CaseTensor {
      var bytes = [UInt8](repeating: 0, count: values.count * type.byteCount)
      bytes.withUnsafeMutableBytes { raw in
        guard let base = raw.baseAddress else { return }
        for (index, value) in values.enumerated() {
          type.store(
            value, to: base, at: index, overflow: value.isInfinite ? .nonSaturating : .saturate)
        }
      }
      return CaseTensor(bytes: bytes, type: ScalarType(type), shape: shape)
    }
    let q = (0..<rows * qoHeads * headDim).map { index -> Float in
      // Some rows large, so that their exponents differ.
      Float.random(in: -1...1, using: &random) * (index / headDim % 3 == 0 ? 4 : 1)
    }
    var geometry = KVGeometry.ragged(RaggedIndptr(lengths: kvLengths))
    var shape = [kvLengths.reduce(0, +)] + layout.ordered(1, kvHeads) + [headDim]
    var placeOf: (_ request: Int, _ token: Int) -> (outer: Int, inner: Int) = { _, _ in (0, 0) }
    let starts = RaggedIndptr(lengths: kvLengths).offsets
    var isCombined = false
    switch placement {
    case .ragged:
      shape = layout.ordered(kvLengths.reduce(0, +), kvHeads) + [headDim]
      placeOf = { (0, starts[$0] + $1) }
    case .padded:
      let most = (kvLengths.max() ?? 0) + 3
      geometry = .padded(maxLength: most, lengths: kvLengths)
      shape = [kvLengths.count] + layout.ordered(most, kvHeads) + [headDim]
      placeOf = { ($0, $1) }
    case .pages(let size), .combinedPages(let size), .blockTable(let size):
      if case .combinedPages = placement { isCombined = true }
      let counts = kvLengths.map { ($0 + size - 1) / size }
      let pages = counts.reduce(0, +) + 2
      let order = Array(0..<pages).shuffled(using: &random)
      let first = RaggedIndptr(lengths: counts).offsets
      if case .blockTable = placement {
        let width = (counts.max() ?? 0) + 1
        var blocks = [Int32](repeating: -1, count: width * counts.count)
        for (request, count) in counts.enumerated() {
          for page in 0..<count {
            blocks[request * width + page] = Int32(order[first[request] + page])
          }
        }
        geometry = .paged(
          PageTable(
            pageSize: size, blocks: blocks, pagesPerRequest: width, lengths: kvLengths))
      } else {
        geometry = .paged(
          PageTable(
            pageSize: size, indptr: RaggedIndptr(lengths: counts), indices: order.map(Int32.init),
            lastPageLength: kvLengths.map { $0 == 0 ? 0 : Int32(($0 - 1) % size + 1) }))
      }
      shape = [pages] + layout.ordered(size, kvHeads) + [headDim]
      placeOf = { (order[first[$0] + $1 / size], $1 % size) }
    }
    // Slots that no token uses hold NaN.
    let count = shape.reduce(1, *)
    var k = [Float](repeating: .nan, count: count)
    var v = k
    let strides = TensorView.denseStrides(shape)
    let axis = shape.count - 3
    for (request, length) in kvLengths.enumerated() {
      for token in 0..<length {
        let (outer, inner) = placeOf(request, token)
        // Growing scores, so that references move.
        let growth = 1 + 2 * Float(token) / Float(length)
        for head in 0..<kvHeads {
          let index = layout == .nhd ? (inner, head) : (head, inner)
          let start =
            (axis == 1 ? outer * strides[0] : 0) + index.0 * strides[axis]
            + index.1 * strides[axis + 1]
          for element in 0..<headDim {
            k[start + element] = Float.random(in: -1...1, using: &random) * growth
            v[start + element] = Float.random(in: -1...1, using: &random)
          }
          for special in specials where token == length - 1 - special.distance && head == 0 {
            let element = start + (5 * request + special.distance) % headDim
            if special.isKey { k[element] = special.value } else { v[element] = special.value }
          }
        }
      }
    }
    let poison = [Float](repeating: .nan, count: rows * qoHeads * headDim)
    var tensors = [tensor(types.q, [rows, qoHeads, headDim], q)]
    if isCombined {
      let page = count / shape[0]
      var both: [Float] = []
      for start in stride(from: 0, to: count, by: page) {
        both += k[start..<start + page]
        both += v[start..<start + page]
      }
      tensors.append(tensor(types.kv, [shape[0], 2] + shape.dropFirst(), both))
    } else {
      tensors.append(tensor(types.kv, shape, k))
      tensors.append(tensor(types.kv, shape, v))
    }
    tensors.append(tensor(types.o, [rows, qoHeads, headDim], poison))
    tensors.append(
      tensor(.f32, [rows, qoHeads], [Float](repeating: .nan, count: rows * qoHeads)))
    tensors.append(
      tensor(.f32, [qoHeads], (0..<qoHeads).map { _ in Float.random(in: -2...2, using: &random) }))
    for heads in [qoHeads, kvHeads, kvHeads, qoHeads] {
      tensors.append(
        tensor(.f32, [heads], (0..<heads).map { _ in Float.random(in: 0.5...2, using: &random) }))
    }
    let problem = AttentionProblem(
      shape: AttentionShape(qoHeadCount: qoHeads, kvHeadCount: kvHeads, headDimQK: headDim),
      types: types, qoIndptr: RaggedIndptr(lengths: queryCounts), geometry: geometry,
      layout: layout, mask: mask, modification: modification, lseConvention: lseConvention,
      options: options)
    return (problem, tensors)
  }

  private func arguments(
    _ tensors: [CaseTensor], _ addresses: [UInt64], _ memory: MemorySpace
  ) -> AttentionArguments {
    let views = zip(tensors, addresses).map { $0.view($1, memory) }
    let isCombined = tensors.count == 9
    let rest = isCombined ? 2 : 3
    var scales = scales
    if hasHeadScales {
      scales.q = .head(views[rest + 3])
      scales.k = .head(views[rest + 4])
      scales.v = .head(views[rest + 5])
      scales.o = .head(views[rest + 6])
    }
    return AttentionArguments(
      q: .packed(views[0]),
      kv: isCombined ? .combined(views[1]) : .separate(k: views[1], v: views[2]), o: views[rest],
      lse: hasLSE ? views[rest + 1] : nil, scales: scales, sinks: hasSinks ? views[rest + 2] : nil)
  }

  /// Runs the plan's kernel in the simulator and compares with the definition.
  ///
  /// - Parameters:
  ///   - repeats: launches of one plan; all must leave the same bytes.
  ///   - overlapsPredecessor: whether the launch may begin before the one before it has ended.
  ///   - building: makes the kernel's IR.
  func run(
    repeats: Int = 1, simulationSeed: UInt64 = 0, overlapsPredecessor: Bool = false,
    building: (any ShippedKernel, Target) throws -> KernelIR = { try $0.build(for: $1) }
  ) throws -> Outcome {
    let (problem, tensors) = make()
    var outcome = Outcome(o: [], lse: [], bytes: [], complaints: [])
    guard let (plan, lists) = planned(problem) else {
      outcome.complaints = [DecodeLaunch.unsupportedReason(problem, target: target) ?? "no plan"]
      return outcome
    }
    outcome.plan = plan
    var memory = GlobalMemory()
    let outputs = tensors.count == 9 ? [2, 3] : [3, 4]
    let names = tensors.count == 9 ? ["q", "kv"] : ["q", "k", "v"]
    let allNames = names + ["o", "lse", "sinks", "qScale", "kScale", "vScale", "oScale"]
    let addresses = tensors.indices.map {
      memory.bind(allNames[$0], bytes: tensors[$0].bytes, isWritable: outputs.contains($0))
    }
    // No kernel writes lists: they may be read before the predecessor has ended.
    let metadata = memory.bind(
      "lists", bytes: [UInt8](lists[..<plan.counterOffset]), isWritable: false)
    let counters = memory.bind(
      "counters", bytes: [UInt8](lists[plan.counterOffset...]) + [UInt8](repeating: 0, count: 16),
      isWritable: true)
    let workspace = memory.bindOutput("workspace", byteCount: plan.workspaceByteCount + 16)
    let device = arguments(tensors, addresses, .cuda(device: 0))
    let envelope = capacity?.envelope(of: problem) ?? problem
    if let reason = DecodeLaunch.unsupportedReason(plan, envelope, device) {
      outcome.complaints = [reason]
      return outcome
    }
    let launches = DecodeLaunch.launches(plan, envelope, device)
    for pass in 0..<repeats {
      for launch in launches {
        let report = Simulator(
          try building(launch.kernel, target),
          options: SimulationOptions(
            seed: simulationSeed + UInt64(pass), overlapsPredecessor: overlapsPredecessor)
        ).run(
          grid: GridSize(launch.grid.x),
          arguments: launch.values.map {
            if case .metadata(let offset) = $0, offset >= plan.counterOffset {
              return .pointer(counters + UInt64(offset - plan.counterOffset))
            }
            return Self.argument($0, metadata, workspace)
          }, memory: &memory)
        outcome.errors += report.errors
        outcome.complaints += report.errors.prefix(4).map { "\($0)" }
      }
      let bytes = outputs.flatMap { memory.elements(at: addresses[$0], as: UInt8.self) }
      if pass > 0, bytes != outcome.bytes { outcome.complaints.append("pass \(pass) differs") }
      outcome.bytes = bytes
    }
    outcome.o = floats(memory.elements(at: addresses[outputs[0]], as: UInt8.self), types.o)
    outcome.lse = memory.elements(at: addresses[outputs[1]], as: Float.self)
    let expected = try expectation(problem, tensors)
    outcome.expected = expected.o
    outcome.complaints += compare(expected, outcome)
    return outcome
  }

  /// A plan whose launches count, and the lists that the problem has in it.
  private func planned(_ problem: AttentionProblem) -> (plan: DecodePlan, lists: [UInt8])? {
    guard let capacity else {
      return DecodeLaunch.plan(
        problem, target: target, multiprocessorCount: blocks, tuning: tuning
      ).map { ($0, $0.metadata) }
    }
    let problems = earlierLengths.map { lengths in
      var earlier = self
      earlier.kvLengths = lengths
      earlier.qoLengths = lengths.map { _ in capacity.queriesPerRequest }
      return earlier.make().problem
    }
    guard
      let plan = DecodeLaunch.plan(
        problems.first ?? problem, capacity: capacity, target: target, multiprocessorCount: blocks)
    else { return nil }
    var lists = plan.metadata
    for problem in problems.dropFirst() + [problem] {
      guard let changed = plan.updated(to: problem) else { return nil }
      // As the back end does: what lies outside of the ranges stays as it was.
      var staged = [UInt8](repeating: 0xAB, count: lists.count)
      staged.withUnsafeMutableBytes { changed.writeLists(to: $0) }
      for range in changed.usedRanges { lists[range] = staged[range] }
    }
    return (plan, lists)
  }

  private func floats(_ bytes: [UInt8], _ type: ElementType) -> [Float] {
    bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return [] }
      return (0..<bytes.count / type.byteCount).map { type.load(base, at: $0) }
    }
  }

  private static func argument(
    _ value: LaunchValue, _ metadata: UInt64, _ workspace: UInt64
  ) -> KernelArgument {
    switch value {
    case .u32(let value): .scalar(.u32(value))
    case .s32(let value): .scalar(.s32(value))
    case .u64(let value): .scalar(.u64(value))
    case .f32(let value): .scalar(.f32(value))
    case .pointer(let address): .pointer(address)
    case .metadata(let offset): .pointer(metadata + UInt64(offset))
    case .workspace(let offset): .pointer(workspace + UInt64(offset))
    case .tensorMap(let map):
      .tensorMap(
        TensorMapDescription(
          address: map.address, elementByteCount: map.element.byteCount, sizes: map.sizes,
          strides: map.byteStrides, box: map.box, swizzle: map.swizzle))
    }
  }

  // MARK: - Comparison

  private func expectation(
    _ problem: AttentionProblem, _ tensors: [CaseTensor]
  ) throws -> AttentionResult {
    let host = tensors.map { tensor -> UnsafeMutableRawBufferPointer in
      let buffer = UnsafeMutableRawBufferPointer.allocate(
        byteCount: max(16, tensor.bytes.count), alignment: 64)
      buffer.copyBytes(from: tensor.bytes)
      return buffer
    }
    defer { for buffer in host { buffer.deallocate() } }
    let addresses = host.map { UInt64(UInt(bitPattern: $0.baseAddress)) }
    return try Reference.attention(problem, arguments(tensors, addresses, .host))
  }

  private func compare(_ expected: AttentionResult, _ outcome: Outcome) -> [String] {
    // P and q are rounded to the products' type; scores sum headDim exact products in f32, and
    // exponents of up to 2^7 carry that error into weights. `oMagnitude` is Σ p·|v| of a row.
    // Ordinary cores round nothing but the sums over the keys.
    let isExact = outcome.plan.map { $0.kernel.arithmetic != .tensorCores } ?? false
    let longest = Double(kvLengths.max() ?? 0)
    let product = isExact ? longest * 0x1p-24 : types.kv == .bf16 ? 0x1p-8 : 0x1p-11
    let score = Double(headDim) * 0x1p-24 * 128
    let relative = product + 2 * score + 0x1p-18
    let ulp = types.o == .f32 ? 0x1p-24 : types.o == .f16 ? 0x1p-11 : 0x1p-8
    var complaints: [String] = []
    for (index, value) in outcome.o.enumerated() {
      // What o's type does not hold saturates.
      let limit = types.o == .f32 ? .infinity : Double(types.o.greatestFiniteMagnitude)
      let want = min(max(expected.o[index], -limit), limit)
      let bound = expected.oMagnitude[index] * relative + abs(want) * ulp + 0x1p-24
      let isGood =
        want.isNaN
        ? value.isNaN : Double(value) == want || abs(Double(value) - want) <= bound
      if !isGood, complaints.count < 6 {
        let row = index / headDim
        complaints.append(
          "o of row \(row / qoHeads), head \(row % qoHeads), dimension \(index % headDim): "
            + "\(value) for \(want), bound \(bound)")
      }
    }
    guard hasLSE else { return complaints }
    for (index, value) in outcome.lse.enumerated() {
      let want = Double(lseConvention.external(Float(expected.lse[index])))
      let isGood =
        want.isNaN
        ? value.isNaN : Double(value) == want || abs(Double(value) - want) <= 2 * score + 0x1p-18
      if !isGood, complaints.count < 8 {
        complaints.append(
          "lse of row \(index / qoHeads), head \(index % qoHeads): \(value), \(want)")
      }
    }
    return complaints
  }
}

extension KVLayout {
  fileprivate func ordered(_ tokens: Int, _ heads: Int) -> [Int] {
    self == .nhd ? [tokens, heads] : [heads, tokens]
  }
}

/// A linear congruential generator with xorshift output: only what test data needs.
private struct CaseGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    let mixed = (state ^ (state >> 29)) &* 0xBF58_476D_1CE4_E5B9
    return mixed ^ (mixed >> 32)
  }
}

import ApusCore
import ApusIR
import ApusKernels
import ApusNumerics
import ApusReference
import ApusSimulator
import ApusTestSupport
import Testing

/// An append and its tensors, in the definition's memory and on the device.
struct AppendTestCase {
  enum Cache: CaseIterable { case separate, combined, latent, packedLatent }
  enum Scaling: CaseIterable { case one, tensor, head, dynamic }
  enum Lists: CaseIterable { case host, csr, blocks }

  var cache = Cache.separate
  var lists = Lists.host
  var layout = KVLayout.nhd
  var source = ElementType.bf16
  var stored = ElementType.bf16
  var keyScaling = Scaling.one
  var valueScaling = Scaling.one
  var heads = 2
  var dimK = 64
  var dimV = 64
  var pageSize = 4
  var lengths = [5, 0, 9]
  var appended = [2, 0, 5]
  var isPadded = false
  var seed: UInt64 = 1

  var isLatent: Bool { cache == .latent || cache == .packedLatent }

  /// The launches, not run.
  @MainActor func plan() throws -> LaunchPlan { try check(runs: false) }

  /// Bytes of the cache and of the scales that the definition and the kernel leave, compared.
  @MainActor func check(target: Target = .sm90a, runs: Bool = true) throws -> LaunchPlan {
    var random = SplitMix64(seed: seed)
    let pad = isPadded ? 1 : 0
    let pageCount = lengths.reduce(0) { $0 + ($1 + pageSize - 1) / pageSize } + 2
    let table = pageTable(pageCount, &random)
    let (requests, positions) = try AppendProblem.indicesAndPositions(
      appendIndptr: RaggedIndptr(lengths: appended), lengths: lengths)
    var batchIndices = requests
    if batchIndices.count > 2 { batchIndices[1] = -1 }
    let problem =
      isLatent
      ? AppendProblem(
        latent: LatentShape(ckv: dimK, kpe: dimV), latentHeadCount: heads, sourceType: source,
        cacheType: stored, layout: layout, table: table, batchIndices: batchIndices,
        positions: positions)
      : AppendProblem(
        kvHeadCount: heads, headDimK: dimK, headDimV: dimV, sourceType: source,
        cacheType: stored, layout: layout, table: table, batchIndices: batchIndices,
        positions: positions)

    let tokens = batchIndices.count
    func rows(_ dim: Int) -> TestTensor {
      let tensor = TestTensor(
        ScalarType(source), [tokens, heads, dim], padding: [0, pad, pad], lead: pad,
        random: &random)
      let big = stored.greatestFiniteMagnitude / 2
      tensor.fill { index in
        switch UInt8.random(in: 0...40, using: &random) {
        case 0: 0
        case 1: -0.0
        case 2: .infinity
        case 3: .nan
        case 4: Float.random(in: -big...big, using: &random)
        case 5: Float.random(in: -1e-6...1e-6, using: &random)
        default: index[0] == 2 ? 0 : Float.random(in: -4...4, using: &random)
        }
      }
      return tensor
    }
    let keys = rows(dimK)
    let values = rows(dimV)
    let outer =
      [pageCount] + layout.ordered(tokens: pageSize, heads: heads).map { $0 ?? 0 }
    func cacheTensor(_ shape: [Int]) -> TestTensor {
      TestTensor(
        ScalarType(stored), shape, padding: shape.map { _ in 0 }.dropLast() + [pad], lead: pad,
        random: &random)
    }
    let caches: [TestTensor] =
      switch cache {
      case .separate, .latent: [cacheTensor(outer + [dimK]), cacheTensor(outer + [dimV])]
      case .combined: [cacheTensor([pageCount, 2] + outer.dropFirst() + [dimK])]
      case .packedLatent: [cacheTensor(outer + [dimK + dimV])]
      }
    let headScales = (0..<2).map { _ in TestTensor(.f32, [heads], random: &random) }
    for tensor in headScales { tensor.fill { _ in Float.random(in: 0.01...3, using: &random) } }
    let rowScales = (0..<2).map { _ in TestTensor(.f32, outer, random: &random) }

    let written = caches + rowScales
    let definition = written.map { $0.copy() }
    var device = TestDevice()
    for (index, tensor) in ([keys, values] + headScales).enumerated() {
      device.bind("input\(index)", tensor)
    }
    for (index, tensor) in written.enumerated() {
      device.bind("written\(index)", tensor, isWritable: true)
    }
    func arguments(
      _ view: (TestTensor) -> TensorView, _ written: [TestTensor]
    ) -> AppendArguments {
      func scale(_ scaling: Scaling, _ index: Int) -> AppendScale {
        switch scaling {
        case .one: .one
        case .tensor: .tensor(0.37 + Float(index))
        case .head: .head(view(headScales[index]))
        case .dynamic: .dynamicTokenHead(view(written[caches.count + index]))
        }
      }
      let operand: KVOperand =
        switch cache {
        case .separate: .separate(k: view(written[0]), v: view(written[1]))
        case .combined: .combined(view(written[0]))
        case .latent: .latent(ckv: view(written[0]), kpe: view(written[1]))
        case .packedLatent: .packedLatent(view(written[0]))
        }
      return AppendArguments(
        keys: view(keys), values: view(values), cache: operand, kScale: scale(keyScaling, 0),
        vScale: scale(valueScaling, 1))
    }
    let onDevice = arguments(\.device, written)
    let destinations = try problem.resolve(
      onDevice, memory: .cuda(device: 0), operation: "append")
    let plan = AppendKernel.launches(
      for: problem, onDevice, to: destinations, lists: deviceLists(problem, &device),
      target: target)
    guard runs else { return plan }
    try Reference.append(problem, arguments(\.host, definition))
    try simulate(plan, on: &device, target: target)
    device.readBack()
    var mismatches = Mismatches()
    for (found, expected) in zip(written, definition) {
      compare(found, expected, &mismatches)
    }
    mismatches.expectNone()
    return plan
  }

  private func compare(
    _ found: TestTensor, _ expected: TestTensor, _ mismatches: inout Mismatches
  ) {
    let isCopy = source == stored
    var elements = Set<Int>()
    for index in found.indices {
      let same = found.bits(index) == expected.bits(index)
      let both = found.float(index).isNaN && expected.float(index).isNaN
      mismatches.check(
        same || (both && !isCopy) || (both && keyScaling != .one),
        "\(index): \(found.float(index)), not \(expected.float(index)); \(self)")
      let place = found.lead + found.offset(index) * found.type.byteCount
      for byte in 0..<found.type.byteCount { elements.insert(place + byte) }
    }
    for place in found.storage.indices where !elements.contains(place) {
      mismatches.check(
        found.storage[place] == expected.storage[place], "byte \(place) between elements; \(self)")
    }
  }

  private func pageTable(_ pageCount: Int, _ random: inout SplitMix64) -> PageTable {
    let shuffled = (0..<Int32(pageCount)).shuffled(using: &random)
    var next = 0
    var perRequest: [[Int32]] = []
    for length in lengths {
      let count = (length + pageSize - 1) / pageSize
      perRequest.append(Array(shuffled[next..<next + count]))
      next += count
    }
    if lists == .blocks {
      let width = (perRequest.map(\.count).max() ?? 0) + 1
      return PageTable(
        pageSize: pageSize,
        blocks: perRequest.flatMap { $0 + [Int32](repeating: -1, count: width - $0.count) },
        pagesPerRequest: width, lengths: lengths)
    }
    return PageTable(
      pageSize: pageSize, indptr: RaggedIndptr(lengths: perRequest.map(\.count)),
      indices: perRequest.flatMap { $0 },
      lastPageLength: lengths.map { $0 == 0 ? 0 : Int32(($0 - 1) % pageSize + 1) })
  }

  private func deviceLists(
    _ problem: AppendProblem, _ device: inout TestDevice
  ) -> AppendDeviceLists? {
    guard lists != .host else { return nil }
    let pages: AppendDeviceLists.Pages
    switch problem.table.form {
    case .csr(let indptr, let indices, _):
      pages = .csr(
        indptr: device.memory.bind("indptr", elements: indptr.offsets.map(Int32.init)),
        indices: device.memory.bind("indices", elements: indices))
    case .blockTable(let blocks, let width, _):
      pages = .blockTable(
        blocks: device.memory.bind("blocks", elements: blocks), pagesPerRequest: width)
    }
    return AppendDeviceLists(
      batchIndices: device.memory.bind("batchIndices", elements: problem.batchIndices),
      positions: device.memory.bind("positions", elements: problem.positions), pages: pages)
  }
}

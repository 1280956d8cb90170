internal import ApusCore
internal import ApusDSL
internal import ApusIR

/// The plan of one decode problem: kernel, work lists for device memory, workspace.
///
/// Made once for a step and used by every layer of it. What grows with tokens is the page list alone,
/// a copy of the problem's; blocks find pages themselves.
public struct DecodePlan: Sendable {
  /// The configuration that suits the problem, with tensor copies if the problem allows them.
  public let kernel: DecodeKernel
  /// Faster configurations that the problem does not get, one reason each.
  public let rejected: [KernelRejection]
  /// Blocks of the launch.
  public let blockCount: Int
  /// What `LaunchValue.metadata` counts from: place it in device memory that kernels may *write*,
  /// aligned to 16 bytes. It ends with counters that each launch returns to 0, so that one upload
  /// serves all launches that run one after another.
  public let metadata: [UInt8]
  /// Bytes of scratch memory, aligned to 16, without initial content; 0 if no row is split.
  public let workspaceByteCount: Int
  /// The work.
  public let schedule: DecodeSchedule

  /// Where the counters begin in `metadata`.
  public let counterOffset: Int

  let pageOffset, seedOffset, slopeOffset, maskOffset, weightOffset: Int

  /// Plans a problem that `DecodeLaunch.unsupportedReason` has nothing against.
  ///
  /// - Parameters:
  ///   - blocks: multiprocessors of the GPU.
  ///   - keepsRowsWhole: whether no row is split, whatever the problem's options say.
  init(
    _ problem: AttentionProblem, kernel: DecodeKernel, blocks: Int, rejected: [KernelRejection],
    keepsRowsWhole: Bool = false
  ) {
    self.kernel = kernel
    self.rejected = rejected
    let work = DecodeWork(problem, kernel)
    schedule =
      kernel.mode.clusterSize > 1
      ? DecodeSchedule(
        steps: work.steps, units: work.units, clusterSize: kernel.mode.clusterSize)
      : DecodeSchedule(
        steps: work.steps, units: work.units, blocks: blocks, overhead: kernel.itemOverhead,
        splitSteps: keepsRowsWhole ? .max : work.splitSteps)
    blockCount = schedule.blockCount
    let pages = work.pageList
    var words: [UInt32] = []
    let seedWords = kernel.loader == .tensorMap ? DecodeSeeds.wordCount * kernel.warps : 0
    words.reserveCapacity(
      schedule.pieces.count * DecodeItem.wordCount + blockCount * seedWords + pages.count + 64)
    work.appendItems(schedule, to: &words)
    seedOffset = 4 * words.count
    if kernel.loader == .tensorMap { work.appendSeeds(schedule, to: &words) }
    pageOffset = 4 * words.count
    // A kernel may read the list's entry 0 of a request without pages.
    slopeOffset = (pageOffset + 4 * (pages.count + 1) + 15) & ~15
    let slopes = (problem.modification.alibiSlopes ?? []).map {
      Float(Double($0) * 1.442_695_040_888_963_4)
    }
    maskOffset = slopeOffset + 4 * slopes.count
    let mask = problem.mask.custom?.bytes ?? []
    counterOffset = (maskOffset + mask.count + 15) & ~15
    let counterBytes = max(16, 4 * schedule.counterCount * kernel.headsPerItem)
    let byteCount = counterOffset + counterBytes
    let offsets = (pages: pageOffset, slopes: slopeOffset, mask: maskOffset)
    metadata = [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
      let raw = UnsafeMutableRawBufferPointer(buffer)
      func rest(_ offset: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: raw[offset...])
      }
      words.withUnsafeBytes { raw.copyMemory(from: $0) }
      rest(offsets.pages + 4 * pages.count).initializeMemory(as: UInt8.self, repeating: 0)
      pages.withUnsafeBytes { rest(offsets.pages).copyMemory(from: $0) }
      slopes.withUnsafeBytes { rest(offsets.slopes).copyMemory(from: $0) }
      mask.withUnsafeBytes { rest(offsets.mask).copyMemory(from: $0) }
      count = byteCount
    }
    let states = schedule.slotCount * kernel.headsPerItem * kernel.rows
    weightOffset = states * kernel.headDim * 4
    workspaceByteCount = weightOffset + states * 8
  }
}

/// A problem's requests as the schedule and the kernel count them.
struct DecodeWork {
  let problem: AttentionProblem
  let kernel: DecodeKernel
  /// First step with a visible key, and steps from there, of each request.
  let firstSteps, steps: [Int]
  /// One past the last visible key of each request.
  let ends: [Int]
  /// Rows of the schedule of each request: items of KV heads × tiles of query rows.
  let units: [Int]

  private let stepTokens: Int
  private let headItems: Int

  init(_ problem: AttentionProblem, _ kernel: DecodeKernel) {
    self.problem = problem
    self.kernel = kernel
    stepTokens = 16 * kernel.tilesPerStep
    headItems = problem.shape.kvHeadCount / kernel.headsPerItem
    let batch = problem.batch
    var firstSteps: [Int] = []
    var steps: [Int] = []
    var ends: [Int] = []
    var units: [Int] = []
    firstSteps.reserveCapacity(batch)
    steps.reserveCapacity(batch)
    ends.reserveCapacity(batch)
    units.reserveCapacity(batch)
    let group = problem.shape.groupSize
    for request in 0..<batch {
      let (queries, keys) = (problem.qoLength(request), problem.kvLength(request))
      let visible =
        kernel.hasRanges
        ? problem.mask.keyRange(queries: 0..<queries, qoLength: queries, kvLength: keys)
        : 0..<keys
      let first = visible.lowerBound / stepTokens
      firstSteps.append(first)
      ends.append(visible.upperBound)
      steps.append((visible.upperBound + stepTokens - 1) / stepTokens - first)
      units.append(headItems * ((queries * group + kernel.rows - 1) / kernel.rows))
    }
    self.firstSteps = firstSteps
    self.steps = steps
    self.ends = ends
    self.units = units
  }

  /// Steps of a split that the options fix.
  var splitSteps: Int? {
    let options = problem.options
    if options.disablesSplitKV { return .max }
    if let size = options.splitSize { return (max(1, size) - 1) / stepTokens + 1 }
    // Splits of every row at the same keys, whatever else is in the batch.
    return options.isBatchInvariant ? 4096 / stepTokens : nil
  }

  /// Pages of all requests as the problem stores them.
  var pageList: [Int32] {
    guard case .paged(let table) = problem.geometry else { return [] }
    switch table.form {
    case .csr(_, let indices, _): return indices
    case .blockTable(let blocks, _, _): return blocks
    }
  }

  /// Where a request's page list begins, or the row of its first token.
  private func base(_ request: Int) -> Int {
    switch problem.geometry {
    case .ragged(let indptr): indptr.offsets[request]
    case .padded: 0
    case .paged(let table):
      switch table.form {
      case .csr(let indptr, _, _): indptr.offsets[request]
      case .blockTable(_, let width, _): request * width
      }
    }
  }

  /// First KV head of a unit, and the request along the outermost axis of padded caches.
  private func unitWord(_ request: Int, _ unit: Int) -> Int {
    let head = unit % headItems * kernel.headsPerItem
    if case .padded = problem.geometry { return head | request << 16 }
    return head
  }

  /// Writes the records: the first of each block at its index, the others behind.
  func appendItems(_ schedule: DecodeSchedule, to words: inout [UInt32]) {
    let blocks = schedule.blockCount
    let group = problem.shape.groupSize
    func item(_ index: Int, end: Int, total: Int, next: Int, isLast: Bool) -> DecodeItem {
      let piece = schedule.pieces[index]
      let request = Int(piece.request)
      let first = firstSteps[request] + Int(piece.start)
      let tile = Int(piece.unit) / headItems
      var item = DecodeItem()
      item.end = end
      item.tokens = max(
        0, min(ends[request], (first + piece.count) * stepTokens) - first * stepTokens)
      item.firstTile = first * kernel.tilesPerStep
      item.base = base(request)
      item.unit = unitWord(request, Int(piece.unit))
      item.total = total
      item.next = next
      item.queryRow = problem.qoIndptr.offsets[request]
      item.splits = Int(piece.splits)
      item.slot = Int(piece.slot)
      item.split = Int(piece.split)
      item.isLast = isLast
      item.counter = Int(piece.counter)
      item.qoLength = problem.qoLength(request)
      item.firstRow = tile * kernel.rows
      item.rowCount = min(kernel.rows, item.qoLength * group - item.firstRow)
      item.kvLength = problem.kvLength(request)
      item.maskStart = problem.mask.custom.map { $0.byteIndptr.offsets[request] } ?? 0
      return item
    }
    for pass in 0..<2 {
      var extra = blocks
      for block in 0..<blocks {
        let range = schedule.blockOffsets[block]..<schedule.blockOffsets[block + 1]
        let total = range.reduce(0) { $0 + schedule.pieces[$1].count }
        var end = 0
        for index in range {
          end += schedule.pieces[index].count
          let isFirst = index == range.lowerBound
          let isLast = index == range.upperBound - 1
          let own = isFirst ? block : extra
          if !isFirst { extra += 1 }
          guard isFirst == (pass == 0) else { continue }
          item(index, end: end, total: total, next: isLast ? own : extra, isLast: isLast)
            .append(to: &words)
        }
      }
    }
  }

  /// Writes where the first steps of each warp lie.
  func appendSeeds(_ schedule: DecodeSchedule, to words: inout [UInt32]) {
    let stride = kernel.mode.interleavesTokens ? kernel.warps : 1
    var seeds = [UInt32](
      repeating: UInt32(DecodeSeeds.none), count: DecodeSeeds.wordCount)
    for block in 0..<schedule.blockCount {
      let range = schedule.blockOffsets[block]..<schedule.blockOffsets[block + 1]
      for warp in 0..<kernel.warps {
        for index in seeds.indices { seeds[index] = UInt32(DecodeSeeds.none) }
        var step = kernel.mode.interleavesTokens ? warp : 0
        var begin = 0
        var index = range.lowerBound
        for stage in 0..<kernel.stages {
          while index < range.upperBound, step >= begin + schedule.pieces[index].count {
            begin += schedule.pieces[index].count
            index += 1
          }
          guard index < range.upperBound else { break }
          place(schedule.pieces[index], step - begin, stage, &seeds)
          step += stride
        }
        words += seeds
      }
    }
  }

  private func place(
    _ piece: DecodeSchedule.Piece, _ step: Int, _ stage: Int, _ seeds: inout [UInt32]
  ) {
    let request = Int(piece.request)
    let first = (firstSteps[request] + Int(piece.start) + step) * kernel.tilesPerStep
    var unit = unitWord(request, Int(piece.unit))
    for box in 0..<kernel.boxes {
      let tile = first + box * kernel.tilesPerBox
      guard tile * 16 < ends[request] else { continue }
      var place = base(request) + 16 * tile
      if case .paged(let table) = problem.geometry {
        let tiles = table.pageSize / 16
        place = table.page(request, tile / tiles)
        if box == 0 { unit |= (tile % tiles) << 16 }
      }
      seeds[stage * kernel.boxes + box] = UInt32(truncatingIfNeeded: place)
    }
    seeds[DecodeSeeds.unitOffset + stage] = UInt32(truncatingIfNeeded: unit)
  }
}

public import ApusCore
internal import ApusDSL
internal import ApusIR

/// The plan of one decode problem: kernel, work lists for device memory, workspace.
///
/// Made once for a step and used by every layer of it. What grows with tokens is the page list alone,
/// a copy of the problem's; blocks find pages themselves.
///
/// A plan with a capacity has the kernel, blocks and offsets of the largest problem that it may be
/// updated to: `updated(to:)` changes the contents of its lists alone.
public struct DecodePlan: Sendable {
  /// The configuration that suits the problem, with tensor copies if the problem allows them.
  public let kernel: DecodeKernel
  /// Faster configurations that the problem does not get, one reason each.
  public let rejected: [KernelRejection]
  /// Bytes of scratch memory, aligned to 16, without initial content; 0 if no row is split.
  public let workspaceByteCount: Int
  /// The work.
  public let schedule: DecodeSchedule

  let layout: DecodeLayout
  private let work: DecodeWork

  /// Blocks of the launch.
  public var blockCount: Int { layout.blockCount }
  /// Where the counters begin in the lists.
  public var counterOffset: Int { layout.counters }
  /// Bytes of the lists, counters included.
  public var metadataByteCount: Int { layout.byteCount }
  /// What `LaunchValue.metadata` counts from: place it in device memory that kernels may *write*,
  /// aligned to 16 bytes. It ends with counters that each launch returns to 0, so that one upload
  /// serves all launches that run one after another.
  public var metadata: [UInt8] {
    [UInt8](unsafeUninitializedCapacity: layout.byteCount) { buffer, count in
      write(to: UnsafeMutableRawBufferPointer(buffer))
      count = layout.byteCount
    }
  }

  /// Where the second table of the workspace begins.
  var weightOffset: Int { layout.slots * layout.statesPerSlot * kernel.headDim * 4 }

  /// Plans a problem that `DecodeLaunch.unsupportedReason` has nothing against.
  ///
  /// - Parameters:
  ///   - blocks: multiprocessors of the GPU.
  ///   - keepsRowsWhole: whether no row is split, whatever the problem's options say.
  ///   - capacity: what the plan may be updated to; nil for a plan of this problem alone. The kernel
  ///     suits all of it, and is none for clusters.
  init(
    _ problem: AttentionProblem, kernel: DecodeKernel, blocks: Int, rejected: [KernelRejection],
    keepsRowsWhole: Bool = false, capacity: PlanCapacity? = nil
  ) {
    let work = DecodeWork(problem, kernel)
    let schedule =
      kernel.mode.clusterSize > 1
      ? DecodeSchedule(
        steps: work.steps, units: work.units, clusterSize: kernel.mode.clusterSize)
      : DecodeSchedule(
        steps: work.steps, units: work.units, blocks: blocks, overhead: kernel.itemOverhead,
        splitSteps: keepsRowsWhole ? .max : work.splitSteps)
    let layout =
      capacity.map { DecodeLayout(work, $0, blocks: blocks) } ?? DecodeLayout(work, schedule)
    self.init(work, schedule, layout, kernel: kernel, rejected: rejected)
  }

  private init(
    _ work: DecodeWork, _ schedule: DecodeSchedule, _ layout: DecodeLayout, kernel: DecodeKernel,
    rejected: [KernelRejection]
  ) {
    self.kernel = kernel
    self.rejected = rejected
    self.work = work
    self.schedule = schedule
    self.layout = layout
    let states = layout.slots * layout.statesPerSlot
    workspaceByteCount = states * (kernel.headDim * 4 + 8)
  }

  /// The plan of another problem in the lists of this one.
  ///
  /// - Returns: nil if they have no room for it, which a problem within the plan's capacity does not
  ///   happen to.
  /// - Precondition: the plan has a capacity, and `PlanCapacity.validate` has nothing against the
  ///   problem.
  public func updated(to problem: AttentionProblem) -> DecodePlan? {
    let work = DecodeWork(problem, kernel)
    let schedule = DecodeSchedule(
      steps: work.steps, units: work.units, blocks: blockCount, overhead: kernel.itemOverhead,
      splitSteps: work.splitSteps)
    guard layout.holds(DecodeLayout(work, schedule)) else { return nil }
    return DecodePlan(work, schedule, layout, kernel: kernel, rejected: rejected)
  }

  /// Whether the lists have room for the problem.
  var isWithinRoom: Bool {
    layout.records <= WorkListLimit.items && layout.holds(DecodeLayout(work, schedule))
  }

  // MARK: - Lists

  /// Writes the lists, counters of 0 included, to memory of `metadataByteCount` bytes.
  public func write(to memory: UnsafeMutableRawBufferPointer) {
    writeLists(to: memory)
    let used = usedRanges
    if let last = used.last { Self.clear(memory, last.upperBound..<layout.byteCount) }
    if used.count > 1 { Self.clear(memory, used[0].upperBound..<used[1].lowerBound) }
  }

  private static func clear(_ memory: UnsafeMutableRawBufferPointer, _ range: Range<Int>) {
    UnsafeMutableRawBufferPointer(rebasing: memory[range])
      .initializeMemory(as: UInt8.self, repeating: 0)
  }

  /// Records in use, those of blocks without work included.
  private var recordCount: Int {
    schedule.pieces.count + layout.blockCount - schedule.blockCount
  }

  /// Parts of the lists that an update has to change: everything that the kernel may read, without
  /// the room that the problem leaves.
  public var usedRanges: [Range<Int>] {
    let fixedEnd = layout.items + 4 * DecodeItem.wordCount * recordCount
    let end = layout.pages + 4 * (work.pageCount + 1)
    // A gap costs less than another copy.
    let gap = 64 << 10
    if layout.pages - fixedEnd <= gap { return [0..<end] }
    return [0..<fixedEnd, layout.constants..<end]
  }

  /// Writes what lies in `usedRanges`, each byte at its place in `memory`.
  public func writeLists(to memory: UnsafeMutableRawBufferPointer) {
    func words(_ offset: Int, _ count: Int) -> UnsafeMutableBufferPointer<UInt32> {
      UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + 4 * count])
        .bindMemory(to: UInt32.self)
    }
    if usedRanges.count == 1 {
      // The room between is copied too.
      let end = layout.items + 4 * DecodeItem.wordCount * recordCount
      Self.clear(memory, end..<layout.constants)
    }
    Self.clear(memory, layout.constants..<layout.pages)
    work.writeItems(
      schedule, blocks: layout.blockCount,
      to: words(layout.items, DecodeItem.wordCount * recordCount))
    if layout.seedWords > 0 {
      work.writeSeeds(
        schedule, to: words(layout.seeds, layout.seedWords * layout.blockCount))
    }
    func place(_ bytes: UnsafeRawBufferPointer, _ offset: Int) {
      if bytes.isEmpty { return }
      UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + bytes.count])
        .copyMemory(from: bytes)
    }
    let slopes = work.slopes
    slopes.withUnsafeBytes { place($0, layout.slopes) }
    work.problem.mask.custom?.bytes.withUnsafeBytes { place($0, layout.mask) }
    let pages = words(layout.pages, work.pageCount + 1)
    work.writePages(to: UnsafeMutableBufferPointer(rebasing: pages[..<work.pageCount]))
    // A kernel may read the list's entry 0 of a request without pages.
    pages[work.pageCount] = 0
  }
}

/// Where the lists of a plan lie, in bytes, and what they have room for.
///
/// What changes its size with the problem stands last.
struct DecodeLayout: Hashable, Sendable {
  /// Blocks of the launch, and seed words of each.
  let blockCount, seedWords: Int
  /// Records, entries of the page list, partial states, counted rows.
  let records, pageCount, slots, counterCount: Int
  /// Rows of a partial state.
  let statesPerSlot: Int
  let seeds, items, constants, slopes, mask, pages, counters, byteCount: Int

  /// The layout of one problem.
  init(_ work: DecodeWork, _ schedule: DecodeSchedule) {
    self.init(
      work, blocks: schedule.blockCount, records: schedule.pieces.count, pageCount: work.pageCount,
      slots: schedule.slotCount, counters: schedule.counterCount)
  }

  /// The layout of every problem within a capacity.
  ///
  /// Rows are cut at most once for each block that begins within one: no more than `rows + blocks`
  /// records, blocks without work included, of which fewer than `2 · blocks` are of rows that are
  /// cut. Pieces of a fixed length are one for each row, and for each such length of its keys.
  init(_ work: DecodeWork, _ capacity: PlanCapacity, blocks: Int) {
    let kernel = work.kernel
    let group = work.problem.shape.groupSize
    let units =
      work.headItems * ((capacity.queriesPerRequest * group + kernel.rows - 1) / kernel.rows)
    let rows = capacity.batch * units
    var records = rows + blocks
    var slots = 2 * blocks
    var counted = min(rows, blocks)
    if let fixed = work.splitSteps {
      let steps =
        capacity.keyCount(of: work.problem.geometry) / work.stepTokens + 2 * capacity.batch
      records += units * (steps / fixed)
      slots = fixed == .max ? 0 : records
      counted = fixed == .max ? 0 : rows
    }
    self.init(
      work, blocks: blocks, records: records,
      pageCount: work.isPaged ? capacity.keyRows(of: work.problem.geometry) : 0, slots: slots,
      counters: counted)
  }

  private init(
    _ work: DecodeWork, blocks: Int, records: Int, pageCount: Int, slots: Int, counters: Int
  ) {
    let kernel = work.kernel
    blockCount = blocks
    seedWords = kernel.loader == .tensorMap ? DecodeSeeds.wordCount * kernel.warps : 0
    self.records = records
    self.pageCount = pageCount
    self.slots = slots
    counterCount = counters
    statesPerSlot = kernel.headsPerItem * kernel.rows
    seeds = 0
    items = 4 * seedWords * blocks
    constants = items + 4 * DecodeItem.wordCount * records
    slopes = constants
    mask = slopes + 4 * (work.problem.modification.alibiSlopes?.count ?? 0)
    pages = (mask + (work.problem.mask.custom?.bytes.count ?? 0) + 15) & ~15
    self.counters = (pages + 4 * (pageCount + 1) + 15) & ~15
    byteCount = self.counters + max(16, 4 * counters * kernel.headsPerItem)
  }

  /// Whether the lists of another layout fit the room of this one.
  func holds(_ other: DecodeLayout) -> Bool {
    other.blockCount <= blockCount && other.records + blockCount - other.blockCount <= records
      && other.pageCount <= pageCount && other.slots <= slots
      && other.counterCount <= counterCount
  }
}

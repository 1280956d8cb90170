public import ApusDSL
public import ApusIR
public import ApusNumerics

/// Writes new tokens into a paged cache (`AppendProblem`): a group of lanes per token and head reads
/// where the token goes and, at the same time, its rows of keys and values; then stores both.
///
/// `stored = round(fl32(x / s))`, saturating, or a copy of the bits. A dynamic scale is the largest
/// finite magnitude of the row, found by shuffles while the row waits in registers.
public struct AppendKernel: ShippedKernel {
  /// What happens to the elements of one of the two rows.
  public enum Storing: String, Sendable, Hashable, CaseIterable {
    /// Their bits are copied.
    case copy
    /// They are rounded to the cache's type.
    case round
    /// They are divided by a value of the tensor or the head, then rounded.
    case divide
    /// They are divided by the scale that the kernel finds for the row and stores beside it.
    case dynamic
    /// As `dynamic` with one scale for both rows: that of the first.
    case joint
    /// There is no row.
    case absent
  }

  /// How the kernel learns where a token goes.
  public enum Lists: String, Sendable, Hashable, CaseIterable {
    /// Page and slot of each token, resolved by the host: one load.
    case resolved
    /// Request and position of each token, pages in compressed rows.
    case csr
    /// Request and position of each token, pages in a block table.
    case blocks
  }

  /// Type of the new tokens.
  public let source: ElementType
  /// Type of the cache.
  public let cache: ElementType
  /// What happens to keys (ckv).
  public let keys: Storing
  /// What happens to values (kpe).
  public let values: Storing
  /// Where tokens go.
  public let lists: Lists
  /// Whether values of lists are checked before they are used as indices (`IndexError`); never with
  /// resolved ones.
  public let checksIndices: Bool
  /// Elements of one access: those of 16 bytes of the source, or 1.
  public let width: Int
  /// Lanes of a token and head: a power of two, at most 32.
  public let lanes: Int
  /// Accesses of each lane to a row of keys.
  public let keyRounds: Int
  /// Accesses of each lane to a row of values.
  public let valueRounds: Int

  static let threads = 128

  /// The configuration for row widths in elements: lanes for two accesses each, from 4 to 32.
  public init(
    source: ElementType, cache: ElementType, keys: Storing, values: Storing, lists: Lists,
    checksIndices: Bool = false, width: Int, keyDim: Int, valueDim: Int
  ) {
    self.source = source
    self.cache = cache
    self.keys = keys
    self.values = values
    self.lists = lists
    self.checksIndices = checksIndices && lists != .resolved
    self.width = width
    let valueDim = values == .absent ? 0 : valueDim
    lanes = min(32, max(4, powerOfTwo(atMost: max(keyDim, valueDim) / width / 2)))
    keyRounds = (keyDim / width + lanes - 1) / lanes
    valueRounds = (valueDim / width + lanes - 1) / lanes
  }

  /// What it is for.
  public var family: KernelFamily { .append }

  /// `sm80_append_bf16_e4m3_divide_divide_resolved_v8_l8_r2x2`, with `_checked` for checked lists.
  public var symbol: String {
    "sm80_append_\(source)_\(cache)_\(keys)_\(values)_\(lists)_v\(width)_l\(lanes)"
      + "_r\(keyRounds)x\(valueRounds)" + (checksIndices ? "_checked" : "")
  }

  /// 128 threads: small batches reach more multiprocessors.
  public var launch: LaunchBounds { LaunchBounds(threads: Self.threads) }

  var sourceBytes: Int { width * source.byteCount }
  var cacheBytes: Int { width * cache.byteCount }

  /// Appends.
  public func body(_ block: Block) {
    block.startDependents()
    let target = AppendTarget(block, lists, checksIndices: checksIndices)
    let keyRow = AppendRow(block, "k", self, keys, rounds: keyRounds)
    let valueRow = AppendRow(block, "v", self, values, rounds: valueRounds)
    let heads = block.parameter("heads", U32.self)
    let cells = block.parameter("cells", U32.self)
    let index = block.globalThreadIndex >> lanes.trailingZeroBitCount
    let lane = block.threadIndex & (lanes - 1)
    // Lanes behind the last cell repeat it, so that shuffles have whole warps, and store nothing.
    let cell = min(index, cells - 1)
    let token = cell / heads
    let head = cell - token * heads

    block.phase("read")
    let place = target.resolve(block, token: token) {
      (index < cells) & (head == 0) & (lane == 0)
    }
    let k = keyRow.load(block, token: token, head: head, lane: lane)
    let v = valueRow.load(block, token: token, head: head, lane: lane)

    block.phase("scale")
    let isWritten = place.isWritten & (index < cells)
    let joint = values == .joint ? v : []
    let kScale = keyRow.scale(block, rows: [k, joint].flatMap { $0 }, head: head)
    let vScale = values == .joint ? kScale : valueRow.scale(block, rows: v, head: head)

    block.phase("store")
    block.when(isWritten) {
      keyRow.store(block, k, kScale, place, head: head, lane: lane)
      valueRow.store(block, v, vScale, place, head: head, lane: lane)
    }
  }
}

/// Where a token goes.
struct AppendPlace {
  let isWritten: Value<Pred>
  let page: Value<U64>
  let slot: Value<U64>
}

/// The lists among the parameters.
struct AppendTarget {
  private let lists: AppendKernel.Lists
  private let places: GlobalPointer<U32>?
  private let batchIndices: GlobalPointer<S32>?
  private let positions: GlobalPointer<U32>?
  private let offsets: GlobalPointer<U32>?
  private let pages: GlobalPointer<U32>?
  private let pageSize: Value<U32>?
  private let width: Value<U32>?
  private let check: AppendIndexCheck?

  init(_ block: Block, _ lists: AppendKernel.Lists, checksIndices: Bool) {
    self.lists = lists
    let isResolved = lists == .resolved
    places = isResolved ? block.pointer("places", to: U32.self, alignment: 8) : nil
    batchIndices = isResolved ? nil : block.pointer("batchIndices", to: S32.self, alignment: 4)
    positions = isResolved ? nil : block.pointer("positions", to: U32.self, alignment: 4)
    pageSize = isResolved ? nil : block.parameter("pageSize", U32.self)
    pages = isResolved ? nil : block.pointer("pages", to: U32.self, alignment: 4)
    offsets = lists == .csr ? block.pointer("pageIndptr", to: U32.self, alignment: 4) : nil
    width = lists == .blocks ? block.parameter("pagesPerRequest", U32.self) : nil
    check = checksIndices ? AppendIndexCheck(block) : nil
  }

  /// - Parameter reports: whether this thread is the one of its token that reports bad values.
  func resolve(
    _ block: Block, token: Value<U32>, reports: () -> Value<Pred>
  ) -> AppendPlace {
    if let places {
      let place = block.load(places[token.converted(to: U64.self) * 2], count: 2)
      return AppendPlace(
        isWritten: place[0] != 0xFFFF_FFFF, page: place[0].converted(to: U64.self),
        slot: place[1].converted(to: U64.self))
    }
    guard let batchIndices, let positions, let pageSize, let pages else {
      block.elaborationFailure("append: lists must have their pointers; found \(lists).")
      let zero = block.constant(0, as: U64.self)
      return AppendPlace(isWritten: block.constant(false), page: zero, slot: zero)
    }
    let request = block.load(batchIndices[token])
    let position = block.load(positions[token])
    let hasPlace = (request >= 0) & (position.bitcast(to: S32.self) >= 0)
    // A skipped token looks nothing up: its request has no row.
    let page = block.variable(0, as: U32.self, "page")
    let ordinal = position / pageSize
    let slot = { (position - ordinal * pageSize).converted(to: U64.self) }
    if let check {
      let page = check.page(
        token: token, request: request, position: position, ordinal: ordinal,
        isSkipped: !hasPlace, pages: pages, offsets: offsets, width: width, reports: reports())
      return AppendPlace(
        isWritten: page != 0xFFFF_FFFF, page: page.converted(to: U64.self), slot: slot())
    }
    block.when(hasPlace) {
      let row = request.converted(to: U32.self)
      if let offsets {
        let entry = block.load(offsets[row]).converted(to: U64.self)
        block.assign(page, block.load(pages[entry + ordinal.converted(to: U64.self)]))
      } else if let width {
        let start = row.multipliedWide(by: width)
        block.assign(page, block.load(pages[start + ordinal.converted(to: U64.self)]))
      }
    }
    // An entry of −1 is no page.
    return AppendPlace(
      isWritten: hasPlace & (page.value != 0xFFFF_FFFF), page: page.value.converted(to: U64.self),
      slot: slot())
  }
}

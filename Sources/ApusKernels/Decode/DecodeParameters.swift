internal import ApusDSL

/// The kernel's parameters, in launch order; `DecodePlan.values` fills them.
struct DecodeParameters {
  /// K and V as tensor maps, or none.
  var keyMap, valueMap: TensorMapParameter?
  /// K and V by address, or none.
  var keys, values: GlobalPointer<U32>?
  let queries, output, items, pages, seeds: GlobalPointer<U32>
  let lse, partials, sums: GlobalPointer<F32>
  let counters: GlobalPointer<U32>
  /// Query heads of a KV head.
  let group: Value<U32>
  /// Words between query rows and heads; of o; elements of lse.
  let queryRow, queryHead, outputRow, outputHead, lseRow, lseHead: Value<U32>
  /// Pages: unit of the list's entries (16-token tiles or tokens), its reciprocal, and what a page
  /// advances along the outermost axis of the maps.
  let pageLength, pageReciprocal, pagePitch: Value<U32>
  /// Distances in 16 bytes: page, token and head of K, then of V.
  var strides: [Value<U32>] = []
  /// Factor that makes scores exponents of 2; after the cap if there is one.
  let scoreScale: Value<F32>
  /// v's scale ÷ o's.
  let outputScale: Value<F32>
  /// Unit of lse, and its value of an empty row.
  let lseScale, lseEmpty: Value<F32>
  /// Tokens that a query sees before its own, and whether it sees later ones.
  var window: Value<S32>?
  var isCausal: Value<U32>?
  /// Factor before the cap.
  var capScale: Value<F32>?
  /// ALiBi slopes times log₂e, by query head.
  var slopes: GlobalPointer<F32>?
  /// Bits of custom masks.
  var mask: GlobalPointer<U8>?
  var sinks, queryScales, keyScales, valueScales, outputScales: GlobalPointer<F32>?

  init(_ kernel: DecodeKernel, _ block: Block) {
    switch kernel.loader {
    case .tensorMap:
      keyMap = block.tensorMap("keyMap")
      valueMap = block.tensorMap("valueMap")
    case .gather:
      keys = block.pointer("keys", to: U32.self)
      values = block.pointer("values", to: U32.self)
    }
    queries = block.pointer("queries", to: U32.self)
    output = block.pointer("output", to: U32.self)
    lse = block.pointer("lse", to: F32.self)
    items = block.pointer("items", to: U32.self)
    pages = block.pointer("pages", to: U32.self)
    seeds = block.pointer("seeds", to: U32.self)
    partials = block.pointer("partials", to: F32.self)
    sums = block.pointer("sums", to: F32.self)
    counters = block.pointer("counters", to: U32.self)
    group = block.parameter("group", U32.self)
    queryRow = block.parameter("queryRow", U32.self)
    queryHead = block.parameter("queryHead", U32.self)
    outputRow = block.parameter("outputRow", U32.self)
    outputHead = block.parameter("outputHead", U32.self)
    lseRow = block.parameter("lseRow", U32.self)
    lseHead = block.parameter("lseHead", U32.self)
    pageLength = block.parameter("pageLength", U32.self)
    pageReciprocal = block.parameter("pageReciprocal", U32.self)
    pagePitch = block.parameter("pagePitch", U32.self)
    if kernel.loader == .gather {
      strides = ["keyPage", "keyToken", "keyHead", "valuePage", "valueToken", "valueHead"].map {
        block.parameter($0, U32.self)
      }
    }
    scoreScale = block.parameter("scoreScale", F32.self)
    outputScale = block.parameter("outputScale", F32.self)
    lseScale = block.parameter("lseScale", F32.self)
    lseEmpty = block.parameter("lseEmpty", F32.self)
    if kernel.hasRanges {
      window = block.parameter("window", S32.self)
      isCausal = block.parameter("isCausal", U32.self)
    }
    if kernel.hasSoftCap { capScale = block.parameter("capScale", F32.self) }
    if kernel.hasSlopes { slopes = block.pointer("slopes", to: F32.self, alignment: 4) }
    if kernel.mask != nil { mask = block.pointer("mask", to: U8.self, alignment: 1) }
    if kernel.hasSinks { sinks = block.pointer("sinks", to: F32.self, alignment: 4) }
    if kernel.hasHeadScales {
      queryScales = block.pointer("queryScales", to: F32.self, alignment: 4)
      keyScales = block.pointer("keyScales", to: F32.self, alignment: 4)
      valueScales = block.pointer("valueScales", to: F32.self, alignment: 4)
      outputScales = block.pointer("outputScales", to: F32.self, alignment: 4)
    }
  }
}

/// What every part of the kernel's code knows.
struct DecodeContext {
  let kernel: DecodeKernel
  let block: Block
  let parameters: DecodeParameters
  let warp, lane: Value<U32>
  /// lane ÷ 4: token of a score fragment, query row of a query fragment.
  let group: Value<U32>
  /// lane mod 4.
  let thread: Value<U32>

  init(_ kernel: DecodeKernel, _ block: Block) {
    self.kernel = kernel
    self.block = block
    parameters = DecodeParameters(kernel, block)
    warp = block.warpIndex
    lane = block.laneIndex
    group = lane >> 2
    thread = lane & 3
  }

  func u32(_ value: Int) -> Value<U32> { block.constant(value, as: U32.self) }
  func f32(_ value: Float) -> Value<F32> { block.constant(value, as: F32.self) }

  /// Query token and head within the group of a row of an item.
  func place(_ item: DecodeItemValues, row: Value<U32>) -> (query: Value<U32>, head: Value<U32>) {
    guard kernel.hasRanges else { return (u32(0), row) }
    let row = item.firstRow + row
    let query = row / parameters.group
    return (query, row - query * parameters.group)
  }

  /// KV head of this warp.
  func keyHead(_ item: DecodeItemValues) -> Value<U32> {
    let first = kernel.isPaged ? item.unit : item.unit & 0xFFFF
    return kernel.mode == .heads ? first + warp : first
  }
}

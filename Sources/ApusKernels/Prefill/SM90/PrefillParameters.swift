internal import ApusDSL
internal import ApusIR

/// The launch signature of the dense prefill; `DensePrefill.launch` fills it in the same order.
struct PrefillParameters<Element: MatrixScalar> {
  /// q as (64, qoLength, headDim ÷ 64, head, request).
  let queries: TensorMapParameter
  /// k likewise, with kvLength and KV heads.
  let keys: TensorMapParameter
  /// v likewise.
  let values: TensorMapParameter
  /// q, k and v by address; causal only: see `HiddenValues`.
  let rows: (queries: Rows, keys: Rows, values: Rows)?
  /// Where o goes.
  let output: OutputParameter
  /// Where lse goes: address of row 0 of head 0, and elements between rows, heads and requests.
  let lse: RowsParameter<F32>?
  /// Counter of fetched tiles, 0 before and after each launch.
  let counter: GlobalPointer<U32>?
  /// Queries of each request.
  let qoLength: Value<U32>
  /// Keys of each request.
  let kvLength: Value<U32>
  /// Query heads.
  let headCount: Value<U32>
  /// Query heads per KV head.
  let groupSize: Value<U32>
  /// Row tiles of a head (pairs of them in a cluster).
  let rowTiles: Value<U32>
  /// All tiles: row tiles · heads · requests.
  let tileCount: Value<U32>
  /// Neighbouring heads whose K and V fit the L2 together; causal only.
  let headsInCache: Value<U32>?
  /// softmaxScale · log₂e.
  let scale: Value<F32>
  /// 1 for a base-2 lse, ln 2 for a natural one.
  let lseFactor: Value<F32>?
  /// lse of an empty row.
  let emptyLSE: Value<F32>?

  /// A tensor of elements by address.
  typealias Rows = RowsParameter<Element>

  /// Output, by tensor map or by address.
  enum OutputParameter {
    case map(TensorMapParameter)
    case rows(Rows)
  }

  /// A tensor `[request, row, head, …]` with any strides.
  struct RowsParameter<T: DataScalar> {
    let base: GlobalPointer<T>
    let rowStride: Value<U32>
    let headStride: Value<U32>
    let batchStride: Value<U64>

    init(_ block: Block, _ name: String, alignment: Int) {
      base = block.pointer(name, to: T.self, alignment: alignment)
      rowStride = block.parameter("\(name)RowStride", U32.self)
      headStride = block.parameter("\(name)HeadStride", U32.self)
      batchStride = block.parameter("\(name)BatchStride", U64.self)
    }

    /// Address of row 0 of a head of a request.
    func start(head: Value<U32>, request: Value<U32>) -> GlobalPointer<T> {
      base[
        request.converted(to: U64.self) * batchStride + head.multipliedWide(by: headStride)]
    }
  }

  /// Declares the parameters in launch order.
  init(_ block: Block, _ configuration: DensePrefillConfiguration) {
    queries = block.tensorMap("queries")
    keys = block.tensorMap("keys")
    values = block.tensorMap("values")
    rows =
      configuration.isCausal
      ? (
        Rows(block, "queryRows", alignment: 16), Rows(block, "keyRows", alignment: 16),
        Rows(block, "valueRows", alignment: 16)
      ) : nil
    output =
      configuration.output == .staged
      ? .map(block.tensorMap("output")) : .rows(Rows(block, "output", alignment: 4))
    lse = configuration.writesLSE ? RowsParameter(block, "lse", alignment: 4) : nil
    counter =
      configuration.schedule == .dynamic
      ? block.pointer("counter", to: U32.self, alignment: 4) : nil
    qoLength = block.parameter("qoLength", U32.self)
    kvLength = block.parameter("kvLength", U32.self)
    headCount = block.parameter("headCount", U32.self)
    groupSize = block.parameter("groupSize", U32.self)
    rowTiles = block.parameter("rowTiles", U32.self)
    tileCount = block.parameter("tileCount", U32.self)
    headsInCache = configuration.isCausal ? block.parameter("headsInCache", U32.self) : nil
    scale = block.parameter("scale", F32.self)
    lseFactor = configuration.writesLSE ? block.parameter("lseFactor", F32.self) : nil
    emptyLSE = configuration.writesLSE ? block.parameter("emptyLSE", F32.self) : nil
  }
}

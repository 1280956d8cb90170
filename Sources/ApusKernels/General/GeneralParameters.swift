internal import ApusCore
internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// A value, or one per head where the address of such values is not 0.
struct HeadValue {
  private let value: Value<F32>
  private let perHead: GlobalPointer<F32>

  init(_ block: Block, _ name: String) {
    value = block.parameter(name, F32.self)
    perHead = block.pointer("\(name)PerHead", to: F32.self, alignment: 4)
  }

  func of(_ block: Block, _ head: Value<U32>) -> Value<F32> {
    let result = block.variable(value, "scale")
    block.when(perHead.address != 0) { block.assign(result, block.load(perHead[head])) }
    return result.value
  }
}

/// A strided tensor with rows `[row, head]` or `[outer, token, head]`.
struct RowTensor {
  private let base: GlobalPointer<U32>
  private let strides: [Value<U64>]

  /// Whether the launch gives such a tensor.
  var isThere: Value<Pred> { base.address != 0 }

  init(_ block: Block, _ name: String, axes: [String], alignment: Int) {
    base = block.pointer(name, to: U32.self, alignment: alignment)
    strides = axes.map { block.parameter("\(name)\($0)", U64.self) }
  }

  /// The row at indices along the axes.
  func row(_ indices: [Value<U64>]) -> GlobalPointer<U32> {
    zip(indices, strides).reduce(base) { $0.advanced(bytes: $1.0 * $1.1) }
  }
}

/// Options that are on where their argument is not 0.
struct GeneralOptions {
  /// The soft cap times log₂e.
  let cap: Value<F32>
  let slopes: GlobalPointer<F32>
  let mask: GlobalPointer<U8>
  /// 0 where the first bit of a mask's byte is the lowest, 7 where it is the highest.
  let maskFlip: Value<U32>
  let keyTokenScales: RowTensor
  let valueTokenScales: RowTensor

  init(_ block: Block, axes: [String]) {
    cap = block.parameter("cap", F32.self)
    slopes = block.pointer("slopes", to: F32.self, alignment: 4)
    mask = block.pointer("mask", to: U8.self, alignment: 1)
    maskFlip = block.parameter("maskFlip", U32.self)
    keyTokenScales = RowTensor(block, "kTokenScales", axes: axes, alignment: 4)
    valueTokenScales = RowTensor(block, "vTokenScales", axes: axes, alignment: 4)
  }
}

/// Rotation of q and k.
struct GeneralRotation {
  let fractions: GlobalPointer<U32>
  /// Accesses of the rotated part of a row.
  let accesses: Value<U32>
  /// Whether pairs are half a row apart; else they are neighbours.
  let isHalf: Value<Pred>

  init(_ block: Block) {
    fractions = block.pointer("fractions", to: U32.self)
    accesses = block.parameter("rotatedAccesses", U32.self)
    isHalf = block.parameter("pairsAreHalf", U32.self) != 0
  }
}

/// The launch arguments of general attention, in order.
struct GeneralParameters {
  let items: GlobalPointer<U32>
  let requests: GlobalPointer<U32>
  let cells: Value<U32>
  let kvHeads: Value<U32>
  let groupSize: Value<U32>
  /// Packed rows of a tile of the plan, and the first of them that this launch takes.
  let tileRows: Value<U32>
  let rowOffset: Value<U32>
  /// `GeneralStorage.code` of q.
  let queryType: Value<U32>
  let q: [RowTensor]
  let k: [RowTensor]
  let v: RowTensor
  /// Accesses of the first part of a key, and of the whole key.
  let firstAccesses: Value<U32>
  let keyAccesses: Value<U32>
  let valueAccesses: Value<U32>
  /// The page list; address 0 where keys do not lie in pages.
  let pages: GlobalPointer<U32>
  let pageSize: Value<U32>
  let isCausal: Value<U32>
  let window: Value<S32>
  let qScale: HeadValue
  let kScales: [HeadValue]
  /// Factor on q·k: to scores in base 2, or with a soft cap to multiples of the cap.
  let scoreFactor: Value<F32>
  let options: GeneralOptions?
  let rotation: GeneralRotation?
  let finish: FinishParameters

  init(_ block: Block, _ kernel: GeneralAttentionKernel) {
    func alignment(_ byteCount: Int) -> Int { min(16, kernel.width * byteCount) }
    let features = kernel.features
    let parts = features.contains(.latent) ? ["", "Rope"] : [""]
    items = block.pointer("items", to: U32.self)
    requests = block.pointer("requests", to: U32.self)
    cells = block.parameter("cells", U32.self)
    kvHeads = block.parameter("kvHeads", U32.self)
    groupSize = block.parameter("groupSize", U32.self)
    tileRows = block.parameter("tileRows", U32.self)
    rowOffset = block.parameter("rowOffset", U32.self)
    queryType = block.parameter("queryType", U32.self)
    q = parts.map {
      RowTensor(
        block, "q\($0)", axes: ["Row", "Head"], alignment: alignment(kernel.query.byteCount))
    }
    let axes = ["Outer", "Token", "Head"]
    k = parts.map {
      RowTensor(block, "k\($0)", axes: axes, alignment: alignment(kernel.cache.byteCount))
    }
    v = RowTensor(block, "v", axes: axes, alignment: alignment(kernel.cache.byteCount))
    firstAccesses = block.parameter("firstAccesses", U32.self)
    keyAccesses = block.parameter("keyAccesses", U32.self)
    valueAccesses = block.parameter("valueAccesses", U32.self)
    pages = block.pointer("pages", to: U32.self, alignment: 4)
    pageSize = block.parameter("pageSize", U32.self)
    isCausal = block.parameter("isCausal", U32.self)
    window = block.parameter("window", S32.self)
    qScale = HeadValue(block, "qScale")
    kScales = parts.map { HeadValue(block, "k\($0)Scale") }
    scoreFactor = block.parameter("scoreFactor", F32.self)
    options = features.contains(.options) ? GeneralOptions(block, axes: axes) : nil
    rotation = features.contains(.rope) ? GeneralRotation(block) : nil
    finish = FinishParameters(block, alignment: alignment(kernel.output.byteCount))
  }
}

/// Where finished rows and partial states go.
struct FinishParameters {
  let o: RowTensor
  let lse: RowTensor
  let hasLSE: Value<U32>
  let lseFactor: Value<F32>
  let emptyLSE: Value<F32>
  let sinks: GlobalPointer<F32>
  let vScale: HeadValue
  let oScale: HeadValue
  let partialO: GlobalPointer<F32>
  let partialStates: GlobalPointer<F32>
  /// Elements of a row of o.
  let dim: Value<U32>
  /// `GeneralStorage.code` of o.
  let type: Value<U32>

  init(_ block: Block, alignment: Int) {
    o = RowTensor(block, "o", axes: ["Row", "Head"], alignment: alignment)
    lse = RowTensor(block, "lse", axes: ["Row", "Head"], alignment: 4)
    hasLSE = block.parameter("hasLSE", U32.self)
    lseFactor = block.parameter("lseFactor", F32.self)
    emptyLSE = block.parameter("emptyLSE", F32.self)
    sinks = block.pointer("sinks", to: F32.self, alignment: 4)
    vScale = HeadValue(block, "vScale")
    oScale = HeadValue(block, "oScale")
    partialO = block.pointer("partialO", to: F32.self)
    partialStates = block.pointer("partialStates", to: F32.self)
    dim = block.parameter("dim", U32.self)
    type = block.parameter("outputType", U32.self)
  }

  /// What turns `Σ p·v` into o: a factor, then a divisor; 0 and 1 for an empty row.
  func scales(
    _ block: Block, m: Value<F32>, l: Value<F32>, head: Value<U32>, kvHead: Value<U32>
  ) -> (isEmpty: Value<Pred>, factor: Value<F32>, divisor: Value<F32>) {
    let denominator = block.variable(l, "d")
    block.when(sinks.address != 0) {
      let sink = block.load(sinks[head]) * 1.442_695_04
      block.assign(denominator, l + ex2(sink - m))
    }
    let factor = rcp(denominator.value) * vScale.of(block, kvHead)
    return (l == 0, factor, oScale.of(block, head))
  }

  /// Writes the log-sum-exp of a row.
  func storeLSE(
    _ block: Block, m: Value<F32>, l: Value<F32>, row: Value<U64>, head: Value<U64>
  ) {
    block.when(hasLSE != 0) {
      let value = select(l == 0, emptyLSE, (m + lg2(l)) * lseFactor)
      block.store(value, to: lse.row([row, head]).cast(to: F32.self))
    }
  }
}

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

  init(_ block: Block, _ name: String, axes: [String], alignment: Int) {
    base = block.pointer(name, to: U32.self, alignment: alignment)
    strides = axes.map { block.parameter("\(name)\($0)", U64.self) }
  }

  /// The row at indices along the axes.
  func row(_ indices: [Value<U64>]) -> GlobalPointer<U32> {
    zip(indices, strides).reduce(base) { $0.advanced(bytes: $1.0 * $1.1) }
  }
}

/// The launch arguments of general attention, in order.
struct GeneralParameters {
  let items: GlobalPointer<U32>
  let requests: GlobalPointer<U32>
  let cells: Value<U32>
  let kvHeads: Value<U32>
  let groupSize: Value<U32>
  let q: [RowTensor]
  let k: [RowTensor]
  let v: RowTensor
  /// Accesses of the first part of a key, and of the whole key.
  let firstAccesses: Value<U32>
  let keyAccesses: Value<U32>
  let valueAccesses: Value<U32>
  let pages: GlobalPointer<U32>?
  let pageSize: Value<U32>?
  let isCausal: Value<U32>
  let window: Value<S32>
  let qScale: HeadValue
  let kScales: [HeadValue]
  let keyTokenScales: RowTensor?
  let valueTokenScales: RowTensor?
  /// Factor on q·k: to scores in base 2, or with a soft cap to multiples of the cap.
  let scoreFactor: Value<F32>
  let cap: Value<F32>?
  let slopes: GlobalPointer<F32>?
  let fractions: GlobalPointer<U32>?
  /// Accesses of the rotated part of a row.
  let rotatedAccesses: Value<U32>?
  let mask: GlobalPointer<U8>?
  let finish: FinishParameters

  init(_ block: Block, _ kernel: GeneralAttentionKernel) {
    func alignment(_ type: ElementType) -> Int { min(16, kernel.width * type.byteCount) }
    let features = kernel.features
    let parts = features.contains(.latent) ? ["", "Rope"] : [""]
    items = block.pointer("items", to: U32.self)
    requests = block.pointer("requests", to: U32.self)
    cells = block.parameter("cells", U32.self)
    kvHeads = block.parameter("kvHeads", U32.self)
    groupSize = block.parameter("groupSize", U32.self)
    q = parts.map {
      RowTensor(block, "q\($0)", axes: ["Row", "Head"], alignment: alignment(kernel.types.q))
    }
    let axes = ["Outer", "Token", "Head"]
    k = parts.map {
      RowTensor(block, "k\($0)", axes: axes, alignment: alignment(kernel.types.kv))
    }
    v = RowTensor(block, "v", axes: axes, alignment: alignment(kernel.types.kv))
    firstAccesses = block.parameter("firstAccesses", U32.self)
    keyAccesses = block.parameter("keyAccesses", U32.self)
    valueAccesses = block.parameter("valueAccesses", U32.self)
    let isPaged = features.contains(.pages)
    pages = isPaged ? block.pointer("pages", to: U32.self, alignment: 4) : nil
    pageSize = isPaged ? block.parameter("pageSize", U32.self) : nil
    isCausal = block.parameter("isCausal", U32.self)
    window = block.parameter("window", S32.self)
    qScale = HeadValue(block, "qScale")
    kScales = parts.map { HeadValue(block, "k\($0)Scale") }
    keyTokenScales =
      features.contains(.keyTokenScales)
      ? RowTensor(block, "kTokenScales", axes: axes, alignment: 4) : nil
    valueTokenScales =
      features.contains(.valueTokenScales)
      ? RowTensor(block, "vTokenScales", axes: axes, alignment: 4) : nil
    scoreFactor = block.parameter("scoreFactor", F32.self)
    cap = features.contains(.softCap) ? block.parameter("cap", F32.self) : nil
    slopes =
      features.contains(.alibi) ? block.pointer("slopes", to: F32.self, alignment: 4) : nil
    fractions = kernel.isRotated ? block.pointer("fractions", to: U32.self) : nil
    rotatedAccesses = kernel.isRotated ? block.parameter("rotatedAccesses", U32.self) : nil
    mask =
      features.isDisjoint(with: [.maskLittle, .maskBig])
      ? nil : block.pointer("mask", to: U8.self, alignment: 1)
    finish = FinishParameters(block, alignment: alignment(kernel.types.o))
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

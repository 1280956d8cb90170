/// Signatures by op, made once for the ops that kernels are full of: making a list costs more than
/// comparing with it.
struct SignatureTable {
  private var lists = [[Signature]?](repeating: nil, count: 48)
  /// Of the product met last: products come in runs of one shape.
  private var product: (shape: Op.MMAShape, list: [Signature])?

  /// `Op.signatures` of a node.
  mutating func signatures(of node: Node) -> [Signature] {
    let (operandCount, resultCount) = (node.operands.count, node.results.count)
    if case .tensorCore(.mma(let shape)) = node.op {
      if let product, product.shape == shape { return product.list }
      let list = node.op.signatures(operandCount: operandCount, resultCount: resultCount)
      product = (shape, list)
      return list
    }
    guard let place = node.op.signatureNumber(operandCount, resultCount) else {
      return node.op.signatures(operandCount: operandCount, resultCount: resultCount)
    }
    if let list = lists[place] { return list }
    let list = node.op.signatures(operandCount: operandCount, resultCount: resultCount)
    lists[place] = list
    return list
  }
}

extension Op {
  /// Equal only for nodes with equal signatures; nil for rare ops.
  fileprivate func signatureNumber(_ operandCount: Int, _ resultCount: Int) -> Int? {
    switch self {
    case .movement(let op): op.signatureNumber(operandCount)
    case .arithmetic(let op): op.signatureNumber
    case .bits(let op): op.signatureNumber
    case .conversion(let op): op.signatureNumber
    case .warp(.shfl): resultCount == 2 ? 42 : 43
    case .warp(.vote(.ballot, _)): 44
    case .warp(.vote): 45
    default: nil
    }
  }
}

extension Op.Movement {
  fileprivate func signatureNumber(_ operandCount: Int) -> Int {
    switch self {
    case .variable: operandCount == 0 ? 0 : 1
    case .assign, .copy: 2
    case .select: 3
    case .bitcast: 4
    case .pack: 5
    case .unpack: 6
    }
  }
}

extension Op.Arithmetic {
  fileprivate var signatureNumber: Int {
    switch self {
    case .add, .sub, .mul, .min, .max: 7
    case .fma: 8
    case .addRounded, .mulRounded: 9
    case .fmaRounded: 10
    case .mulHigh: 11
    case .mulWide: 12
    case .mad: 13
    case .madWide: 14
    case .div: 15
    case .rem: 16
    case .minNaN, .maxNaN: 17
    case .neg, .abs: 18
    case .approximate(.ex2), .approximate(.tanh): 19
    case .approximate: 20
    case .packed16: 21
    }
  }
}

extension Op.Bits {
  fileprivate var signatureNumber: Int {
    switch self {
    case .and, .or, .xor: 22
    case .not: 23
    case .shl, .shr: 24
    case .funnelShiftLeft, .funnelShiftRight, .prmt, .lop3: 25
    case .popc, .clz: 26
    case .brev: 27
    case .bfe: 28
    case .bfi: 29
    case .setp(let comparison): comparison.needsFloat ? 30 : 31
    }
  }
}

extension Op.Conversion {
  fileprivate var signatureNumber: Int {
    switch self {
    case .integer: 32
    case .integerToFloat: 33
    case .floatToInteger: 34
    case .roundToInteger: 35
    case .widen: 36
    case .narrow: 37
    case .narrowPair: 38
    case .narrowFP8: 39
    case .widenFP8: 40
    case .tf32: 41
    }
  }
}

internal import ApusDSL
internal import ApusIR

/// What ALiBi adds to the exponents of a lane's rows: slope · (token − position of the query), in
/// units of log₂.
struct DecodeBias {
  /// By row: slope times log₂e, and the query's position among the keys.
  let slopes: [Value<F32>]
  let positions: [Value<S32>]

  /// Of the rows of an item; nil without slopes.
  ///
  /// - Parameter positions: of the rows' queries.
  init?(
    _ context: DecodeContext, _ item: DecodeItemValues, rows: [Value<U32>],
    positions: [Value<S32>]
  ) {
    guard let slopes = context.parameters.slopes else { return nil }
    let block = context.block
    let first = context.keyHead(item) * context.parameters.group
    self.slopes = rows.map { row in
      block.let(block.load(slopes[first + context.place(item, row: row).head]))
    }
    self.positions = positions
  }

  /// An exponent with its bias.
  func added(to exponent: Value<F32>, token: Value<S32>, row: Int) -> Value<F32> {
    fma(slopes[row], (token - positions[row]).converted(to: F32.self), exponent)
  }
}

/// A custom mask: bit `start + token` of the list says whether a row sees a token.
struct DecodeMaskBits {
  private let block: Block
  private let bits: GlobalPointer<U8>
  /// By row: bit of the request's first token.
  private let starts: [Value<U32>]
  private let order: DecodeMaskOrder

  /// Of the rows of an item; nil without a mask.
  ///
  /// - Parameter queries: of the rows within their request.
  init?(_ context: DecodeContext, _ item: DecodeItemValues, queries: [Value<U32>]) {
    guard let bits = context.parameters.mask, let order = context.kernel.mask else { return nil }
    block = context.block
    self.bits = bits
    self.order = order
    let first = item.maskStart << 3
    starts = queries.map { context.block.let(mad($0, item.kvLength, first)) }
  }

  /// Whether a row sees a token; false without an access where `isInRange` is.
  func isVisible(_ token: Value<U32>, row: Int, if isInRange: Value<Pred>) -> Value<Pred> {
    let bit = starts[row] + token
    let byte = block.variable(0, as: U32.self, "mask")
    block.when(isInRange, .predicated) { block.assign(byte, block.load(bits[bit >> 3]).word) }
    let within = bit & 7
    let shift = order == .little ? within : within ^ 7
    return byte.value.shifted(right: shift) & 1 != 0
  }
}

/// Which bit of a custom mask's byte comes first.
public enum DecodeMaskOrder: String, Sendable, Hashable, CaseIterable {
  /// The lowest.
  case little
  /// The highest.
  case big
}

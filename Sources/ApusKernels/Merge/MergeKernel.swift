public import ApusCore
public import ApusDSL
public import ApusIR
public import ApusNumerics

/// Merge of attention states (`MergeArguments`; arXiv 2501.01005 §2.2): a group of lanes per row and
/// head reads the log-sum-exps, each lane merges vectors of v.
///
/// `m = max sᵢ`, `wᵢ = b^(sᵢ − m)`, `v = Σ wᵢ·vᵢ / Σ wᵢ`, `s = m + log_b Σ wᵢ`. Of two states the
/// products round before they are added, so that swapping the states changes no bit. The words of
/// an empty state become zeros before they are widened: whatever its v holds does not count.
public struct MergeKernel: ShippedKernel {
  /// How many states, and which rows.
  public enum Form: String, Sendable, Hashable, CaseIterable {
    /// Two states; the output may be one of them.
    case pair
    /// Two states, in rows whose mask byte is not 0.
    case maskedPair
    /// Any number of states of one tensor.
    case many
  }

  /// How many states.
  public let form: Form
  /// Type of the states' v.
  public let input: ElementType
  /// Type of the merged v.
  public let output: ElementType
  /// Convention of every s.
  public let convention: LSEConvention
  /// Elements of one access: those of 16 bytes of the input, or 1.
  public let width: Int
  /// Lanes of a row and head: a power of two, at most 32.
  public let lanes: Int

  /// Accesses of v that a lane has in flight for each state.
  static let depth = 2
  /// States whose v `many` has in flight.
  static let statesAtOnce = 4
  static let threads = 256

  /// The configuration for a head dimension: lanes for `depth` accesses each, from 4 to 32.
  public init(
    form: Form, input: ElementType, output: ElementType, convention: LSEConvention, width: Int,
    dim: Int
  ) {
    self.form = form
    self.input = input
    self.output = output
    self.convention = convention
    self.width = width
    lanes = min(32, max(4, powerOfTwo(atMost: dim / width / Self.depth)))
  }

  /// What it is for.
  public var family: KernelFamily { .merge }

  /// `sm80_merge_pair_bf16_bf16_base2_v8_l8`; `_emptyinf` where an empty row is +∞.
  public var symbol: String {
    let base = convention.base == .two ? "base2" : "basee"
    let empty = convention.emptyRow == .negativeInfinity ? "" : "_emptyinf"
    return "sm80_merge_\(form)_\(input)_\(output)_\(base)\(empty)_v\(width)_l\(lanes)"
  }

  /// 256 threads.
  public var launch: LaunchBounds { LaunchBounds(threads: Self.threads) }

  /// Merges.
  public func body(_ block: Block) {
    if form == .many { mergeMany(block) } else { mergePair(block) }
  }

  // MARK: - Shared parts

  /// Bytes of one access of the states' v and of the merged v.
  var inputBytes: Int { width * input.byteCount }
  var outputBytes: Int { width * output.byteCount }

  /// Value of s in an empty row.
  var emptyValue: Float { convention.emptyRow == .negativeInfinity ? -.infinity : .infinity }

  /// Whether a state has keys. NaN counts as present.
  func isPresent(_ s: Value<F32>) -> Value<Pred> {
    convention.emptyRow == .negativeInfinity ? s != -.infinity : abs(s) != .infinity
  }

  /// `b^(s − m)`; the difference rounds before the base changes, so that large s lose nothing.
  func weight(_ s: Value<F32>, _ m: Value<F32>) -> Value<F32> {
    let difference = s - m
    return ex2(convention.base == .two ? difference : difference * 1.442_695_04)
  }

  /// `m + log_b total`, or the empty value without a state.
  func logSumExp(_ block: Block, _ m: Value<F32>, _ total: Value<F32>) -> Value<F32> {
    let logarithm = convention.base == .two ? lg2(total) : lg2(total) * 0.693_147_18
    return select(total == 0, block.constant(emptyValue, as: F32.self), m + logarithm)
  }

  /// 1 / total; 0 without a state.
  func normaliser(_ block: Block, _ total: Value<F32>) -> Value<F32> {
    select(total == 0, block.constant(0, as: F32.self), rcp(total))
  }
}

/// The v and s of a state among the parameters, strides in bytes.
struct StateParameters {
  let v: GlobalPointer<U32>
  let vRow: Value<U64>
  let vHead: Value<U64>
  let s: GlobalPointer<F32>
  let sRow: Value<U64>
  let sHead: Value<U64>

  init(_ block: Block, _ name: String, alignment: Int) {
    v = block.pointer("\(name)V", to: U32.self, alignment: alignment)
    vRow = block.parameter("\(name)VRow", U64.self)
    vHead = block.parameter("\(name)VHead", U64.self)
    s = block.pointer("\(name)S", to: F32.self, alignment: 4)
    sRow = block.parameter("\(name)SRow", U64.self)
    sHead = block.parameter("\(name)SHead", U64.self)
  }

  /// Row of v of a row and head.
  func vectors(_ row: Value<U64>, _ head: Value<U64>) -> GlobalPointer<U32> {
    v.advanced(bytes: mad(row, vRow, head * vHead))
  }

  /// s of a row and head.
  func logit(_ row: Value<U64>, _ head: Value<U64>) -> GlobalPointer<F32> {
    s.advanced(bytes: mad(row, sRow, head * sHead))
  }
}

/// The row and head of this thread's lane group.
struct MergeCell {
  /// Whether there is one.
  let isInside: Value<Pred>
  /// Row, of the last cell where there is none.
  let row: Value<U64>
  let head: Value<U64>
  /// Lane within the group.
  let lane: Value<U32>

  init(_ block: Block, lanes: Int, heads: Value<U32>, cells: Value<U32>) {
    let index = block.globalThreadIndex >> lanes.trailingZeroBitCount
    lane = block.threadIndex & (lanes - 1)
    isInside = index < cells
    let cell = min(index, cells - 1)
    let row = cell / heads
    self.row = row.converted(to: U64.self)
    head = (cell - row * heads).converted(to: U64.self)
  }
}

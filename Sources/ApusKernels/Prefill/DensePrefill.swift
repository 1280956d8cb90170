public import ApusCore
internal import ApusNumerics

/// Dense prefill: attention of many query tokens whose requests all have the same lengths.
///
/// `supports` says whether, `choose` which kernel, `launch` how.
public enum DensePrefill {
  /// Bytes of workspace: a counter of tiles, 0 before the first launch and again after each. Two
  /// launches that may overlap need one each.
  public static let workspaceByteCount = 16

  /// Why a problem is not for this kernel, or nil.
  public static func refusal(of problem: AttentionProblem) -> String? {
    let shape = problem.shape
    let types = problem.types
    func refuse(_ found: String, supported: String) -> String {
      "dense prefill computes \(supported); found \(found)"
    }
    if problem.latent != nil { return refuse("MLA", supported: "separate K and V") }
    guard types.q == types.kv, types.q == types.o, types.q == .bf16 || types.q == .f16 else {
      return refuse("\(types)", supported: "bf16 or f16 throughout")
    }
    guard shape.headDimQK == shape.headDimVO, [64, 128].contains(shape.headDimQK) else {
      return refuse("\(shape)", supported: "head dimensions 64 and 128")
    }
    if problem.mask.custom != nil || problem.mask.windowLeft != nil {
      return refuse("mask \(problem.mask)", supported: "full and causal attention")
    }
    let modification = problem.modification
    if modification.activeSoftCap != nil || modification.alibiSlopes != nil
      || modification.rope != nil
    {
      return refuse("\(modification)", supported: "plain scores")
    }
    let scale = problem.softmaxScale
    guard scale.isFinite, (0x1p-60...0x1p60).contains(scale) else {
      return refuse("softmax scale \(scale)", supported: "softmax scales in 2^-60…2^60")
    }
    if problem.options.precision == .accurate {
      return refuse("precision accurate", supported: "with weights of 16 bits")
    }
    return refusalOfLengths(problem)
  }

  private static func refusalOfLengths(_ problem: AttentionProblem) -> String? {
    guard problem.batch > 0 else { return "dense prefill needs a request; found none" }
    if case .paged = problem.geometry {
      return "dense prefill reads ragged and padded K and V; found pages"
    }
    let (qo, kv) = (problem.qoLength(0), problem.kvLength(0))
    for request in 0..<problem.batch
    where problem.qoLength(request) != qo || problem.kvLength(request) != kv {
      return "dense prefill needs equal lengths in all requests; found \(qo) and "
        + "\(problem.qoLength(request)) queries, \(kv) and \(problem.kvLength(request)) keys"
    }
    guard (1...1 << 30).contains(qo), (1...1 << 30).contains(kv) else {
      return "dense prefill needs 1…2^30 queries and keys; found \(qo) and \(kv)"
    }
    let (heads, overflow) = problem.shape.qoHeadCount.multipliedReportingOverflow(by: problem.batch)
    let (rows, overflow2) = heads.multipliedReportingOverflow(by: qo)
    guard !overflow, !overflow2, rows < 1 << 36 else {
      return "dense prefill needs fewer than 2^36 rows over all heads; found more"
    }
    return nil
  }

  /// Why the tensors of a supported problem are not for this kernel, or nil.
  public static func refusal(
    of problem: AttentionProblem, _ arguments: AttentionArguments
  ) -> String? {
    guard case .packed = arguments.q, case .separate = arguments.kv else {
      return "dense prefill takes q, k and v as one tensor each"
    }
    if arguments.sinks != nil { return "dense prefill has no attention sinks" }
    guard arguments.scales.v == .one, arguments.scales.o == .one,
      arguments.scales.q.number != nil, arguments.scales.k.number != nil
    else {
      return "dense prefill takes scales of q and k per tensor, and none of v and o; found "
        + "q \(arguments.scales.q), k \(arguments.scales.k), v \(arguments.scales.v), "
        + "o \(arguments.scales.o)"
    }
    guard let operands = DensePrefillOperands(problem, arguments) else {
      return "dense prefill needs tensors of its problem"
    }
    for (name, operand) in operands.tensors {
      if let reason = operand.refusal { return "dense prefill needs \(name) \(reason)" }
    }
    if let lse = operands.lse, lse.rowStride >= 1 << 32 || lse.headStride >= 1 << 32 {
      return "dense prefill needs strides of lse below 2^32"
    }
    return nil
  }
}

extension Scale {
  /// The multiplier if it is one number.
  var number: Float? {
    switch self {
    case .one: 1
    case .tensor(let value): value
    case .head, .tokenHead: nil
    }
  }
}

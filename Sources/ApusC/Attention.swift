internal import Apus
public import CApus

/// See `apus.h`.
@_cdecl("apus_attention_plan")
public func attentionPlan(
  _ backend: UInt64, _ problem: UnsafePointer<apus_attention_problem>?,
  _ plan: UnsafeMutablePointer<UInt64>?
) -> apus_status {
  perform { () throws(ApusError) in
    let operation = "apus_attention_plan"
    let plan = try required(plan, "plan", operation)
    let backend = try Handles.backends.object(backend, operation)
    let source = try read(problem, "problem", operation)
    let problem = try TensorReader(operation: operation).problem(source)
    plan.pointee = Handles.plans.insert(
      try PlannedAttention(problem, operation: "apus_attention", backend: backend))
  }
}

/// See `apus.h`.
@_cdecl("apus_plan_workspace_size")
public func planWorkspaceSize(
  _ plan: UInt64, _ byteCount: UnsafeMutablePointer<Int>?
) -> apus_status {
  perform { () throws(ApusError) in
    let operation = "apus_plan_workspace_size"
    let byteCount = try required(byteCount, "byte_count", operation)
    byteCount.pointee = try Handles.plans.object(plan, operation).workspaceByteCount
  }
}

/// See `apus.h`.
@_cdecl("apus_plan_describe")
public func planDescribe(
  _ plan: UInt64, _ text: UnsafeMutablePointer<CChar>?, _ capacity: UInt,
  _ length: UnsafeMutablePointer<Int>?
) -> apus_status {
  perform { () throws(ApusError) in
    let plan = try Handles.plans.object(plan, "apus_plan_describe")
    copyText(plan.description, text, capacity, length)
  }
}

/// See `apus.h`.
@_cdecl("apus_plan_destroy")
public func planDestroy(_ plan: UInt64) -> apus_status {
  perform { () throws(ApusError) in try Handles.plans.remove(plan, "apus_plan_destroy") }
}

/// See `apus.h`.
@_cdecl("apus_attention_run")
public func attentionRun(
  _ plan: UInt64, _ arguments: UnsafePointer<apus_attention_arguments>?,
  _ stream: UnsafePointer<apus_stream>?
) -> apus_status {
  perform { () throws(ApusError) in
    let operation = "apus_attention_run"
    let plan = try Handles.plans.object(plan, operation)
    let source = try read(arguments, "arguments", operation)
    let reader = TensorReader(operation: operation)
    let tensors = try reader.attention(source, plan.problem)
    let workspace = try reader.optionalView(source.workspace, "workspace", as: .u8)
    try plan.run(tensors, workspace: workspace, on: executionStream(stream))
  }
}

extension TensorReader {
  /// The tensors of a run, read as the types that the problem states.
  fileprivate func attention(
    _ source: apus_attention_arguments, _ problem: AttentionProblem
  ) throws(ApusError) -> AttentionArguments {
    let qType = ScalarType(problem.types.q)
    let q = try view(source.q, "q", as: qType)
    let rope = try optionalView(source.q_rope, "q_rope", as: qType)
    return AttentionArguments(
      q: rope.map { .split(nope: q, rope: $0) } ?? .packed(q),
      kv: try cache(
        k: source.k, v: source.v, kv: source.kv, as: ScalarType(problem.types.kv),
        isLatent: problem.latent != nil),
      o: try view(source.o, "o", as: ScalarType(problem.types.o)),
      lse: try optionalView(source.lse, "lse", as: .f32),
      scales: AttentionScales(
        q: try scale(source.q_scale, "q_scale"), k: try scale(source.k_scale, "k_scale"),
        v: try scale(source.v_scale, "v_scale"), o: try scale(source.o_scale, "o_scale"),
        kpe: try scale(source.kpe_scale, "kpe_scale")),
      sinks: try optionalView(source.sinks, "sinks", as: .f32))
  }

  /// One cache tensor, or two.
  func cache(
    k: UnsafePointer<DLTensor>?, v: UnsafePointer<DLTensor>?, kv: UnsafePointer<DLTensor>?,
    as type: ScalarType, isLatent: Bool
  ) throws(ApusError) -> KVOperand {
    if let kv {
      guard k == nil, v == nil else {
        throw violation(
          operation, "either kv or k and v must be given", found: "kv beside another")
      }
      let both = try view(kv, "kv", as: type)
      return isLatent ? .packedLatent(both) : .combined(both)
    }
    let (first, second) = (try view(k, "k", as: type), try view(v, "v", as: type))
    return isLatent ? .latent(ckv: first, kpe: second) : .separate(k: first, v: second)
  }
}

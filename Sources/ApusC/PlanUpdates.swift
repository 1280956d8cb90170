internal import Apus
public import CApus

/// See `apus.h`.
@_cdecl("apus_attention_plan_within")
public func attentionPlanWithin(
  _ backend: UInt64, _ problem: UnsafePointer<apus_attention_problem>?,
  _ capacity: UnsafePointer<apus_plan_capacity>?, _ plan: UnsafeMutablePointer<UInt64>?
) -> apus_status {
  perform { () throws(ApusError) in
    let operation = "apus_attention_plan_within"
    let plan = try required(plan, "plan", operation)
    let backend = try Handles.backends.object(backend, operation)
    let source = try read(problem, "problem", operation)
    let limits = try read(capacity, "capacity", operation)
    let capacity = PlanCapacity(
      batch: Int(limits.batch),
      queriesPerRequest: limits.queries_per_request == 0 ? 1 : Int(limits.queries_per_request),
      keysPerRequest: Int(limits.keys_per_request),
      keyRows: limits.key_rows == 0 ? nil : Int(limits.key_rows),
      cachePages: limits.cache_pages == 0 ? nil : Int(limits.cache_pages))
    plan.pointee = Handles.plans.insert(
      try PlannedAttention(
        try TensorReader(operation: operation).problem(source), capacity: capacity,
        operation: "apus_attention", backend: backend))
  }
}

/// See `apus.h`.
@_cdecl("apus_plan_update")
public func planUpdate(
  _ plan: UInt64, _ problem: UnsafePointer<apus_attention_problem>?,
  _ stream: UnsafePointer<apus_stream>?
) -> apus_status {
  perform { () throws(ApusError) in
    let operation = "apus_plan_update"
    let plan = try Handles.plans.object(plan, operation)
    let source = try read(problem, "problem", operation)
    try plan.update(
      try TensorReader(operation: operation).problem(source), on: executionStream(stream))
  }
}

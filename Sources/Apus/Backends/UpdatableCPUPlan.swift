internal import ApusCPU
internal import ApusCore
internal import ApusThreads

/// A CPU plan with a capacity: the plan of one problem within it, which an update exchanges.
///
/// Runs that are under way at an update go on with what they began with. Their scratch memory is the
/// back end's, since its size changes with the problem.
final class UpdatableCPUPlan: AttentionPlan {
  /// The envelope of the capacity.
  let problem: AttentionProblem
  let limits: PlanCapacity
  /// What the plan was made with.
  let planned: AttentionProblem
  private let latest: Lock<CPUAttentionPlan>

  var backendName: String { "cpu" }
  var workspaceByteCount: Int { 0 }
  /// What runs now.
  var current: CPUAttentionPlan { latest.withLock { $0 } }
  var description: String { "\(current) with \(limits)" }

  init(_ plan: CPUAttentionPlan, _ limits: PlanCapacity) {
    planned = plan.problem
    problem = limits.envelope(of: plan.problem)
    self.limits = limits
    latest = Lock(plan)
  }

  func update(to plan: CPUAttentionPlan) {
    latest.withLock { $0 = plan }
  }
}

extension CPUBackend {
  /// Validates, and plans with room for every problem within a capacity.
  public func plan(
    _ problem: AttentionProblem, capacity: PlanCapacity, operation: String
  ) throws(ApusError) -> any AttentionPlan {
    try wrappingArguments { () throws(ArgumentError) in
      try problem.validate(operation: operation)
      try capacity.validate(for: problem, operation: operation)
      try capacity.validate(problem, updating: problem, operation: operation)
      return UpdatableCPUPlan(
        try CPUAttention.plan(problem, operation: operation), capacity)
    }
  }

  /// Validates a problem and plans it in the place of a plan's.
  public func update(
    _ plan: any AttentionPlan, to problem: AttentionProblem, on stream: ExecutionStream,
    operation: String
  ) throws(ApusError) {
    guard plan.backendName == name else {
      throw .argument(
        ArgumentError(
          operation: operation, "the plan must come from back end cpu", found: plan.backendName))
    }
    guard let plan = plan as? UpdatableCPUPlan else {
      throw .argument(.withoutCapacity(operation))
    }
    try requireSynchronous(stream, operation)
    try wrappingArguments { () throws(ArgumentError) in
      try problem.validate(operation: operation)
      try plan.limits.validate(problem, updating: plan.planned, operation: operation)
      plan.update(to: try CPUAttention.plan(problem, operation: operation))
    }
  }
}

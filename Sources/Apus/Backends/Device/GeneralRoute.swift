internal import ApusCore
internal import ApusKernels

extension AttentionRoute.Family {
  /// Attention of any shape, type and option: what runs where no faster family does.
  static let general = AttentionRoute.Family(
    name: .general,
    supported: { _ in "general: every validated problem of at most 2^24 work items" },
    refusal: { problem, _ in GeneralAttention.refusal(of: problem) },
    make: { problem, runtime in
      let plan = GeneralAttention(problem, target: runtime.target)
      return AttentionRoute(
        kernels: plan.kernels, metadata: RouteLists(plan.metadata),
        workspaceByteCount: plan.workspaceByteCount
      ) { .success(plan.launches(for: $0)) }
    })
}

internal import ApusCore
internal import ApusKernels

extension AttentionRoute.Family {
  /// Split-KV decode: few query rows against ragged, padded or paged caches.
  static let decode = AttentionRoute.Family(
    name: .decode,
    supported: { _ in
      "decode: at most 128 query rows × group a request, q and o in f16, bf16 or f32, equal head "
        + "dimensions in multiples of 8 (16 for 8-bit caches) up to 256, and 512, causal and custom "
        + "masks, windows, soft caps and ALiBi; on tensor cores 16-bit q and 16- or 8-bit caches at "
        + "precision fast, on ordinary cores every cache and precision"
    },
    refusal: { problem, runtime in
      DecodeLaunch.unsupportedReason(problem, target: runtime.target)
    },
    make: { problem, runtime in
      let plan = DecodeLaunch.plan(
        problem, target: runtime.target, multiprocessorCount: runtime.multiprocessorCount,
        largestCluster: runtime.largestCluster)
      return plan.map { AttentionRoute($0, problem) }
    })
}

extension AttentionRoute {
  /// The route of a plan of the decode kernels.
  ///
  /// - Parameter problem: the plan's; of a plan with a capacity, its envelope.
  private init(_ plan: DecodePlan, _ problem: AttentionProblem) {
    self.init(
      kernels: [plan.kernel], metadata: RouteLists(plan), counterOffset: plan.counterOffset,
      workspaceByteCount: plan.workspaceByteCount
    ) { arguments in
      if let reason = DecodeLaunch.unsupportedReason(plan, problem, arguments) {
        return .failure(Refusal(text: reason))
      }
      return .success(DecodeLaunch.launches(plan, problem, arguments))
    }
  }

  /// The route of every problem within a capacity, with the lists of one of them.
  ///
  /// - Throws: a refusal where no kernel does all of it.
  static func updatable(
    _ problem: AttentionProblem, _ capacity: PlanCapacity, on runtime: any DeviceRuntime
  ) throws(Refusal) -> AttentionRoute {
    let target = runtime.target
    if let reason = DecodeLaunch.unsupportedReason(problem, capacity: capacity, target: target) {
      throw Refusal(text: "a capacity for \(reason)")
    }
    let plan = DecodeLaunch.plan(
      problem, capacity: capacity, target: target,
      multiprocessorCount: runtime.multiprocessorCount)
    guard let plan else {
      throw Refusal(text: "a work list of more items than kernels count for \(capacity)")
    }
    var route = AttentionRoute(plan, capacity.envelope(of: problem))
    // Of the plan, updates use kernel and layout alone.
    route.update = { problem in plan.updated(to: problem).map { RouteLists($0) } }
    return route
  }

  /// What plans with a capacity may be of.
  static let updatableSet =
    "capacities of what the decode kernels compute, without custom masks, in tensors whose rows "
    + "they can read"
}

extension RouteLists {
  fileprivate init(_ plan: DecodePlan) {
    self.init(byteCount: plan.metadataByteCount, ranges: plan.usedRanges) {
      plan.writeLists(to: $0)
    }
  }
}

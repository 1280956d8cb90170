internal import ApusCore
internal import ApusKernels

extension AttentionRoute.Family {
  /// Split-KV decode: few query rows against ragged, padded or paged caches.
  static let decode = AttentionRoute.Family(
    name: .decode,
    supported: { _ in
      "decode: at most 128 query rows × group a request, caches in f16, bf16, e4m3 or e5m2, equal "
        + "head dimensions in multiples of 32 up to 256, causal masks, windows and soft caps, at "
        + "precision fast"
    },
    refusal: { problem, runtime in
      DecodeLaunch.unsupportedReason(problem, target: runtime.target)
    },
    make: { problem, runtime in
      let plan = DecodeLaunch.plan(
        problem, target: runtime.target, multiprocessorCount: runtime.multiprocessorCount)
      guard let plan else { return nil }
      return AttentionRoute(
        kernels: [plan.kernel], metadata: plan.metadata,
        workspaceByteCount: plan.workspaceByteCount
      ) { arguments in
        if let reason = DecodeLaunch.unsupportedReason(plan, problem, arguments) {
          return .failure(AttentionRoute.Refusal(text: reason))
        }
        return .success(DecodeLaunch.launches(plan, problem, arguments))
      }
    })
}

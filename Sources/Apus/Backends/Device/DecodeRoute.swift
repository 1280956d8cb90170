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
      guard let plan else { return nil }
      return AttentionRoute(
        kernels: [plan.kernel], metadata: plan.metadata, counterOffset: plan.counterOffset,
        workspaceByteCount: plan.workspaceByteCount
      ) { arguments in
        if let reason = DecodeLaunch.unsupportedReason(plan, problem, arguments) {
          return .failure(AttentionRoute.Refusal(text: reason))
        }
        return .success(DecodeLaunch.launches(plan, problem, arguments))
      }
    })
}

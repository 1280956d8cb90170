internal import ApusCore
internal import ApusIR
internal import ApusKernels

extension AttentionRoute.Family {
  /// Dense prefill: attention of equal lengths on Hopper.
  static let densePrefill = AttentionRoute.Family(
    name: .prefill,
    supported: { runtime in
      runtime.target == .sm90a
        ? "prefill: full and causal attention over ragged or padded K and V of equal lengths, bf16 "
          + "or f16 throughout, head dimensions 64 and 128, at precision fast"
        : nil
    },
    refusal: { problem, runtime in
      runtime.target == .sm90a
        ? DensePrefill.refusal(of: problem) : "dense prefill needs sm_90a; found \(runtime.target)"
    }, make: makeDensePrefill)

  private static func makeDensePrefill(
    _ problem: AttentionProblem, _ runtime: any DeviceRuntime
  ) -> AttentionRoute? {
    let processors = runtime.multiprocessorCount
    // Whether lse is asked for is known when it runs.
    let choices = [false, true].map {
      DensePrefill.choose(problem, writesLSE: $0, multiprocessorCount: processors).configuration
    }
    guard let plain = choices[0], let full = choices[1] else { return nil }
    return AttentionRoute(
      kernels: [PrefillKernel(plain)], laterKernels: [PrefillKernel(full)],
      metadata: RouteLists([UInt8](repeating: 0, count: DensePrefill.workspaceByteCount)),
      counterOffset: 0,
      workspaceByteCount: 0
    ) { arguments in
      if let reason = DensePrefill.refusal(of: problem, arguments) {
        return .failure(AttentionRoute.Refusal(text: reason))
      }
      let launch = DensePrefill.launch(
        problem, arguments, configuration: arguments.lse == nil ? plain : full,
        multiprocessorCount: processors, counter: .metadata(byteOffset: 0))
      guard let launch else {
        return .failure(AttentionRoute.Refusal(text: "tensors that dense prefill cannot read"))
      }
      return .success([launch])
    }
  }
}

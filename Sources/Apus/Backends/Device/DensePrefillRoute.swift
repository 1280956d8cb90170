internal import ApusCore
internal import ApusIR
internal import ApusKernels
internal import Synchronization

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
    // Launches of one plan that may be under way at the same time: each has its own tile counter.
    let counterCount = 32
    let turns = Turns(count: counterCount)
    let stride = DensePrefill.workspaceByteCount
    return AttentionRoute(
      kernels: [PrefillKernel(full), PrefillKernel(plain)],
      metadata: [UInt8](repeating: 0, count: counterCount * stride), workspaceByteCount: 0
    ) { arguments in
      if let reason = DensePrefill.refusal(of: problem, arguments) {
        return .failure(AttentionRoute.Refusal(text: reason))
      }
      let launch = DensePrefill.launch(
        problem, arguments, configuration: arguments.lse == nil ? plain : full,
        multiprocessorCount: processors, counter: .metadata(byteOffset: turns.next() * stride))
      guard let launch else {
        return .failure(AttentionRoute.Refusal(text: "tensors that dense prefill cannot read"))
      }
      return .success([launch])
    }
  }
}

/// Numbers 0 ..< count in turn.
final class Turns: Sendable {
  private let count: Int
  private let taken = Atomic<UInt>(0)

  init(count: Int) { self.count = count }

  func next() -> Int {
    Int(taken.wrappingAdd(1, ordering: .relaxed).oldValue % UInt(count))
  }
}

public import ApusCore
internal import ApusDSL
public import ApusIR
internal import ApusNumerics

/// Decode as launches: what is supported, which configuration a problem gets, its plan and launches.
///
/// A back end asks `unsupportedReason` and `plan` when it plans, places `DecodePlan.metadata` in
/// writable device memory, reserves `workspaceByteCount` bytes, and for each run asks
/// `unsupportedReason` with the arguments and hands `launches` to its launcher.
///
/// With programmatic dependent launch the kernel reads metadata before it waits for its
/// predecessor: the kernel launched before must not write it. Everything else, q, K, V and the
/// workspace, is touched after that wait.
public enum DecodeLaunch {
  /// Why no configuration does a problem on a GPU; nil if one does.
  public static func unsupportedReason(_ problem: AttentionProblem, target: Target) -> String? {
    DecodeSelection.refusal(problem, target: target)
  }

  /// The plan of a supported problem; nil for one that is not.
  ///
  /// - Parameters:
  ///   - multiprocessorCount: blocks of the launch at most, one on each multiprocessor.
  ///   - largestCluster: blocks of a cluster that the GPU, or the part of it in use, can run.
  ///   - overlapsPredecessor: programmatic dependent launch; see the type's comment.
  ///   - tuning: changes to the choice; nil is returned if they do not fit the problem.
  public static func plan(
    _ problem: AttentionProblem, target: Target, multiprocessorCount: Int,
    largestCluster: Int = 16, overlapsPredecessor: Bool = true, tuning: DecodeTuning = .chosen
  ) -> DecodePlan? {
    guard unsupportedReason(problem, target: target) == nil else { return nil }
    let choice = DecodeSelection.choose(
      problem, target: target, multiprocessors: multiprocessorCount,
      largestCluster: largestCluster, overlaps: overlapsPredecessor)
    guard tuning != .chosen else {
      return DecodePlan(
        problem, kernel: choice.kernel, blocks: multiprocessorCount, rejected: choice.rejected)
    }
    let kernel = tuning.kernel(
      from: choice.kernel, problem, target: target, multiprocessors: multiprocessorCount)
    let blocks =
      (Double(multiprocessorCount * tuning.blocksPerMultiprocessor) * tuning.multiprocessorShare)
      .rounded(.down)
    return kernel.map {
      DecodePlan(
        problem, kernel: $0, blocks: max(1, Int(blocks)), rejected: choice.rejected,
        keepsRowsWhole: tuning.keepsRowsWhole)
    }
  }

  /// Why the plan's kernel cannot take these tensors; nil if it can.
  ///
  /// - Precondition: the arguments pass `AttentionArguments.validate` for the plan's problem.
  public static func unsupportedReason(
    _ plan: DecodePlan, _ problem: AttentionProblem, _ arguments: AttentionArguments
  ) -> String? {
    guard let operands = DecodeOperands(problem, arguments) else {
      return "decode: q, K and V must be tensors of their own; found the operands of MLA"
    }
    return operands.refusal(plan.kernel)
  }

  /// The launches of one run; none if there is nothing to compute or `unsupportedReason` says why
  /// not.
  ///
  /// - Parameter problem: the plan's.
  public static func launches(
    _ plan: DecodePlan, _ problem: AttentionProblem, _ arguments: AttentionArguments
  ) -> [KernelLaunch] {
    guard plan.blockCount > 0, let operands = DecodeOperands(problem, arguments),
      operands.refusal(plan.kernel) == nil
    else { return [] }
    let kernel = operands.kernel(for: plan)
    return [
      KernelLaunch(
        kernel, grid: LaunchGrid(plan.blockCount),
        values: operands.values(plan, kernel), overlapsPredecessor: kernel.overlaps)
    ]
  }
}

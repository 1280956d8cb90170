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
        problem, kernel: choice.kernel,
        blocks: multiprocessorCount * choice.kernel.blocksPerMultiprocessor,
        rejected: choice.rejected)
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

  /// Why no configuration does every problem within a capacity; nil if one does.
  ///
  /// - Precondition: `PlanCapacity.validate` has nothing against the problem.
  public static func unsupportedReason(
    _ problem: AttentionProblem, capacity: PlanCapacity, target: Target
  ) -> String? {
    var longest = [Int](repeating: 0, count: capacity.batch)
    if !longest.isEmpty { longest[0] = capacity.keysPerRequest }
    return DecodeSelection.refusal(
      DecodeCapacity.problem(problem, capacity, lengths: longest), target: target)
  }

  /// The plan of a supported problem in lists that have room for every problem within a capacity,
  /// with the kernel that suits requests of the capacity's mean length; nil for one that is not
  /// supported.
  ///
  /// - Parameters: as `plan`.
  /// - Precondition: the capacity is valid for the problem and holds it.
  public static func plan(
    _ problem: AttentionProblem, capacity: PlanCapacity, target: Target, multiprocessorCount: Int,
    overlapsPredecessor: Bool = true
  ) -> DecodePlan? {
    guard unsupportedReason(problem, capacity: capacity, target: target) == nil else { return nil }
    let mean = capacity.keyCount(of: problem.geometry) / max(1, capacity.batch)
    let typical = DecodeCapacity.problem(
      problem, capacity, lengths: [Int](repeating: mean, count: capacity.batch))
    // Clusters divide every row by the same number, whatever its length: they suit no capacity.
    let choice = DecodeSelection.choose(
      typical, target: target, multiprocessors: multiprocessorCount, largestCluster: 1,
      overlaps: overlapsPredecessor)
    let plan = DecodePlan(
      problem, kernel: choice.kernel,
      blocks: max(1, multiprocessorCount * choice.kernel.blocksPerMultiprocessor),
      rejected: choice.rejected, capacity: capacity)
    return plan.isWithinRoom ? plan : nil
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
  /// - Parameter problem: the plan's; of a plan with a capacity, its envelope.
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

/// Problems that stand for all of a capacity when a kernel is chosen.
enum DecodeCapacity {
  /// A full batch of keys of given lengths, which lists no pages.
  static func problem(
    _ problem: AttentionProblem, _ capacity: PlanCapacity, lengths: [Int]
  ) -> AttentionProblem {
    var result = problem
    result.qoIndptr = RaggedIndptr(uniform: capacity.queriesPerRequest, batch: capacity.batch)
    switch problem.geometry {
    case .ragged: result.geometry = .ragged(RaggedIndptr(lengths: lengths))
    case .padded(let maxLength, _):
      result.geometry = .padded(maxLength: maxLength, lengths: lengths)
    case .paged(let table):
      result.geometry = .paged(
        PageTable(pageSize: table.pageSize, blocks: [], pagesPerRequest: 0, lengths: lengths))
    }
    return result
  }
}

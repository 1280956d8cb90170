public import ApusIR

/// What a kernel takes of a multiprocessor, predicted from its IR without an assembler.
///
/// *Registers at entry*, which assemblers report, by the first of these that applies:
/// - where roles have budgets (`setmaxnreg`): what `LaunchBounds.registersAtEntry` grants;
/// - else the larger of two counts:
///   *fragments*, the largest role's accumulators + operands + reserve (`RegisterEstimate`).
///   Accumulators are the D registers of products in scope, of an f32 tile rows · columns / threads;
///   operands the A and B registers between two waits; the reserve, 25, everything else;
///   *live values*, the most registers that values take at one place
///   (`KernelIR.peakLiveRegisters`). Assemblers come within a few registers of it, unless they
///   unroll a loop or move loads up: a count far above the prediction says that they did.
///
/// None is above the grant of the launch. *Shared bytes* = the end of the last allocation: each tile
/// is rows · row bytes · stages, aligned for its swizzle, and each ring two mbarriers of 8 bytes a
/// stage.
public struct KernelResources: Sendable, Hashable {
  /// What the prediction of registers follows from.
  public enum Basis: String, Sendable, Hashable, CaseIterable {
    /// Budgets of roles.
    case budgets
    /// Accumulators and operands of products.
    case fragments
    /// Values that live at once.
    case liveValues
  }

  /// Predictions of each role; the first is code outside roles.
  public let roles: [RegisterEstimate]
  /// Predicted registers of each thread at entry.
  public let registers: Int
  /// What `registers` follows from.
  public let basis: Basis
  /// Dynamic shared memory of a block.
  public let sharedBytes: Int
  /// Threads of a block.
  public let threads: Int
  /// Blocks of a cluster.
  public let clusterSize: Int
  /// The occupancy of the prediction.
  public let occupancy: Occupancy

  /// The prediction of a kernel on a target.
  public static func predicted(for kernel: KernelIR, target: Target) -> KernelResources {
    let roles = kernel.registerEstimates
    let atEntry = kernel.launch.registersAtEntry
    let hasBudgets = target >= .sm90a && roles.contains { $0.role != nil && $0.budget != atEntry }
    let hasFragments = roles.contains { $0.accumulators + $0.operands > 0 }
    let fragments = hasFragments ? roles.map(\.total).max() ?? 0 : 0
    let live = kernel.peakLiveRegisters
    let basis: Basis = hasBudgets ? .budgets : fragments > live ? .fragments : .liveValues
    let registers = hasBudgets ? atEntry : min(max(fragments, live), atEntry)
    return KernelResources(
      roles: roles, registers: registers, basis: basis,
      sharedBytes: kernel.sharedByteCount, threads: kernel.launch.threads,
      clusterSize: kernel.launch.clusterSize,
      occupancy: Occupancy(
        target: target, threads: kernel.launch.threads, registers: registers,
        sharedBytes: kernel.sharedByteCount))
  }
}

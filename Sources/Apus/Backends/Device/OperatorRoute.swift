internal import ApusCore
internal import ApusKernels

/// How the kernels do one operator without a plan.
enum OperatorRoute {
  /// These launches do it.
  case launches(LaunchPlan)
  /// No kernel does: what was found, and the supported set in words.
  case none(requested: String, supported: String)

  static func merge(_ arguments: MergeArguments, on runtime: any DeviceRuntime) -> OperatorRoute {
    .launches(MergeKernel.launches(for: arguments, target: runtime.target))
  }

  /// `indexRecord` is the address of a record for bad indices, which then are looked for.
  static func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, _ destinations: AppendDestinations,
    indexRecord: UInt64? = nil, on runtime: any DeviceRuntime
  ) -> OperatorRoute {
    .launches(
      AppendKernel.launches(
        for: problem, arguments, to: destinations, indexRecord: indexRecord,
        target: runtime.target))
  }

  /// `fractions` is the address of the embedding's table where it is on the device.
  static func rotate(
    _ arguments: RotaryArguments, fractions: UInt64? = nil, on runtime: any DeviceRuntime
  ) -> OperatorRoute {
    .launches(
      RotaryKernel.launches(for: arguments, fractions: fractions, target: runtime.target))
  }

  static func packBits(
    _ arguments: PackBitsArguments, on runtime: any DeviceRuntime
  ) -> OperatorRoute {
    .launches(PackBitsKernel.launches(for: arguments, target: runtime.target))
  }
}

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

  static func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, _ destinations: AppendDestinations,
    on runtime: any DeviceRuntime
  ) -> OperatorRoute {
    .launches(
      AppendKernel.launches(for: problem, arguments, to: destinations, target: runtime.target))
  }

  static func rotate(_ arguments: RotaryArguments, on runtime: any DeviceRuntime) -> OperatorRoute {
    .launches(RotaryKernel.launches(for: arguments, target: runtime.target))
  }

  static func packBits(
    _ arguments: PackBitsArguments, on runtime: any DeviceRuntime
  ) -> OperatorRoute {
    .launches(PackBitsKernel.launches(for: arguments, target: runtime.target))
  }
}

public import ApusCore
internal import ApusKernels

/// A call of an operator that has no plan, with the tensors that it will have.
public enum PlanlessCall: Sendable {
  /// New tokens into a paged cache.
  case append(AppendProblem, AppendArguments)
  /// Attention states.
  case merge(MergeArguments)
  /// q and k.
  case rotate(RotaryArguments)
  /// Booleans.
  case packBits(PackBitsArguments)
}

extension DeviceEngine {
  /// The kernels that a call would launch; none for one without work.
  func kernels(for call: PlanlessCall) throws(ApusError) -> [any ShippedKernel] {
    let memory = runtime.memory
    let route: OperatorRoute
    switch call {
    case .append(let problem, let arguments):
      let destinations = try wrappingArguments { () throws(ArgumentError) in
        try problem.resolve(arguments, memory: memory, operation: "Append.run")
      }
      route = .append(
        problem, arguments, destinations, indexRecord: indexGuard == nil ? nil : 0, on: runtime)
    case .merge(let arguments):
      try wrappingArguments { () throws(ArgumentError) in
        try arguments.validate(memory: memory, operation: "MergeStates.run")
      }
      if arguments.isEmpty { return [] }
      route = .merge(arguments, on: runtime)
    case .rotate(let arguments):
      try wrappingArguments { () throws(ArgumentError) in
        try arguments.validate(memory: memory, operation: "Rotary.run")
      }
      route = .rotate(arguments, on: runtime)
    case .packBits(let arguments):
      try wrappingArguments { () throws(ArgumentError) in
        try arguments.validate(memory: memory, operation: "PackBits.run")
      }
      route = .packBits(arguments, on: runtime)
    }
    switch route {
    case .launches(let plan): return plan.launches.map(\.kernel)
    case .none(let requested, let supported):
      throw .unsupported(
        UnsupportedError(
          operation: "CUDABackend.warmUp", backend: name, requested: requested,
          supported: supported))
    }
  }
}

public import ApusCPU
public import ApusCore
internal import ApusPlanner

/// The CPU back end: complete over the whole contract. Products are f32-grade; under `.fast` P is
/// rounded to bf16 where the CPU multiplies bf16 pairs.
///
/// It is always batch-invariant and its results do not depend on the thread count.
public struct CPUBackend: Backend {
  /// Kernels and threads.
  public let engine: CPUEngine

  /// `cpu`.
  public var name: String { "cpu" }
  /// Host memory.
  public var memory: MemorySpace { .host }

  /// A back end with its own threads.
  ///
  /// - Parameters:
  ///   - instructionSet: nil takes the most capable one of this CPU.
  ///   - threadCount: nil takes one per CPU available to the process.
  public init(
    instructionSet: InstructionSet? = nil, threadCount: Int? = nil
  ) throws(ApusError) {
    do throws(ArgumentError) {
      engine = try CPUEngine(instructionSet: instructionSet, threadCount: threadCount)
    } catch {
      throw .argument(error)
    }
  }

  /// A back end configured by the environment: `APUS_CPU` names the instruction set
  /// (portable, neon, avx2, avx512, avx512bf16), `APUS_THREADS` the thread count.
  public static func fromEnvironment() throws(ApusError) -> CPUBackend {
    var instructionSet: InstructionSet?
    var threadCount: Int?
    if let name = environmentVariable("APUS_CPU") {
      guard let set = InstructionSet(rawValue: name) else {
        throw .argument(
          ArgumentError(
            operation: "CPUBackend", "APUS_CPU must name an instruction set", found: name,
            remedy: "Known: \(InstructionSet.allCases.map(\.rawValue).joined(separator: ", "))."))
      }
      instructionSet = set
    }
    if let text = environmentVariable("APUS_THREADS") {
      guard let count = Int(text) else {
        throw .argument(
          ArgumentError(
            operation: "CPUBackend", "APUS_THREADS must be a number of threads", found: text))
      }
      threadCount = count
    }
    return try CPUBackend(instructionSet: instructionSet, threadCount: threadCount)
  }

  /// Relative L2 error of o, before it is rounded to its type, that f32 arithmetic keeps for scores
  /// of magnitude up to 64: 4 · 2⁻²⁴ · 64, the typical score error of `Documentation/Numerics.md`.
  public static let relativeErrorBound = 0x1p-16

  /// Everything that the contract allows, but for tolerances below `relativeErrorBound`.
  public func support(for problem: AttentionProblem) -> Support {
    if case .automatic(let tolerance) = problem.options.precision,
      tolerance < Self.relativeErrorBound
    {
      return .unsupported(
        requested: "tolerance \(tolerance)",
        supported: "tolerances of at least \(Self.relativeErrorBound)")
    }
    return .supported
  }

  /// Validates and plans.
  public func plan(
    _ problem: AttentionProblem, operation: String
  ) throws(ApusError) -> any AttentionPlan {
    try wrappingArguments { () throws(ArgumentError) in
      try problem.validate(operation: operation)
      return try CPUAttention.plan(problem, operation: operation)
    }
  }

  /// Validates the tensors and runs a plan to its end.
  public func run(
    _ plan: any AttentionPlan, _ arguments: AttentionArguments, workspace: TensorView?,
    on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    let updatable = plan as? UpdatableCPUPlan
    guard let plan = updatable?.current ?? plan as? CPUAttentionPlan else {
      throw .argument(
        ArgumentError(
          operation: operation, "the plan must come from back end cpu", found: plan.backendName))
    }
    try requireSynchronous(stream, operation)
    try wrappingArguments { () throws(ArgumentError) in
      try arguments.validate(
        for: updatable?.problem ?? plan.problem, memory: .host, operation: operation)
      if updatable?.limits.cachePages == nil, updatable != nil {
        // Nothing has told how large the caches must be.
        try arguments.validate(for: plan.problem, memory: .host, operation: operation)
      }
      try Self.validateScaleValues(arguments.scales.named, operation: operation)
      if let workspace {
        try validateWorkspace(
          workspace, updatable == nil ? plan.workspaceByteCount : 0, operation)
      }
    }
    if plan.workspaceByteCount == 0 {
      engine.run(plan, arguments, workspace: nil)
    } else if let workspace, updatable == nil {
      engine.run(plan, arguments, workspace: workspace.mutableHostPointer)
    } else {
      let own = try allocate(byteCount: plan.workspaceByteCount, operation: operation)
      defer { own.deallocate() }
      engine.run(plan, arguments, workspace: own)
    }
  }

  private func validateWorkspace(
    _ workspace: TensorView, _ needed: Int, _ operation: String
  ) throws(ArgumentError) {
    var validator = Validator(operation)
    validator.require(
      workspace.memory == .host, "workspace must live in host memory",
      found: "\(workspace.memory)")
    if validator.requireTensor("workspace", workspace, [.u8], shape: [nil], isOutput: true) {
      validator.require(
        (workspace.shape.first ?? 0) >= needed, "workspace must hold \(needed) bytes",
        found: "\(workspace.shape.first ?? 0)")
      validator.require(
        workspace.address.isMultiple(of: 4), "workspace must be aligned to 4 bytes",
        found: "address ending in \(workspace.address % 16)")
    }
    try validator.finish()
  }

  /// Writes new tokens into a paged cache.
  public func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    try requireSynchronous(stream, "Append.run")
    let (problem, destinations) = try wrappingArguments { () throws(ArgumentError) in
      let problem = try problem.readingLists(operation: "Append.run")
      let destinations = try problem.resolve(
        arguments, memory: .host, operation: "Append.run")
      try Self.validateScaleValues(arguments.namedHeadScales, operation: "Append.run")
      return (problem, destinations)
    }
    engine.append(problem, arguments, destinations: destinations)
  }

  /// Merges attention states.
  public func merge(_ arguments: MergeArguments, on stream: ExecutionStream) throws(ApusError) {
    try requireSynchronous(stream, "MergeStates.run")
    try wrappingArguments { () throws(ArgumentError) in
      try arguments.validate(memory: .host, operation: "MergeStates.run")
    }
    if !arguments.isEmpty { engine.merge(arguments) }
  }

  /// Rotates q and k.
  public func rotate(_ arguments: RotaryArguments, on stream: ExecutionStream) throws(ApusError) {
    try requireSynchronous(stream, "Rotary.run")
    let arguments = try wrappingArguments { () throws(ArgumentError) in
      let arguments = try arguments.readingPositions(operation: "Rotary.run")
      try arguments.validate(memory: .host, operation: "Rotary.run")
      return arguments
    }
    engine.rotate(arguments)
  }

  /// Packs booleans.
  public func packBits(
    _ arguments: PackBitsArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    try requireSynchronous(stream, "PackBits.run")
    try wrappingArguments { () throws(ArgumentError) in
      try arguments.validate(memory: .host, operation: "PackBits.run")
    }
    engine.packBits(arguments)
  }

  func requireSynchronous(
    _ stream: ExecutionStream, _ operation: String
  ) throws(ApusError) {
    guard stream == .synchronous else {
      throw .argument(
        ArgumentError(
          operation: operation, "the stream of back end cpu must be synchronous",
          found: "\(stream)"))
    }
  }
}

/// Runs a body and wraps its error in the facade's.
func wrappingArguments<Result>(
  _ body: () throws(ArgumentError) -> Result
) throws(ApusError) -> Result {
  do throws(ArgumentError) {
    return try body()
  } catch {
    throw .argument(error)
  }
}

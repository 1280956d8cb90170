/// Whether a back end implements a problem.
public enum Support: Sendable, Hashable {
  /// It does.
  case supported
  /// It does not: what was found, and the supported set in words.
  case unsupported(requested: String, supported: String)

  /// True for `.supported`.
  public var isSupported: Bool { self == .supported }
}

/// A planned attention: a value that can be printed and run any number of times with different
/// tensors.
public protocol AttentionPlan: Sendable, CustomStringConvertible {
  /// What was planned.
  var problem: AttentionProblem { get }
  /// Name of the back end that planned it and alone can run it.
  var backendName: String { get }
  /// Exact size of the workspace that `run` uses; 0 when it needs none.
  var workspaceByteCount: Int { get }
}

/// The caller's execution queue. The CPU runs synchronously and accepts only `.synchronous`.
public enum ExecutionStream: Sendable, Hashable {
  /// Return when the result is there.
  case synchronous
  /// Enqueue on the device stream with this driver handle (0 is the default stream).
  case device(handle: UInt)
}

/// One implementation of the whole contract: CPU, simulator, CUDA.
///
/// `plan` is pure. `run` and the plan-free operators validate their tensors before anything is
/// written, and then cannot fail because of an argument.
public protocol Backend: Sendable {
  /// `cpu`, `simulator`, `cuda:0`.
  var name: String { get }
  /// The memory that operands must live in.
  var memory: MemorySpace { get }

  /// Capability query for attention.
  func support(for problem: AttentionProblem) -> Support

  /// Plans one attention computation.
  func plan(_ problem: AttentionProblem, operation: String) throws(ApusError) -> any AttentionPlan

  /// Plans one attention computation with room for every problem within a capacity.
  func plan(
    _ problem: AttentionProblem, capacity: PlanCapacity, operation: String
  ) throws(ApusError) -> any AttentionPlan

  /// Changes what a plan with a capacity computes: the runs behind this call, in the order of the
  /// stream, and replays of graphs that captured runs before. A problem that is refused changes
  /// nothing.
  func update(
    _ plan: any AttentionPlan, to problem: AttentionProblem, on stream: ExecutionStream,
    operation: String
  ) throws(ApusError)

  /// Runs a plan.
  ///
  /// - Parameter workspace: u8 `[at least workspaceByteCount]`, or nil to let the back end allocate.
  func run(
    _ plan: any AttentionPlan, _ arguments: AttentionArguments, workspace: TensorView?,
    on stream: ExecutionStream, operation: String
  ) throws(ApusError)

  /// Writes new tokens into a paged cache (`AppendProblem`).
  func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, on stream: ExecutionStream
  ) throws(ApusError)

  /// Merges attention states over disjoint keys (`MergeArguments`).
  func merge(_ arguments: MergeArguments, on stream: ExecutionStream) throws(ApusError)

  /// Rotates q and k (`RotaryArguments`).
  func rotate(_ arguments: RotaryArguments, on stream: ExecutionStream) throws(ApusError)

  /// Packs booleans into bits (`PackBitsArguments`).
  func packBits(_ arguments: PackBitsArguments, on stream: ExecutionStream) throws(ApusError)
}

extension Backend {
  /// Refuses: plans of this back end cannot be updated.
  public func plan(
    _ problem: AttentionProblem, capacity: PlanCapacity, operation: String
  ) throws(ApusError) -> any AttentionPlan {
    throw .unsupported(
      UnsupportedError(
        operation: operation, backend: name, requested: "\(capacity)",
        supported: "plans without a capacity"))
  }

  /// Refuses: plans of this back end cannot be updated.
  public func update(
    _ plan: any AttentionPlan, to problem: AttentionProblem, on stream: ExecutionStream,
    operation: String
  ) throws(ApusError) {
    throw .argument(.withoutCapacity(operation))
  }
}

extension ArgumentError {
  /// What an update of a plan without a capacity gets.
  public static func withoutCapacity(_ operation: String) -> ArgumentError {
    ArgumentError(
      operation: operation, "the plan must have a capacity", found: "a plan of one batch",
      remedy: "Plan with a capacity.")
  }
}

public import ApusCore

/// An attention operator that was planned and can run any number of times: the common result of
/// `SingleDecode`, `BatchDecode`, `SinglePrefill`, `BatchPrefill` and `MLADecode`.
///
/// It is a value, but for a plan with a capacity, whose copies share what `update` changes. Several
/// runs may be under way at once, on several threads of the CPU or streams of a GPU, if each has
/// outputs and a workspace of its own; runs without a workspace of the caller share the plan's on a
/// GPU and must follow each other. Keep it as long as a graph that captured a run is replayed;
/// enqueued runs may outlive it.
public struct PlannedAttention: Sendable, CustomStringConvertible {
  /// The operator's name in errors.
  public let operation: String
  /// Where it runs.
  public let backend: any Backend
  /// What will run.
  public let plan: any AttentionPlan
  /// What `update` may be given; nil for a plan of one batch.
  public let capacity: PlanCapacity?
  /// The operator's name in errors of runs, made once.
  private let runOperation: String

  /// The planned problem; of a plan with a capacity, one of the capacity's size that lists nothing.
  public var problem: AttentionProblem { plan.problem }
  /// Exact size of the workspace that `run` needs.
  public var workspaceByteCount: Int { plan.workspaceByteCount }
  /// The plan in one line.
  public var description: String { "\(operation): \(plan)" }

  /// Plans a problem under an operator's name; the operators and the C ABI validate nothing before.
  package init(
    _ problem: AttentionProblem, capacity: PlanCapacity? = nil, operation: String,
    backend: any Backend
  ) throws(ApusError) {
    // Back ends with routes refuse in `plan`, with the same words and without validating twice.
    if !(backend is any RoutedBackend),
      case .unsupported(let requested, let supported) = backend.support(for: problem)
    {
      throw .unsupported(
        UnsupportedError(
          operation: "\(operation).plan", backend: backend.name, requested: requested,
          supported: supported))
    }
    self.operation = operation
    runOperation = "\(operation).run"
    self.backend = backend
    self.capacity = capacity
    if let capacity {
      plan = try backend.plan(problem, capacity: capacity, operation: "\(operation).plan")
    } else {
      plan = try backend.plan(problem, operation: "\(operation).plan")
    }
  }

  /// Changes what a plan with a capacity computes: other lengths, pages and query rows, all else as
  /// planned. Runs behind this call on the stream compute the new problem, and so does each replay of a
  /// graph that captured runs before.
  ///
  /// On a GPU it enqueues one or two copies from memory of its own and neither allocates nor waits,
  /// unless four updates are in flight. Order it with runs and replays on other streams by events.
  ///
  /// - Throws: `ApusError.argument` for a problem outside the capacity, or a stream under capture;
  ///   nothing has changed then.
  public func update(
    _ problem: AttentionProblem, on stream: ExecutionStream = .synchronous
  ) throws(ApusError) {
    try backend.update(plan, to: problem, on: stream, operation: "\(operation).update")
  }

  /// Changes the pages of a plan with a capacity, and with them batch and lengths.
  ///
  /// - Parameter queriesPerRequest: nil for the capacity's.
  /// - Throws: as `update(_:on:)`.
  public func update(
    pages: PageTable, queriesPerRequest: Int? = nil, on stream: ExecutionStream = .synchronous
  ) throws(ApusError) {
    try requireBatch(pages.batch, operation: "\(operation).update")
    let queries = queriesPerRequest ?? capacity?.queriesPerRequest ?? 1
    try requireCounts([("queriesPerRequest", queries)], operation: "\(operation).update")
    var changed = problem
    changed.qoIndptr = RaggedIndptr(uniform: queries, batch: pages.batch)
    changed.geometry = .paged(pages)
    try update(changed, on: stream)
  }

  /// Changes the lengths of a plan with a capacity over a padded cache.
  ///
  /// - Parameter queriesPerRequest: nil for the capacity's.
  /// - Throws: as `update(_:on:)`.
  public func update(
    lengths: [Int], queriesPerRequest: Int? = nil, on stream: ExecutionStream = .synchronous
  ) throws(ApusError) {
    guard case .padded(let maxLength, _) = problem.geometry else {
      throw .argument(
        ArgumentError(
          operation: "\(operation).update", "lengths must belong to a padded cache",
          found: "\(problem.geometry)", remedy: "Pass pages, or a whole problem."))
    }
    let queries = queriesPerRequest ?? capacity?.queriesPerRequest ?? 1
    try requireCounts([("queriesPerRequest", queries)], operation: "\(operation).update")
    var changed = problem
    changed.qoIndptr = RaggedIndptr(uniform: queries, batch: lengths.count)
    changed.geometry = .padded(maxLength: maxLength, lengths: lengths)
    try update(changed, on: stream)
  }

  /// Computes o, and lse when a tensor is given for it.
  ///
  /// - Parameters:
  ///   - arguments: tensors in the shapes that `AttentionArguments` documents.
  ///   - workspace: u8 tensor of at least `workspaceByteCount` bytes; nil lets the back end provide it.
  ///   - stream: the caller's queue; the CPU runs synchronously.
  /// - Throws: `ApusError.argument` with every violation, before anything is written.
  public func run(
    _ arguments: AttentionArguments, workspace: TensorView? = nil,
    on stream: ExecutionStream = .synchronous
  ) throws(ApusError) {
    try backend.run(
      plan, arguments, workspace: workspace, on: stream, operation: runOperation)
  }

  /// Computes o over separate K and V that are `Tensor`s, which stay alive during the call.
  ///
  /// Shapes and errors are those of `run(q:k:v:o:lse:scales:sinks:)` over views.
  public func run(
    q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor? = nil,
    scales: AttentionScales = AttentionScales(), sinks: Tensor? = nil
  ) throws(ApusError) {
    defer { withExtendedLifetime((q, k, v, o, lse, sinks)) {} }
    try run(
      q: q.view, k: k.view, v: v.view, o: o.view, lse: lse?.view, scales: scales,
      sinks: sinks?.view)
  }

  /// Computes o over separate K and V.
  ///
  /// Views may hold more rows than the plan has; o and lse must not overlap any input.
  ///
  /// - Parameters:
  ///   - q: `[rows, qoHead, headDimQK]`.
  ///   - k: keys in the planned geometry and layout.
  ///   - v: values likewise.
  ///   - o: `[rows, qoHead, headDimVO]`.
  ///   - lse: f32 `[rows, qoHead]` or nil.
  ///   - scales: dequantisation multipliers.
  ///   - sinks: f32 `[qoHead]` or nil.
  public func run(
    q: TensorView, k: TensorView, v: TensorView, o: TensorView, lse: TensorView? = nil,
    scales: AttentionScales = AttentionScales(), sinks: TensorView? = nil
  ) throws(ApusError) {
    try run(
      AttentionArguments(
        q: .packed(q), kv: .separate(k: k, v: v), o: o, lse: lse, scales: scales, sinks: sinks))
  }
}

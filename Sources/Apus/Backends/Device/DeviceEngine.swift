internal import ApusCore
internal import ApusDSL
internal import ApusKernels

/// What every back end of the GPU kernels does, whatever runs them: choose kernels, lay out lists and
/// workspaces, validate, launch.
struct DeviceEngine: Sendable {
  /// What runs the kernels.
  let runtime: any DeviceRuntime
  /// Hears the symbol of each kernel that is launched; nil for nobody.
  let observer: (@Sendable (String) -> Void)?
  private let rotaryTables = RotaryTables()
  /// Of a back end that checks lists in device memory.
  let indexGuard: IndexGuard?

  init(
    runtime: any DeviceRuntime, observer: (@Sendable (String) -> Void)?, checksIndices: Bool = false
  ) {
    self.runtime = runtime
    self.observer = observer
    indexGuard = checksIndices ? IndexGuard(runtime) : nil
  }

  var name: String { runtime.name }

  // MARK: - Attention

  /// Whether there are kernels for a problem.
  func support(for problem: AttentionProblem) -> Support {
    // What is malformed is for `plan` to refuse: it is no question of support.
    guard (try? problem.validate(operation: "support")) != nil else { return .supported }
    guard let reason = AttentionRoute.refusal(of: problem, on: runtime) else { return .supported }
    return .unsupported(requested: reason, supported: AttentionRoute.supported(on: runtime))
  }

  /// Validates, chooses kernels, compiles them and places their lists.
  func plan(
    _ problem: AttentionProblem, operation: String
  ) throws(ApusError) -> DeviceAttentionPlan {
    try wrappingArguments { () throws(ArgumentError) in try problem.validate(operation: operation) }
    if let reason = AttentionRoute.refusal(of: problem, on: runtime) {
      throw unsupported(AttentionRoute.Refusal(text: reason), operation)
    }
    return try DeviceAttentionPlan(problem, on: runtime, operation: operation)
  }

  /// Plans with room for every problem within a capacity.
  func plan(
    _ problem: AttentionProblem, capacity: PlanCapacity, operation: String
  ) throws(ApusError) -> DeviceAttentionPlan {
    try wrappingArguments { () throws(ArgumentError) in
      try problem.validate(operation: operation)
      try capacity.validate(for: problem, operation: operation)
      try capacity.validate(problem, updating: problem, operation: operation)
    }
    let route: AttentionRoute
    do throws(AttentionRoute.Refusal) {
      route = try .updatable(problem, capacity, on: runtime)
    } catch {
      throw .unsupported(
        UnsupportedError(
          operation: operation, backend: name, requested: error.text,
          supported: AttentionRoute.updatableSet))
    }
    return try DeviceAttentionPlan(
      problem, capacity, route: route, on: runtime, operation: operation)
  }

  /// Validates a problem and puts its lists in the place of a plan's.
  func update(
    _ plan: any AttentionPlan, to problem: AttentionProblem, on stream: ExecutionStream,
    operation: String
  ) throws(ApusError) {
    guard let plan = plan as? DeviceAttentionPlan, plan.backendName == name else {
      throw .argument(
        ArgumentError(
          operation: operation, "the plan must come from back end \(name)",
          found: plan.backendName))
    }
    guard let capacity = plan.capacity else { throw .argument(.withoutCapacity(operation)) }
    try wrappingArguments { () throws(ArgumentError) in
      try problem.validate(operation: operation)
      try capacity.limits.validate(problem, updating: capacity.planned, operation: operation)
    }
    try plan.update(to: problem, on: stream, runtime: runtime, operation: operation)
  }

  /// The families that compute a problem, the fastest first; empty for a malformed one.
  func families(for problem: AttentionProblem) -> [AttentionRoute.FamilyName] {
    guard (try? problem.validate(operation: "families")) != nil else { return [] }
    return AttentionRoute.candidates(for: problem, on: runtime).map(\.name)
  }

  /// The kernels that a plan of a problem would compile.
  func kernels(
    for problem: AttentionProblem, operation: String
  ) throws(ApusError) -> [any ShippedKernel] {
    try wrappingArguments { () throws(ArgumentError) in try problem.validate(operation: operation) }
    if let reason = AttentionRoute.refusal(of: problem, on: runtime) {
      throw unsupported(AttentionRoute.Refusal(text: reason), operation)
    }
    let route = AttentionRoute.candidates(for: problem, on: runtime).first?.make(problem, runtime)
    return route.map { $0.kernels + $0.laterKernels } ?? []
  }

  private func unsupported(_ refusal: AttentionRoute.Refusal, _ operation: String) -> ApusError {
    .unsupported(
      UnsupportedError(
        operation: operation, backend: name, requested: refusal.text,
        supported: AttentionRoute.supported(on: runtime)))
  }

  /// Validates tensors and enqueues a plan.
  func run(
    _ plan: any AttentionPlan, _ arguments: AttentionArguments, workspace: TensorView?,
    on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    guard let plan = plan as? DeviceAttentionPlan, plan.backendName == name else {
      throw .argument(
        ArgumentError(
          operation: operation, "the plan must come from back end \(name)",
          found: plan.backendName))
    }
    // Validation is a function of the plan and these views alone: once is enough.
    if let known = plan.packedRun(arguments, workspace) {
      try known.launches.run(on: stream, operation: operation)
      if let observer { known.symbols.forEach(observer) }
      return
    }
    try wrappingArguments { () throws(ArgumentError) in
      try arguments.validate(for: plan.problem, memory: runtime.memory, operation: operation)
      if let workspace { try validateWorkspace(workspace, plan.workspaceByteCount, operation) }
    }
    switch try plan.launches(for: arguments, on: runtime, operation: operation) {
    case .failure(let refusal): throw unsupported(refusal, operation)
    case .success((let launches, let placed)):
      var space: OperandSpan?
      let needed = placed.route.workspaceByteCount
      if needed > 0 {
        // The caller's was sized for the plan's own route.
        if let workspace, workspace.byteCount >= needed, workspace.address.isMultiple(of: 16) {
          space = OperandSpan(workspace: UInt64(workspace.address), workspace.byteCount)
        } else if let own = placed.workspace {
          space = OperandSpan(workspace: own.address, own.byteCount)
        }
      }
      let (counted, counters) = try placed.counted(
        launches, workspace: space?.address, operation: operation)
      let batch = LaunchBatch(
        counted, lists: .resident(placed.lists), workspace: space?.address ?? 0
      ) { [extra = [space, counters].compactMap(\.self)] in arguments.spans + extra }
      guard let packed = try runtime.pack(batch, operation: operation) else {
        return try enqueue(batch, on: stream, operation: operation)
      }
      let run = DeviceAttentionPlan.PackedRun(
        arguments, workspace: workspace, launches: packed,
        symbols: launches.map(\.kernel.symbol))
      plan.keep(run)
      try packed.run(on: stream, operation: operation)
      if let observer { run.symbols.forEach(observer) }
    }
  }

  private func validateWorkspace(
    _ workspace: TensorView, _ needed: Int, _ operation: String
  ) throws(ArgumentError) {
    var validator = Validator(operation)
    validator.require(
      workspace.memory == runtime.memory, "workspace must live in \(runtime.memory) memory",
      found: "\(workspace.memory)")
    if validator.requireTensor("workspace", workspace, [.u8], shape: [nil], isOutput: true) {
      validator.require(
        (workspace.shape.first ?? 0) >= needed, "workspace must hold \(needed) bytes",
        found: "\(workspace.shape.first ?? 0)")
      validator.require(
        needed == 0 || workspace.address.isMultiple(of: 16),
        "workspace must be aligned to 16 bytes",
        found: "address ending in \(workspace.address % 16)")
    }
    try validator.finish()
  }

  // MARK: - Operators without plans

  /// Writes new tokens into a paged cache.
  func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    let operation = "Append.run"
    let destinations = try wrappingArguments { () throws(ArgumentError) in
      try problem.resolve(arguments, memory: runtime.memory, operation: operation)
    }
    let record = problem.lists == nil ? nil : try indexGuard?.record(operation: operation)
    try run(
      OperatorRoute.append(
        problem, arguments, destinations, indexRecord: record?.address, on: runtime),
      operands: {
        [
          arguments.spans, problem.lists?.spans ?? [],
          record.map { [OperandSpan(record: $0)] } ?? [],
        ]
        .flatMap(\.self)
      }, on: stream, operation: operation)
    if record != nil { try indexGuard?.check(on: stream, operation: operation) }
  }

  /// Waits for a stream and throws what checks of indices have found; nothing without checks.
  func checkIndices(on stream: ExecutionStream) throws(ApusError) {
    try indexGuard?.check(on: stream, operation: "checkIndices")
  }

  /// Merges attention states.
  func merge(_ arguments: MergeArguments, on stream: ExecutionStream) throws(ApusError) {
    let operation = "MergeStates.run"
    try wrappingArguments { () throws(ArgumentError) in
      try arguments.validate(memory: runtime.memory, operation: operation)
    }
    if arguments.isEmpty { return }
    try run(
      OperatorRoute.merge(arguments, on: runtime), operands: { arguments.spans }, on: stream,
      operation: operation)
  }

  /// Rotates q and k.
  func rotate(_ arguments: RotaryArguments, on stream: ExecutionStream) throws(ApusError) {
    let operation = "Rotary.run"
    try wrappingArguments { () throws(ArgumentError) in
      try arguments.validate(memory: runtime.memory, operation: operation)
    }
    // Positions on the device leave the table as the only list: once there, nothing is copied.
    var table: OperandSpan?
    if arguments.positionTensor != nil, arguments.rowCount > 0,
      case .frequencies(let rope) = arguments.source
    {
      table = try rotaryTables.address(
        of: rope, rotaryDim: arguments.rotaryDim, on: runtime, operation: operation)
    }
    try run(
      OperatorRoute.rotate(arguments, fractions: table?.address, on: runtime),
      operands: { [extra = [table].compactMap(\.self)] in arguments.spans + extra }, on: stream,
      operation: operation)
  }

  /// Packs booleans.
  func packBits(_ arguments: PackBitsArguments, on stream: ExecutionStream) throws(ApusError) {
    let operation = "PackBits.run"
    try wrappingArguments { () throws(ArgumentError) in
      try arguments.validate(memory: runtime.memory, operation: operation)
    }
    try run(
      OperatorRoute.packBits(arguments, on: runtime), operands: { arguments.spans }, on: stream,
      operation: operation)
  }

  private func run(
    _ route: OperatorRoute, operands: @escaping @Sendable () -> [OperandSpan],
    on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    switch route {
    case .none(let requested, let supported):
      throw .unsupported(
        UnsupportedError(
          operation: operation, backend: name, requested: requested, supported: supported))
    case .launches(let plan):
      guard plan.workspaceByteCount == 0 else {
        throw .bug(
          InternalError(operation: operation, detail: "an operator without plan has a workspace"))
      }
      try enqueue(
        LaunchBatch(plan.launches, lists: .host(plan.metadata), operands: operands), on: stream,
        operation: operation)
    }
  }

  private func enqueue(
    _ batch: LaunchBatch, on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    try runtime.run(batch, on: stream, operation: operation)
    if let observer { for launch in batch.launches { observer(launch.kernel.symbol) } }
  }
}

internal import ApusCore
internal import ApusDSL
internal import ApusKernels
internal import ApusThreads

/// An attention plan of a device back end: the chosen kernels, their lists in device memory, and a
/// workspace for callers that bring none.
///
/// Runs with workspaces of their own may overlap. Runs without a workspace of the caller use the
/// plan's: such runs must follow each other, on one stream or with `.synchronous`.
///
/// A plan with a capacity has the lists of one problem within it, and `update` puts those of another
/// in their place: nothing else of it ever changes, so that captured runs stay valid.
///
/// Tensors that the chosen kernels cannot take (unaligned rows) go to the next family, which is
/// planned when that happens first: that one run compiles and allocates.
final class DeviceAttentionPlan: AttentionPlan {
  /// A route with its memory on the device.
  final class Placed: Sendable {
    let route: AttentionRoute
    let lists: any DeviceAllocation
    let workspace: (any DeviceAllocation)?
    let counters: RunCounters?

    init(
      _ route: AttentionRoute, on runtime: any DeviceRuntime, operation: String
    ) throws(ApusError) {
      try runtime.prepare(route.kernels, operation: operation)
      self.route = route
      let listCount = route.counterOffset ?? route.metadata.byteCount
      let counterCount = route.metadata.byteCount - listCount
      // Sets of counters lie behind the lists: one copy and one wait for both.
      let padding = counterCount > 0 ? (128 - listCount % 128) % 128 : 0
      lists = try runtime.upload(
        route.metadata.ranges.map { $0.clamped(to: 0..<listCount) }, of: listCount,
        zeroCount: counterCount > 0 ? padding + RunCounters.firstByteCount(counterCount) : 0,
        operation: operation, write: route.metadata.write)
      if route.update != nil {
        try runtime.reserveRewrites(byteCount: listCount, operation: operation)
      }
      counters =
        counterCount > 0
        ? RunCounters(
          byteCount: counterCount, on: runtime, in: lists, at: listCount + padding) : nil
      workspace =
        route.workspaceByteCount > 0
        ? try runtime.allocate(byteCount: route.workspaceByteCount, operation: operation) : nil
    }

    /// Launches with the addresses of counters for a workspace, and those counters where they do not
    /// lie behind the lists.
    func counted(
      _ launches: [KernelLaunch], workspace: UInt64?, operation: String
    ) throws(ApusError) -> (launches: [KernelLaunch], counters: OperandSpan?) {
      guard let counters, let offset = route.counterOffset else { return (launches, nil) }
      let span = try counters.set(workspace: workspace, operation: operation)
      var result = launches
      for index in result.indices {
        result[index].values = result[index].values.map {
          $0.resolvingCounters(from: offset, at: span.address)
        }
      }
      let isBehindLists = span.address &- lists.address < UInt64(lists.byteCount)
      return (result, isBehindLists ? nil : span)
    }
  }

  /// What was planned; of a plan with a capacity, its envelope.
  let problem: AttentionProblem
  /// What the plan may be updated to, and what it was made with.
  let capacity: (limits: PlanCapacity, planned: AttentionProblem)?
  let backendName: String
  /// What the problem gets.
  let first: Placed
  /// Families that compute it too, the fastest first, without that of `first`.
  private let others: [AttentionRoute.Family]
  private let fallbacks = Lock<[AttentionRoute.FamilyName: Placed]>([:])

  /// A run that was validated and encoded.
  final class PackedRun: Sendable {
    let arguments: AttentionArguments
    let workspace: TensorView?
    let launches: any PackedLaunches
    let symbols: [String]

    init(
      _ arguments: AttentionArguments, workspace: TensorView?, launches: any PackedLaunches,
      symbols: [String]
    ) {
      self.arguments = arguments
      self.workspace = workspace
      self.launches = launches
      self.symbols = symbols
    }
  }

  /// Encoded runs that are kept: those of a model's layers over a plan.
  private static let packedLimit = 256
  /// By a mix of addresses: hashing whole arguments would cost more than all the rest of a run.
  private let packed = Lock<[UInt: PackedRun]>([:])

  private static func mix(_ arguments: AttentionArguments, _ workspace: TensorView?) -> UInt {
    var result = arguments.o.address
    func add(_ address: UInt) { result = (result &* 0x9E37_79B9_7F4A_7C15) ^ address }
    switch arguments.q {
    case .packed(let q): add(q.address)
    case .split(let nope, let rope):
      add(nope.address)
      add(rope.address)
    }
    switch arguments.kv {
    case .separate(let k, let v):
      add(k.address)
      add(v.address)
    case .combined(let kv), .packedLatent(let kv): add(kv.address)
    case .latent(let ckv, _): add(ckv.address)
    }
    add(arguments.lse?.address ?? 0)
    add(workspace?.address ?? 0)
    return result
  }

  /// The encoded launches of a run that was made before with the same tensors.
  func packedRun(_ arguments: AttentionArguments, _ workspace: TensorView?) -> PackedRun? {
    let key = Self.mix(arguments, workspace)
    guard let known = packed.withLock({ $0[key] }), known.arguments == arguments,
      known.workspace == workspace
    else { return nil }
    return known
  }

  /// Keeps the encoded launches of a validated run.
  func keep(_ run: PackedRun) {
    let key = Self.mix(run.arguments, run.workspace)
    packed.withLock { packed in
      if packed.count >= Self.packedLimit { packed.removeAll(keepingCapacity: true) }
      packed[key] = run
    }
  }

  var workspaceByteCount: Int { first.route.workspaceByteCount }

  init(
    _ problem: AttentionProblem, on runtime: any DeviceRuntime, operation: String
  ) throws(ApusError) {
    let families = AttentionRoute.candidates(for: problem, on: runtime)
    guard let family = families.first else {
      throw .bug(
        InternalError(operation: operation, detail: "a supported problem without a family"))
    }
    self.problem = problem
    capacity = nil
    backendName = runtime.name
    others = Array(families.dropFirst())
    first = try Self.place(family, problem, on: runtime, operation: operation)
  }

  /// A plan that can be updated, with the lists of a problem within its capacity.
  init(
    _ problem: AttentionProblem, _ limits: PlanCapacity, route: AttentionRoute,
    on runtime: any DeviceRuntime, operation: String
  ) throws(ApusError) {
    self.problem = limits.envelope(of: problem)
    capacity = (limits, problem)
    backendName = runtime.name
    // A graph that captured a run of other kernels would not see updates.
    others = []
    first = try Placed(route, on: runtime, operation: operation)
  }

  /// Puts the lists of a validated problem in the place of the plan's.
  func update(
    to problem: AttentionProblem, on stream: ExecutionStream, runtime: any DeviceRuntime,
    operation: String
  ) throws(ApusError) {
    guard let lists = first.route.update?(problem) else {
      throw .bug(
        InternalError(
          operation: operation, detail: "lists without room for a problem within the capacity"))
    }
    let byteCount = first.route.counterOffset ?? lists.byteCount
    try runtime.rewrite(
      first.lists, lists.ranges, of: byteCount, on: stream, operation: operation,
      write: lists.write)
  }

  /// A family's route with its memory. A device that refuses the kernel's cluster gets the route for
  /// smaller ones.
  private static func place(
    _ family: AttentionRoute.Family, _ problem: AttentionProblem, on runtime: any DeviceRuntime,
    operation: String
  ) throws(ApusError) -> Placed {
    let largestCluster = runtime.largestCluster
    do throws(ApusError) {
      return try Placed(
        route(family, problem, runtime, operation), on: runtime, operation: operation)
    } catch {
      guard runtime.largestCluster < largestCluster else { throw error }
      return try Placed(
        route(family, problem, runtime, operation), on: runtime, operation: operation)
    }
  }

  private static func route(
    _ family: AttentionRoute.Family, _ problem: AttentionProblem, _ runtime: any DeviceRuntime,
    _ operation: String
  ) throws(ApusError) -> AttentionRoute {
    if let route = family.make(problem, runtime) { return route }
    throw .bug(InternalError(operation: operation, detail: "a supported problem without a route"))
  }

  /// The launches for a run's tensors, with the route that makes them.
  ///
  /// - Returns: nil where no family takes the tensors; `refusal` says why the first does not.
  func launches(
    for arguments: AttentionArguments, on runtime: any DeviceRuntime, operation: String
  ) throws(ApusError) -> Result<(launches: [KernelLaunch], placed: Placed), AttentionRoute.Refusal>
  {
    let refusal: AttentionRoute.Refusal
    switch first.route.launches(arguments) {
    case .success(let launches): return .success((launches, first))
    case .failure(let reason): refusal = reason
    }
    for family in others {
      let placed = try fallback(family, on: runtime, operation: operation)
      if case .success(let launches) = placed.route.launches(arguments) {
        return .success((launches, placed))
      }
    }
    return .failure(refusal)
  }

  private func fallback(
    _ family: AttentionRoute.Family, on runtime: any DeviceRuntime, operation: String
  ) throws(ApusError) -> Placed {
    if let known = fallbacks.withLock({ $0[family.name] }) { return known }
    let placed = try Self.place(family, problem, on: runtime, operation: operation)
    // Two threads may both have made one: the first stays, the other is for its own run.
    fallbacks.withLock { if $0[family.name] == nil { $0[family.name] = placed } }
    return placed
  }

  var description: String {
    let symbols = first.route.kernels.map(\.symbol).joined(separator: ", ")
    return "\(backendName) plan(\(symbols); \(first.route.metadata.byteCount) bytes of lists, "
      + "\(workspaceByteCount) workspace bytes) of \(problem)"
  }
}

internal import ApusCore
internal import ApusDSL
internal import ApusKernels
internal import ApusThreads

/// An attention plan of a device back end: the chosen kernels, their lists in device memory, and a
/// workspace for callers that bring none.
///
/// Runs without a workspace of the caller use the plan's own: such runs must follow each other, on
/// one stream or with `.synchronous`. So must runs of kernels that count in their lists (decode).
///
/// Tensors that the chosen kernels cannot take (unaligned rows) go to the next family, which is
/// planned when that happens first: that one run compiles and allocates.
final class DeviceAttentionPlan: AttentionPlan {
  /// A route with its memory on the device.
  final class Placed: Sendable {
    let route: AttentionRoute
    let lists: any DeviceAllocation
    let workspace: (any DeviceAllocation)?

    init(
      _ route: AttentionRoute, on runtime: any DeviceRuntime, operation: String
    ) throws(ApusError) {
      try runtime.prepare(route.kernels, operation: operation)
      self.route = route
      lists = try runtime.upload(route.metadata, operation: operation)
      workspace =
        route.workspaceByteCount > 0
        ? try runtime.allocate(byteCount: route.workspaceByteCount, operation: operation) : nil
    }
  }

  let problem: AttentionProblem
  let backendName: String
  /// What the problem gets.
  let first: Placed
  /// Families that compute it too, the fastest first, without that of `first`.
  private let others: [AttentionRoute.Family]
  private let fallbacks = Lock<[AttentionRoute.FamilyName: Placed]>([:])

  /// Tensors of a run and its workspace: equal keys are equal launches.
  struct RunKey: Hashable, Sendable {
    var arguments: AttentionArguments
    var workspace: TensorView?
  }

  /// A run that was validated and encoded.
  struct PackedRun: Sendable {
    var launches: any PackedLaunches
    var symbols: [String]
  }

  /// Encoded runs that are kept: those of a model's layers over a plan.
  private static let packedLimit = 256
  private let packed = Lock<[RunKey: PackedRun]>([:])

  /// The encoded launches of a run that was made before with the same tensors.
  func packedRun(_ key: RunKey) -> PackedRun? { packed.withLock { $0[key] } }

  /// Keeps the encoded launches of a validated run.
  func keep(_ run: PackedRun, for key: RunKey) {
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
    guard let family = families.first, let route = family.make(problem, runtime) else {
      throw .bug(
        InternalError(operation: operation, detail: "a supported problem without a route"))
    }
    self.problem = problem
    backendName = runtime.name
    others = Array(families.dropFirst())
    first = try Placed(route, on: runtime, operation: operation)
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
      guard let placed = try fallback(family, on: runtime, operation: operation) else { continue }
      if case .success(let launches) = placed.route.launches(arguments) {
        return .success((launches, placed))
      }
    }
    return .failure(refusal)
  }

  private func fallback(
    _ family: AttentionRoute.Family, on runtime: any DeviceRuntime, operation: String
  ) throws(ApusError) -> Placed? {
    if let known = fallbacks.withLock({ $0[family.name] }) { return known }
    guard let route = family.make(problem, runtime) else { return nil }
    let placed = try Placed(route, on: runtime, operation: operation)
    // Two threads may both have made one: the first stays, the other is for its own run.
    fallbacks.withLock { if $0[family.name] == nil { $0[family.name] = placed } }
    return placed
  }

  var description: String {
    let symbols = first.route.kernels.map(\.symbol).joined(separator: ", ")
    return "\(backendName) plan(\(symbols); \(first.route.metadata.count) bytes of lists, "
      + "\(workspaceByteCount) workspace bytes) of \(problem)"
  }
}

internal import ApusCore
internal import ApusKernels

/// Lists that a plan writes where they are wanted: in memory that goes to the device.
package struct RouteLists: Sendable {
  /// Bytes of all lists.
  var byteCount: Int
  /// Parts that have contents; the rest is room.
  var ranges: [Range<Int>]
  /// Writes the contents of `ranges`, each byte at its place in memory of `byteCount` bytes.
  var write: @Sendable (UnsafeMutableRawBufferPointer) -> Void

  init(
    byteCount: Int, ranges: [Range<Int>],
    write: @escaping @Sendable (UnsafeMutableRawBufferPointer) -> Void
  ) {
    self.byteCount = byteCount
    self.ranges = ranges
    self.write = write
  }

  /// Bytes as they are.
  init(_ bytes: [UInt8]) {
    self.init(byteCount: bytes.count, ranges: [0..<bytes.count]) { memory in
      bytes.withUnsafeBytes {
        memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<memory.count]))
      }
    }
  }
}

/// How one family of kernels computes one attention problem.
package struct AttentionRoute: Sendable {
  /// Why a family does not compute a problem or does not take a call's tensors.
  struct Refusal: Error, Sendable {
    var text: String
  }

  /// What runs with tensors of the usual kind: compiled when a problem is planned.
  var kernels: [any ShippedKernel]
  /// What runs with other tensors, such as an lse, need: compiled by a warm-up, or by the first such
  /// run, so that first calls wait for one kernel alone.
  var laterKernels: [any ShippedKernel] = []
  /// Lists of the plan.
  var metadata: RouteLists
  /// Where in `metadata` counters begin, which kernels return to 0: runs that may overlap have
  /// counters of their own. Nil for none.
  var counterOffset: Int?
  /// Bytes of workspace.
  var workspaceByteCount: Int
  /// The launches of one run with validated tensors.
  var launches: @Sendable (AttentionArguments) -> Result<[KernelLaunch], Refusal>
  /// The lists of another problem within the plan's capacity, in the places of these; nil for one
  /// that they have no room for. Nil for plans without a capacity.
  var update: (@Sendable (AttentionProblem) -> RouteLists?)?

  /// Families of kernels, by the names that reports give them.
  package enum FamilyName: String, Sendable, Hashable, CaseIterable {
    /// Split-KV decode on tensor cores.
    case decode
    /// Dense prefill on Hopper.
    case prefill
    /// The kernels without tensor cores that do everything.
    case general
  }

  /// One family: why it does not compute a validated problem, and its route for one that it does.
  struct Family: Sendable {
    /// Its name.
    var name: FamilyName
    /// The supported set, in words; nil for nothing.
    var supported: @Sendable (any DeviceRuntime) -> String?
    /// Why it does not compute a problem; nil if it does.
    var refusal: @Sendable (AttentionProblem, any DeviceRuntime) -> String?
    /// The route of a problem that is not refused.
    var make: @Sendable (AttentionProblem, any DeviceRuntime) -> AttentionRoute?
  }

  /// The families for a problem, the fastest first.
  private static func families(for problem: AttentionProblem) -> [Family] {
    // The decode kernels work on tiles of 8 or 16 rows, prefill on 128.
    let rows = (0..<problem.batch).reduce(0) { max($0, problem.qoLength($1)) }
    let isDecode = rows * problem.shape.groupSize <= 64
    return (isDecode ? [.decode, .densePrefill] : [.densePrefill, .decode]) + [.general]
  }

  /// The supported set, in words.
  static func supported(on runtime: any DeviceRuntime) -> String {
    [Family.decode, .densePrefill, .general].compactMap { $0.supported(runtime) }
      .joined(separator: "; ")
  }

  /// Why no family computes a validated problem: the reason of the one that would be the fastest.
  static func refusal(of problem: AttentionProblem, on runtime: any DeviceRuntime) -> String? {
    var first: String?
    for family in families(for: problem) {
      guard let reason = family.refusal(problem, runtime) else { return nil }
      if first == nil { first = reason }
    }
    return first
  }

  /// The families that compute a validated problem, the fastest first; those behind it serve tensors
  /// that it cannot take. Empty where `refusal` says why.
  static func candidates(
    for problem: AttentionProblem, on runtime: any DeviceRuntime
  ) -> [Family] {
    families(for: problem).filter { $0.refusal(problem, runtime) == nil }
  }
}

/// How long the steps of a kernel's construction took, wall time, and what they worked on.
public struct ConstructionTimes: Sendable, Hashable, CustomStringConvertible {
  /// Nodes that `body` emitted.
  public let emittedNodes: Int
  /// Nodes that the passes left.
  public let keptNodes: Int
  /// `body` itself.
  public let elaboration: Duration
  /// Legalisation and passes.
  public let passes: Duration
  /// The verifier.
  public let verification: Duration

  /// All steps.
  public var total: Duration { elaboration + passes + verification }

  /// `1928 nodes, 1220 kept: 0.5 ms elaboration, 1.2 ms passes, 1.0 ms verifier`.
  public var description: String {
    "\(emittedNodes) nodes, \(keptNodes) kept: \(milliseconds(elaboration)) ms elaboration, "
      + "\(milliseconds(passes)) ms passes, \(milliseconds(verification)) ms verifier"
  }

  private func milliseconds(_ duration: Duration) -> String {
    let microseconds = duration.components.attoseconds / 1_000_000_000_000
    let tenths = (duration.components.seconds * 1_000_000 + microseconds + 50) / 100
    return "\(tenths / 10).\(tenths % 10)"
  }
}

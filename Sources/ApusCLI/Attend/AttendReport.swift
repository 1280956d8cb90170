/// What `apus attend` did.
struct AttendReport: Codable, Sendable {
  /// One computed tensor against a stored one.
  struct Comparison: Codable, Sendable {
    /// The stored tensor.
    var name: String
    /// The computed one.
    var tensor: String
    /// `‖found − stored‖ / ‖stored‖`.
    var relativeError: Double
  }

  /// The computation in one line.
  var problem: String
  /// Where it ran.
  var backend: String
  /// Time of the attention alone.
  var seconds: Double
  /// File that was written.
  var output: String?
  /// Comparisons that were asked for.
  var comparisons: [Comparison]
  /// What they may be.
  var tolerance: Double?

  /// Whether every comparison holds; without a tolerance they only inform. NaN never holds.
  var isWithinTolerance: Bool {
    guard let tolerance else { return true }
    return comparisons.allSatisfy { $0.relativeError <= tolerance }
  }

  /// The report for people.
  var text: String {
    var lines = [problem, "\(backend): \(Format.seconds(seconds))"]
    for comparison in comparisons {
      var line =
        "\(comparison.tensor) against \(comparison.name): relative L2 "
        + Format.scientific(comparison.relativeError)
      if let tolerance {
        let holds = comparison.relativeError <= tolerance
        line += holds ? " ≤ \(tolerance)" : " exceeds \(tolerance)"
      }
      lines.append(line)
    }
    if let output { lines.append("wrote \(output)") }
    return lines.joined(separator: "\n")
  }
}

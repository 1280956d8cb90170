public import Testing

/// Failures of an exhaustive loop: counts all, keeps the first few, reports once.
///
/// A million failing expectations would bury the first, which is the one to read.
public struct Mismatches {
  /// How many checks failed.
  public private(set) var count = 0
  /// How many checks ran.
  public private(set) var checked = 0
  private var samples: [String] = []
  private let sampleLimit: Int

  /// A log that keeps the first `sampleLimit` failures.
  public init(sampleLimit: Int = 5) { self.sampleLimit = sampleLimit }

  /// Counts one check; describes it if it failed.
  @inline(__always)
  public mutating func check(_ condition: Bool, _ detail: @autoclosure () -> String) {
    checked += 1
    if condition { return }
    count += 1
    if samples.count < sampleLimit { samples.append(detail()) }
  }

  /// Fails if any check failed or none ran, naming the sweep's combination.
  public func expectNone(sourceLocation: SourceLocation = #_sourceLocation) {
    expect(checked > 0, "nothing was checked", sourceLocation: sourceLocation)
    expect(
      count == 0, "\(count) of \(checked) failed:\n\(samples.joined(separator: "\n"))",
      sourceLocation: sourceLocation)
  }
}

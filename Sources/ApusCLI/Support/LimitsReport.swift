import ApusCPU

/// Measured limits of the machine, as output carries them.
struct LimitsReport: Codable, Sendable, Hashable {
  /// Threads that were measured together.
  var threadCount: Int
  /// Bytes read per second beyond the caches.
  var readBytesPerSecond: Double
  /// f32 operations per second in multiply-adds, two each.
  var fmaFlopsPerSecond: Double
}

extension LimitsReport {
  init(_ limits: MachineLimits) {
    threadCount = limits.threadCount
    readBytesPerSecond = limits.readBytesPerSecond
    fmaFlopsPerSecond = limits.fmaFlopsPerSecond
  }
}

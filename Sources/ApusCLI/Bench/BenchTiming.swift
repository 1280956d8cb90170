/// How often a case runs.
struct BenchPolicy: Codable, Sendable, Hashable {
  /// Untimed calls at the start.
  var warmUps = 1
  /// Timed calls at least.
  var minimumRepetitions = 5
  /// Timed calls at most.
  var maximumRepetitions = 200
  /// Timed calls go on until they took this long together.
  var secondsPerCase = 0.4
  /// Caches rotate through more bytes than this, so that no last-level cache holds them.
  var rotationBytes = 256 << 20

  /// What `--quick` uses.
  static let quick = BenchPolicy(
    warmUps: 1, minimumRepetitions: 3, maximumRepetitions: 50, secondsPerCase: 0.2)
}

/// Seconds of the timed calls, each its own sample.
struct BenchStatistics: Codable, Sendable, Hashable {
  var repetitions: Int
  var minSeconds: Double
  var medianSeconds: Double
  var p90Seconds: Double

  /// Nearest-rank percentiles, the median of an even count being the mean of the middle two; nil
  /// without samples.
  init?(_ samples: [Double]) {
    let sorted = samples.sorted()
    guard let least = sorted.first else { return nil }
    let count = sorted.count
    repetitions = count
    minSeconds = least
    medianSeconds = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2
    p90Seconds = sorted[(count * 9 + 9) / 10 - 1]
  }
}

extension BenchPrepared {
  /// Times every call alone; the warm-up runs once through the rotation's first sets.
  func measure(_ policy: BenchPolicy) throws -> [Double] {
    var next = 0
    func call() throws -> Double {
      let set = next % inputSetCount
      next += 1
      let start = ContinuousClock.now
      try run(set)
      let parts = (ContinuousClock.now - start).components
      return Double(parts.seconds) + Double(parts.attoseconds) * 1e-18
    }
    for _ in 0..<policy.warmUps { _ = try call() }
    var samples: [Double] = []
    var total = 0.0
    while samples.count < policy.minimumRepetitions
      || (total < policy.secondsPerCase && samples.count < policy.maximumRepetitions)
    {
      let elapsed = try call()
      samples.append(elapsed)
      total += elapsed
    }
    return samples
  }
}

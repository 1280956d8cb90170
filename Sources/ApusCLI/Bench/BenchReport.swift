internal import ApusCPU

/// What one run of `apus bench` stores. Field names and meanings are fixed by `schema`.
struct BenchReport: Codable, Sendable {
  /// Version of this layout; it grows whenever a field changes its meaning or disappears.
  static let currentSchema = 1

  var schema = BenchReport.currentSchema
  /// Tells this file from other results.
  var kind = "apus-bench"
  /// The suite that ran.
  var suite: BenchSuite
  /// Whether it was the quick subset, whose figures are for orientation only.
  var isQuick: Bool
  /// ISO 8601, UTC.
  var date: String
  /// Git commit of Apus, `-dirty` when sources differed; nil when unknown.
  var commit: String?
  /// The machine.
  var machine: MachineInfo
  /// Back end.
  var backend: String
  /// Instruction set of the micro-kernels.
  var instructionSet: String
  /// Threads.
  var threads: Int
  /// Denominators of every fraction.
  var limits: BenchLimits
  /// Repetitions and rotation.
  var policy: BenchPolicy
  /// How inputs were made and time was taken, in words.
  var method: String
  /// Figures, in the order of running.
  var cases: [BenchResult]
  /// What did not run, and why.
  var skipped: [BenchSkip]

  /// The words of `method`.
  static let methodText =
    "Standard normal inputs. Each repetition is one call of the public operator, validation "
    + "included, timed alone by the monotonic clock; caches rotate through more than "
    + "policy.rotationBytes (prefill and ops: one input set). Bytes and operations are the "
    + "compulsory ones of BenchWork. Limits are the best of the probes before and after the cases."
}

/// A case that did not run.
struct BenchSkip: Codable, Sendable, Hashable {
  var name: String
  var reason: String
}

/// A case as `--list --json` prints it.
struct BenchListing: Codable, Sendable {
  var name: String
  var `operator`: BenchOperator
  var shape: BenchShape
  var isQuick: Bool
  var work: BenchWork
  /// Why this machine does not run it; nil when it does.
  var skipReason: String?

  init(_ item: BenchCase, physicalMemory: UInt64) {
    name = item.name
    `operator` = item.operator
    shape = item.shape
    isQuick = item.isQuick
    work = BenchWork(item)
    skipReason = item.skipReason(physicalMemory: physicalMemory)
  }
}

/// The machine's limits, measured in the same run.
struct BenchLimits: Codable, Sendable, Hashable {
  /// Bytes per second that all threads together read from beyond the caches.
  var readBytesPerSecond: Double
  /// f32 multiply-adds per second of all threads together, two operations each.
  var fmaFlopsPerSecond: Double
  /// Operations per second of all threads together in products of bfloat16 pairs, four a lane; nil
  /// where the instruction set has none.
  var dotFlopsPerSecond: Double?

  /// The share of an arithmetic peak that the roofline of a case counts on.
  static let usablePeak = 0.75

  /// The peak of the instruction that a case multiplies with.
  func peak(_ item: BenchWork) -> Double {
    item.usesPairs ? dotFlopsPerSecond ?? fmaFlopsPerSecond : fmaFlopsPerSecond
  }

  /// Least seconds that the roofline allows: reading at full bandwidth or computing at three
  /// quarters of the peak, whichever takes longer.
  func leastSeconds(_ work: BenchWork) -> Double {
    max(
      Double(work.bytes) / readBytesPerSecond,
      Double(work.flops) / (Self.usablePeak * peak(work)))
  }

  /// Limits are what the machine can do when nothing disturbs it: the better of two measurements.
  func best(_ other: BenchLimits) -> BenchLimits {
    var result = self
    result.readBytesPerSecond = max(readBytesPerSecond, other.readBytesPerSecond)
    result.fmaFlopsPerSecond = max(fmaFlopsPerSecond, other.fmaFlopsPerSecond)
    if let dot = dotFlopsPerSecond, let others = other.dotFlopsPerSecond {
      result.dotFlopsPerSecond = max(dot, others)
    }
    return result
  }
}

extension BenchLimits {
  init(_ limits: MachineLimits) {
    self.init(
      readBytesPerSecond: limits.readBytesPerSecond, fmaFlopsPerSecond: limits.fmaFlopsPerSecond,
      dotFlopsPerSecond: limits.dotFlopsPerSecond)
  }
}

/// A case and its figures.
struct BenchResult: Codable, Sendable {
  var name: String
  var `operator`: BenchOperator
  var shape: BenchShape
  var work: BenchWork
  /// Independent input sets that the repetitions cycled through.
  var inputSets: Int
  var time: BenchStatistics
  /// Rates at the median time.
  var bytesPerSecond: Double
  var flopsPerSecond: Double
  /// Rates over the limits of the same run; the peak is that of the instruction used.
  var readFraction: Double
  var peakFraction: Double
  /// Least time of the roofline (`BenchLimits.leastSeconds`) over the median.
  var limitFraction: Double

  init(
    _ item: BenchCase, inputSets: Int, time: BenchStatistics, limits: BenchLimits
  ) {
    name = item.name
    `operator` = item.operator
    shape = item.shape
    work = BenchWork(item)
    self.inputSets = inputSets
    self.time = time
    bytesPerSecond = Double(work.bytes) / time.medianSeconds
    flopsPerSecond = Double(work.flops) / time.medianSeconds
    readFraction = bytesPerSecond / limits.readBytesPerSecond
    peakFraction = flopsPerSecond / limits.peak(work)
    limitFraction = limits.leastSeconds(work) / time.medianSeconds
  }

  /// The same times against other limits.
  func rated(_ limits: BenchLimits) -> BenchResult {
    var result = self
    result.readFraction = bytesPerSecond / limits.readBytesPerSecond
    result.peakFraction = flopsPerSecond / limits.peak(work)
    result.limitFraction = limits.leastSeconds(work) / time.medianSeconds
    return result
  }
}

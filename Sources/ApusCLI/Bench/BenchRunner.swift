internal import Apus
internal import ApusCPU
internal import Foundation

/// Measures cases on one CPU back end.
struct BenchRunner {
  let backend: CPUBackend
  let policy: BenchPolicy
  /// Bytes that the read probe streams: several times the last-level cache.
  let probeByteCount: Int
  /// Measurements of each limit, of which the best counts.
  let probeRepetitions: Int
  private var preparer: BenchPreparer

  init(backend: CPUBackend, policy: BenchPolicy, probeByteCount: Int, probeRepetitions: Int = 5) {
    self.backend = backend
    self.policy = policy
    self.probeByteCount = probeByteCount
    self.probeRepetitions = probeRepetitions
    preparer = BenchPreparer(backend: backend, rotationByteCount: policy.rotationBytes)
  }

  /// This machine's limits now.
  func limits() -> BenchLimits {
    BenchLimits(
      backend.engine.measureLimits(bytes: probeByteCount, repetitions: probeRepetitions))
  }

  /// Tensors and plan of a case.
  mutating func prepare(_ item: BenchCase) throws -> BenchPrepared {
    try preparer.prepare(item)
  }

  /// Figures of a prepared case.
  func measure(
    _ item: BenchCase, _ prepared: BenchPrepared, limits: BenchLimits
  ) throws -> BenchResult {
    guard let time = BenchStatistics(try prepared.measure(policy)) else {
      throw BenchError.noRepetitions
    }
    return BenchResult(item, inputSets: prepared.inputSetCount, time: time, limits: limits)
  }

  /// Runs cases in order, limits before and after.
  ///
  /// - Parameter progress: told of each case before it runs.
  mutating func run(
    _ cases: [BenchCase], progress: (_ index: Int, _ item: BenchCase) -> Void
  ) throws -> (results: [BenchResult], skipped: [BenchSkip], limits: BenchLimits) {
    let before = limits()
    var results: [BenchResult] = []
    var skipped: [BenchSkip] = []
    let memory = ProcessInfo.processInfo.physicalMemory
    for (index, item) in cases.enumerated() {
      if let reason = item.skipReason(physicalMemory: memory) {
        skipped.append(BenchSkip(name: item.name, reason: reason))
        continue
      }
      progress(index, item)
      results.append(try measure(item, try prepare(item), limits: before))
    }
    let best = before.best(limits())
    return (results.map { $0.rated(best) }, skipped, best)
  }
}

/// A benchmark that cannot start.
enum BenchError: Error, Hashable, CustomStringConvertible {
  /// No case is left.
  case noCases(suite: String, filters: [String])
  /// A policy of zero repetitions.
  case noRepetitions
  /// The server was asked for a case that does not exist.
  case unknownCase(String)
  /// The server was asked for a case that is skipped.
  case skippedCase(name: String, reason: String)
  /// The result could not be written.
  case unwritable(path: String, text: String)

  var description: String {
    switch self {
    case .noCases(let suite, let filters):
      "bench: a case of suite \(suite) must match every filter; found none for "
        + "\(filters.joined(separator: ", ")). List the cases with: apus bench \(suite) --list"
    case .noRepetitions:
      "bench: a case must be repeated at least once; found 0 repetitions."
    case .unknownCase(let name):
      "bench: a line must name a case or be \"limits\"; found \(name). "
        + "List the cases with: apus bench cpu --list"
    case .skippedCase(let name, let reason):
      "bench: a case must fit this machine; found \(name): \(reason)."
    case .unwritable(let path, let text):
      "bench: the result must be writable; found \(path): \(text)."
    }
  }
}

internal import ApusCUDA
internal import Foundation

/// What one run of a GPU suite stores. Field names and meanings are fixed by `schema`.
struct GPUBenchReport: Codable, Sendable {
  /// Version of this layout; it grows whenever a field changes its meaning or disappears.
  static let currentSchema = 1

  var schema = GPUBenchReport.currentSchema
  /// Tells this file from other results.
  var kind = "apus-gpu-bench"
  /// `gpu-prefill`, `gpu-ops`, `gpu-decode`.
  var suite: String
  /// Whether it was a subset, whose figures are for orientation only.
  var isQuick: Bool
  /// ISO 8601, UTC.
  var date: String
  /// Git commit of Apus, `-dirty` when sources differed; nil when unknown.
  var commit: String?
  /// The card.
  var device: GPUDeviceInfo
  /// How inputs were made and time was taken, in words.
  var method: String
  /// Read and copy rates in the same run: the denominators of fractions.
  var limits: GPULimits
  /// Figures, in the order of running.
  var cases: [GPUBenchResult]
  /// What did not run, and why.
  var skipped: [BenchSkip]

  /// The words of `method`.
  static let methodText =
    "Standard normal inputs. burst: median of single calls between two events after a second of rest and 3 warm-ups. "
    + "sustained: mean over 0.5 s after 0.5 s of the same load. graph: graphs of back-to-back calls "
    + "over inputs rotated past the L2, median of replays. Bytes count each operand once; flops are "
    + "4·b·h·sq·skv·d, half of it when causal."
}

/// The card that figures were measured on.
struct GPUDeviceInfo: Codable, Sendable, Hashable {
  var name: String
  var capability: String
  var multiprocessorCount: Int
  var memoryByteCount: Int
  var l2ByteCount: Int
  var maxClockMHz: Int
  var cudaVersion: String

  init(_ device: Device) {
    let properties = device.properties
    name = properties.name
    capability = "\(properties.capability)"
    multiprocessorCount = properties.multiprocessorCount
    memoryByteCount = properties.memoryByteCount
    l2ByteCount = properties.l2ByteCount
    maxClockMHz = properties.clockKilohertz / 1000
    cudaVersion = "\(device.driver.version)"
  }
}

/// What our own streaming kernels reach in the same run.
struct GPULimits: Codable, Sendable, Hashable {
  /// Bytes per second of a kernel that only reads; nil where the suite does not need it.
  var readBytesPerSecond: Double?
  /// Bytes per second, read and written ones together, of a kernel that copies.
  var copyBytesPerSecond: Double?
}

/// Seconds of the samples of one method.
struct GPUSamples: Codable, Sendable, Hashable {
  var count: Int
  var minSeconds: Double
  var medianSeconds: Double
  var p90Seconds: Double

  /// Nil without samples.
  init?(_ samples: [Double]) {
    guard let statistics = BenchStatistics(samples) else { return nil }
    count = statistics.repetitions
    minSeconds = statistics.minSeconds
    medianSeconds = statistics.medianSeconds
    p90Seconds = statistics.p90Seconds
  }
}

/// A case and its figures.
struct GPUBenchResult: Codable, Sendable {
  /// `prefill b4 s4096 h16/16 d128 causal bf16`.
  var name: String
  /// The peers' cell that this is: operation and tag of their table; nil when they have none.
  var operation: String
  var tag: String
  var qType: String
  var kvType: String
  /// Symbols of the kernels of one call.
  var kernels: [String]
  /// The first 16 digits of the SHA-256 of each kernel's PTX, in the same order: those of
  /// `Golden/hashes.txt` where the code is unchanged.
  var ptxHashes: [String] = []
  /// Compulsory bytes and operations of one call.
  var bytes: Int
  var flops: Int
  /// What our streaming kernel of the same ratio of reads to writes reaches in the same run.
  var limitBytesPerSecond: Double?
  var burst: GPUSamples?
  var sustainedSeconds: Double?
  var sustainedClockMHz: Int?
  var graph: GPUSamples?
  /// Calls of one replay, and input sets that they rotate through.
  var callsPerGraph: Int?
  var inputSets: Int?

  /// TFLOP/s of a time.
  func teraflops(_ seconds: Double?) -> Double? { seconds.map { Double(flops) / $0 * 1e-12 } }
  /// TB/s of a time.
  func terabytes(_ seconds: Double?) -> Double? { seconds.map { Double(bytes) / $0 * 1e-12 } }
}

import Apus
import ApusCore
import ApusNumerics

/// One run of the demo: measures each operator, then checks what it computed.
struct DemoSession: Sendable {
  let data: ExampleData
  let backend: CPUBackend
  let limits: LimitsReport
  /// Tokens of the decode batch's requests.
  let lengths: [Int]
  /// Timed runs of each operator and layer.
  let repetitions: Int
  let progress: Progress

  /// A session; nothing runs yet.
  ///
  /// - Parameter requestCount: requests of the decode batch; request `r` holds the first
  ///   `⌈(r + 1) · tokens / requestCount⌉` tokens of the text.
  init(
    _ data: ExampleData, backend: CPUBackend, limits: LimitsReport, requestCount: Int,
    repetitions: Int, progress: Progress
  ) {
    self.data = data
    self.backend = backend
    self.limits = limits
    let requests = min(max(requestCount, 1), data.tokenCount)
    lengths = (1...requests).map { ($0 * data.tokenCount + requests - 1) / requests }
    self.repetitions = repetitions
    self.progress = progress
  }

  /// What one part of the demo found.
  struct Findings {
    var rows: [DemoRow] = []
    var storage: [StorageRow] = []

    mutating func append(_ other: Findings) {
      rows += other.rows
      storage += other.storage
    }
  }

  /// Runs every operator.
  func run() throws -> Findings {
    var findings = try prefillFindings()
    findings.append(try decodeFindings())
    return findings
  }

  /// Heads and dimensions of the data.
  var shape: AttentionShape {
    AttentionShape(
      qoHeadCount: data.headCount, kvHeadCount: data.headCount, headDimQK: data.headDim)
  }

  /// A tensor of the data's shape `[rows, head, dim]`.
  func tensor(_ values: [Float], _ type: ElementType) throws -> Tensor {
    try Tensor(
      values, type,
      shape: [values.count / (data.headCount * data.headDim), data.headCount, data.headDim])
  }

  /// Seconds of each timed run, after one that warms up.
  func time(_ body: () throws -> Void) throws -> [Double] {
    try body()
    let clock = ContinuousClock()
    return try (0..<repetitions).map { _ in
      let duration = try clock.measure(body)
      let parts = duration.components
      return Double(parts.seconds) + Double(parts.attoseconds) * 1e-18
    }
  }

  /// What a row has of all layers.
  struct Measurement {
    var seconds: [Double] = []
    var error = 0.0
    var bound = 0.0
    var lseError: Double?
    var lseBound: Double?
    var differingRows: Int?

    /// Keeps the layer that is closest to its bound, or beyond it.
    mutating func add(error: Double, bound: Double) {
      if self.bound == 0 || !(error / bound <= self.error / self.bound) {
        (self.error, self.bound) = (error, bound)
      }
    }

    /// Likewise for the log-sum-exp.
    mutating func addLSE(error: Double, bound: Double) {
      if let lseError, let lseBound, error / bound <= lseError / lseBound { return }
      (lseError, lseBound) = (error, bound)
    }

    var median: Double {
      let sorted = seconds.sorted()
      return sorted.isEmpty ? .nan : sorted[sorted.count / 2]
    }
  }

  /// What limits an operator, and how much of it one layer needs.
  enum Work {
    case bytes(Int)
    case flops(Int)
  }

  /// A row of the first table.
  func row(
    _ operation: String, types: String, _ measurement: Measurement, work: Work
  ) -> DemoRow {
    let seconds = measurement.median
    var row = DemoRow(
      operation: operation, types: types, backend: backend.name, seconds: seconds,
      fractionOfLimit: 0, error: measurement.error, bound: measurement.bound,
      lseError: measurement.lseError, lseBound: measurement.lseBound,
      differingRows: measurement.differingRows)
    switch work {
    case .bytes(let count):
      let rate = Double(count) / seconds
      row.bytesPerSecond = rate
      row.fractionOfLimit = rate / limits.readBytesPerSecond
    case .flops(let count):
      let rate = Double(count) / seconds
      row.flopsPerSecond = rate
      row.fractionOfLimit = rate / limits.fmaFlopsPerSecond
    }
    return row
  }

  /// A row of the second table.
  func storageRow(
    _ operation: String, types: String, cacheBytesPerToken: Double? = nil,
    _ measurement: Measurement
  ) -> StorageRow {
    StorageRow(
      operation: operation, types: types, cacheBytesPerToken: cacheBytesPerToken,
      error: measurement.error, bound: measurement.bound)
  }
}

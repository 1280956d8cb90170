internal import ApusCore
internal import ApusThreads

/// Where kernels write which index of a list in device memory is bad, and what reads it.
///
/// One record serves all calls of a back end: the first bad index since the last report is kept.
final class IndexGuard: Sendable {
  private let runtime: any DeviceRuntime
  private let record = Lock<(any DeviceAllocation)?>(nil)

  init(_ runtime: any DeviceRuntime) { self.runtime = runtime }

  private static let byteCount = 4 * IndexError.recordWordCount

  /// The record, empty when it is asked for first.
  func record(operation: String) throws(ApusError) -> any DeviceAllocation {
    if let known = record.withLock({ $0 }) { return known }
    let made = try runtime.upload(
      [UInt8](repeating: 0, count: Self.byteCount), operation: operation)
    // Two threads may both have made one: the first stays.
    return record.withLock { kept in
      let result = kept ?? made
      kept = result
      return result
    }
  }

  /// Waits for the stream and throws what kernels have found, which empties the record; does nothing
  /// while the stream is captured.
  func check(on stream: ExecutionStream, operation: String) throws(ApusError) {
    guard let record = record.withLock({ $0 }),
      let bytes = try runtime.take(
        Self.byteCount, of: record, on: stream, operation: operation)
    else { return }
    let words = stride(from: 0, to: bytes.count, by: 4).map { index in
      (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[index + $1]) << UInt32(8 * $1) }
    }
    if let error = IndexError(record: words, operation: operation) { throw .index(error) }
  }
}

internal import ApusCUDA
internal import Logging

/// Passes what the driver layer reports to the caller's logger.
struct KernelLog: Sendable {
  let logger: Logger

  init(_ logger: Logger) { self.logger = logger }

  /// One event of the driver layer.
  func record(_ event: DriverEvent) {
    switch event {
    case .releaseFailed(let error):
      logger.error("a handle could not be given back: \(error)")
    case .moduleLoaded(let name, let log, let nanoseconds):
      let source = log.info.isEmpty ? "loaded" : "compiled"
      logger.debug(
        "kernel \(source)",
        metadata: ["kernel": "\(name)", "milliseconds": "\(Double(nanoseconds) / 1e6)"])
    case .slowCode(let name, let log):
      let lines = log.serializations.joined(separator: "; ")
      logger.warning(
        "the driver's compiler made slow code of a kernel; its results are correct",
        metadata: [
          "kernel": "\(name)", "spilledBytes": "\(log.spillByteCount)", "serialized": "\(lines)",
        ])
    }
  }
}

package import ApusCUDA
package import ApusCore

extension ApusError {
  /// A failure of the driver under the caller's operation: the environment's, with the driver's own
  /// words, except for requests that Apus should not have made.
  package init(_ error: CUDAError, operation: String) {
    let place = error.kernel.map { "\(operation)(\($0))" } ?? operation
    switch error.kind {
    case .argument(let violations) where error.operation == "Stream.init":
      // The stream is the caller's.
      self = .argument(
        ArgumentError(
          operation: operation, violations.first?.requirement ?? "the stream must be usable",
          found: violations.first?.found ?? "\(error)"))
    case .argument:
      self = .bug(InternalError(operation: place, detail: error.description))
    case .driverMissing:
      self = .environment(
        EnvironmentError(
          operation: place, code: 0, text: error.text,
          remedy: "Install the NVIDIA driver, or use the CPU back end."))
    case .driverTooOld(let found, let required):
      self = .environment(
        EnvironmentError(
          operation: place, code: 0, text: "the driver supports CUDA \(found), below \(required)",
          remedy: "Update the NVIDIA driver."))
    case .functionMissing(let since):
      self = .environment(
        EnvironmentError(
          operation: place, code: 0, text: "the driver lacks \(error.function) of CUDA \(since)",
          remedy: "Update the NVIDIA driver."))
    case .call:
      self = .environment(
        EnvironmentError(
          operation: place, code: Int(error.code),
          text: "\(error.function): \(error.name): \(error.text)", remedy: error.remedy))
    case .compilation(let log):
      let lines = log.diagnostics.map { "; \($0)" }.joined()
      self = .environment(
        EnvironmentError(
          operation: place, code: Int(error.code),
          text: "the driver refused the module: \(error.name): \(error.text)\(lines)",
          remedy: error.remedy))
    }
  }
}

/// Runs driver calls and wraps their error in the facade's.
func wrappingDriver<Result: ~Copyable>(
  _ operation: String, _ body: () throws(CUDAError) -> Result
) throws(ApusError) -> Result {
  do throws(CUDAError) {
    return try body()
  } catch {
    throw ApusError(error, operation: operation)
  }
}

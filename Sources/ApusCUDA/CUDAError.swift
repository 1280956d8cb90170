/// A failure of the driver, of loading it, or of a request that the driver must not see.
///
/// One type for all, so that every function of this target throws it. `code`, `name` and `text` are
/// the driver's own; they are 0 and empty where no driver call failed.
public struct CUDAError: Error, Sendable, Hashable {
  /// What kind of failure it is.
  public enum Kind: Sendable, Hashable {
    /// No driver library could be opened; `text` holds the loader's words.
    case driverMissing
    /// The driver is older than Apus needs.
    case driverTooOld(found: DriverVersion, required: DriverVersion)
    /// The driver lacks a function that came with CUDA version `since`.
    case functionMissing(since: DriverVersion)
    /// A driver function returned an error status.
    case call
    /// The driver refused a module; the log has the compiler's words.
    case compilation(JITLog)
    /// The caller's request breaks rules that were checked before any driver call.
    case argument([Violation])
  }

  /// One rule that a request breaks.
  public struct Violation: Sendable, Hashable, CustomStringConvertible {
    /// What must hold.
    public let requirement: String
    /// What was found.
    public let found: String

    /// A violation with its two parts.
    public init(_ requirement: String, found: String) {
      self.requirement = requirement
      self.found = found
    }

    /// `requirement; found value`.
    public var description: String { "\(requirement); found \(found)" }
  }

  /// What kind of failure it is.
  public let kind: Kind
  /// The operation of this target that failed, such as `Stream.synchronize`.
  public let operation: String
  /// The driver function that returned the status, such as `cuStreamSynchronize`; may be empty.
  public let function: String
  /// The driver's status, 0 if none.
  public let code: Int32
  /// The driver's name of the status, such as `CUDA_ERROR_OUT_OF_MEMORY`.
  public let name: String
  /// The driver's text of the status, or the loader's.
  public let text: String
  /// The kernel concerned, if one is.
  public let kernel: String?

  /// An error with its fields.
  public init(
    kind: Kind, operation: String, function: String = "", code: Int32 = 0, name: String = "",
    text: String = "", kernel: String? = nil
  ) {
    self.kind = kind
    self.operation = operation
    self.function = function
    self.code = code
    self.name = name
    self.text = text
    self.kernel = kernel
  }

  /// The caller's mistake, with every violation found.
  static func argument(_ operation: String, _ violations: [Violation], kernel: String? = nil)
    -> CUDAError
  {
    CUDAError(kind: .argument(violations), operation: operation, kernel: kernel)
  }

  /// The compiler's log of a refused module, nil for other failures.
  public var log: JITLog? {
    if case .compilation(let log) = kind { return log }
    return nil
  }
}

extension CUDAError: CustomStringConvertible {
  /// `operation: requirement; found value. remedy`.
  public var description: String {
    let place = kernel.map { "\(operation)(\($0))" } ?? operation
    switch kind {
    case .driverMissing:
      return "\(place): the NVIDIA driver library must be loadable; found \(text). Install the "
        + "NVIDIA driver, or use the CPU back end."
    case .driverTooOld(let found, let required):
      return "\(place): the driver must support CUDA \(required) or newer; found \(found). Update "
        + "the NVIDIA driver."
    case .functionMissing(let since):
      return "\(place): the driver must have \(function) of CUDA \(since); found none. Update the "
        + "NVIDIA driver."
    case .call:
      return "\(place): \(function) must succeed; found \(name) (\(code): \(text)).\(remedyText)"
    case .compilation(let log):
      let lines = log.diagnostics.map { "\n  \($0)" }.joined()
      return "\(place): the driver must accept the module; found \(name) (\(code): "
        + "\(text)).\(remedyText)\(lines)"
    case .argument(let violations):
      if let only = violations.first, violations.count == 1 { return "\(place): \(only)." }
      return "\(place): \(violations.count) requirements do not hold:\n"
        + violations.map { "  - \($0)." }.joined(separator: "\n")
    }
  }

  private var remedyText: String { remedy.map { " \($0)" } ?? "" }

  /// What the user can do about the statuses that users meet; nil where nothing is known.
  public var remedy: String? {
    switch code {
    case 2: "Free device memory, or use a smaller problem or workspace."
    case 100: "Check CUDA_VISIBLE_DEVICES and that the machine has an NVIDIA GPU."
    case 209: "The binary was built for other GPUs; load PTX or a binary for this one."
    case 222: "The PTX is newer than the driver's compiler; update the NVIDIA driver."
    case 221: "Install the driver's PTX compiler (libnvidia-ptxjitcompiler), or load binaries."
    case 700, 716, 717, 718, 719, 715:
      "A kernel faulted: this context is lost, and the process must start anew to use the GPU."
    case 701: "Use fewer threads, registers or bytes of shared memory per block."
    case 803: "The kernel module and the driver library differ in version; restart the machine."
    default: nil
    }
  }
}

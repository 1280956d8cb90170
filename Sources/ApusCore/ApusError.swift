/// Every failure of Apus, in three families: the caller's mistake, the environment, our bug.
public enum ApusError: Error, Sendable, CustomStringConvertible {
  /// A requirement on the arguments does not hold; nothing was written.
  case argument(ArgumentError)
  /// A list in device memory holds an index that it must not.
  case index(IndexError)
  /// The chosen back end cannot do this; another can.
  case unsupported(UnsupportedError)
  /// The machine refused: a driver, a file, memory.
  case environment(EnvironmentError)
  /// A defect of Apus itself.
  case bug(InternalError)

  /// The wrapped error's own sentence.
  public var description: String {
    switch self {
    case .argument(let error): error.description
    case .index(let error): error.description
    case .unsupported(let error): error.description
    case .environment(let error): error.description
    case .bug(let error): error.description
    }
  }
}

/// A combination that a back end does not implement, with what it does.
public struct UnsupportedError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The operation, for example `BatchDecode.plan`.
  public let operation: String
  /// The back end that refused.
  public let backend: String
  /// What was asked for.
  public let requested: String
  /// The supported set, in words.
  public let supported: String

  /// An error with its fields.
  public init(operation: String, backend: String, requested: String, supported: String) {
    self.operation = operation
    self.backend = backend
    self.requested = requested
    self.supported = supported
  }

  /// `operation: back end NAME must support the request; found …. Supported: ….`
  public var description: String {
    "\(operation): back end \(backend) must support the request; found \(requested). "
      + "Supported: \(supported)."
  }
}

/// A failure of the machine around Apus: allocation, driver, file system.
public struct EnvironmentError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The operation that failed.
  public let operation: String
  /// The system's numeric code.
  public let code: Int
  /// The system's own words.
  public let text: String
  /// What the user can do.
  public let remedy: String?

  /// An error with its fields.
  public init(operation: String, code: Int, text: String, remedy: String? = nil) {
    self.operation = operation
    self.code = code
    self.text = text
    self.remedy = remedy
  }

  /// `operation: the system call must succeed; found code N (text). remedy`.
  public var description: String {
    let base = "\(operation): the system call must succeed; found code \(code) (\(text))."
    guard let remedy else { return base }
    return "\(base) \(remedy)"
  }
}

/// A defect of Apus: an invariant that does not depend on the caller does not hold.
public struct InternalError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The operation in which it surfaced.
  public let operation: String
  /// The broken invariant and the values seen.
  public let detail: String

  /// An error with its fields.
  public init(operation: String, detail: String) {
    self.operation = operation
    self.detail = detail
  }

  /// The invariant, with the request to report it.
  public var description: String {
    "\(operation): internal invariant broken; found \(detail). "
      + "This is a bug in Apus: please report it with this line."
  }
}

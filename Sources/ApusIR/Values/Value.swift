/// Names one value of a kernel: an index into `KernelIR.values`.
public struct ValueID: Sendable, Hashable {
  /// The position in the kernel's value table.
  public let index: Int

  /// The value at `index` of a table.
  public init(_ index: Int) { self.index = index }
}

/// What a value is: its type, whether it can change, and where it came from.
public struct ValueInfo: Sendable, Hashable {
  /// How often a value may be written.
  public enum Kind: UInt8, Sendable, Hashable {
    /// Written once, by the node that has it as a result; visible from there to the end of the
    /// region that holds that node, nested regions included.
    case immutable
    /// Declared by `variable`; then written by `assign` and by the in-place tensor-core ops. An
    /// operand that names a variable reads what the variable holds when that node executes.
    case variable
  }

  /// The register type.
  public var type: ValueType
  /// Immutable or variable.
  public var kind: Kind
  /// A readable name for printers, without `%`; need not be unique; empty for none.
  public var nameHint: String
  /// Where the front end made the value.
  public var location: SourceLocation

  /// A value description.
  public init(
    type: ValueType, kind: Kind = .immutable, nameHint: String = "", location: SourceLocation
  ) {
    self.type = type
    self.kind = kind
    self.nameHint = nameHint
    self.location = location
  }
}

/// One input of a node: a value, or a constant in place.
public enum Operand: Sendable, Hashable {
  /// The current content of a value.
  case value(ValueID)
  /// A typed constant; the same in every lane.
  case constant(Constant)

  /// The value named, or nil for a constant.
  @inlinable
  public var valueID: ValueID? {
    if case .value(let id) = self { id } else { nil }
  }
  /// The constant, or nil for a value.
  @inlinable
  public var constant: Constant? {
    if case .constant(let constant) = self { constant } else { nil }
  }
}

/// A place in the source of a kernel, reported by every diagnostic.
public struct SourceLocation: Sendable, Hashable, CustomStringConvertible {
  /// `#fileID` of the caller: `Module/File.swift`.
  public var fileID: String
  /// `#line` of the caller.
  public var line: Int

  /// A place.
  public init(fileID: String, line: Int) {
    self.fileID = fileID
    self.line = line
  }

  /// The caller's own place.
  public static func here(fileID: String = #fileID, line: Int = #line) -> SourceLocation {
    SourceLocation(fileID: fileID, line: line)
  }

  /// The file's name without its module: `File.swift`.
  public var file: Substring {
    fileID.lastIndex(of: "/").map { fileID[fileID.index(after: $0)...] } ?? fileID[...]
  }

  /// `File.swift:31`.
  public var description: String { "\(file):\(line)" }
}

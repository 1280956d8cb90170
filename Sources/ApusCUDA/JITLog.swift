/// What the driver's compiler wrote about a module, as text and as figures.
///
/// The text comes only from a real compilation: when the driver's disk cache has the module, both
/// logs are empty and `functions` is too; `Function.attributes()` always knows.
public struct JITLog: Sendable, Hashable {
  /// Figures of one function, each nil if the log does not state it.
  public struct FunctionUsage: Sendable, Hashable {
    /// The function's symbol.
    public var name: String
    /// 32-bit registers a thread.
    public var registers: Int?
    /// Bytes stored to local memory because registers ran out.
    public var spillStoreByteCount: Int?
    /// Bytes loaded back.
    public var spillLoadByteCount: Int?
    /// Bytes of stack frame.
    public var stackByteCount: Int?
    /// Static shared bytes a block.
    public var sharedByteCount: Int?
    /// Local bytes a thread, where the log states them instead of spills.
    public var localByteCount: Int?

    /// Figures of a function, as far as they are known.
    public init(
      name: String, registers: Int? = nil, spillStoreByteCount: Int? = nil,
      spillLoadByteCount: Int? = nil, stackByteCount: Int? = nil, sharedByteCount: Int? = nil,
      localByteCount: Int? = nil
    ) {
      self.name = name
      self.registers = registers
      self.spillStoreByteCount = spillStoreByteCount
      self.spillLoadByteCount = spillLoadByteCount
      self.stackByteCount = stackByteCount
      self.sharedByteCount = sharedByteCount
      self.localByteCount = localByteCount
    }
  }

  /// A complaint of the compiler about one line of PTX.
  public struct Diagnostic: Sendable, Hashable, CustomStringConvertible {
    /// 1-based line of the PTX, nil if the complaint names none.
    public var line: Int?
    /// The complaint as written.
    public var message: String
    /// That line of the PTX, nil if there is none or the module was a binary.
    public var source: String?

    /// A complaint.
    public init(line: Int?, message: String, source: String?) {
      self.line = line
      self.message = message
      self.source = source
    }

    /// The complaint, and the line it is about.
    public var description: String { source.map { "\(message)\n    > \($0)" } ?? message }
  }

  /// The compiler's information and warnings.
  public let info: String
  /// The compiler's errors.
  public let errors: String
  /// Figures of each function in the order of the log.
  public let functions: [FunctionUsage]
  /// Lines with a numbered compiler message (C7xxx) or the word warning.
  public let warnings: [String]
  /// The lines of `errors` with the PTX lines that they are about.
  public let diagnostics: [Diagnostic]

  /// Reads the two texts; `source` is the PTX, if it was PTX.
  public init(info: String, errors: String, source: String? = nil) {
    self.info = info
    self.errors = errors
    functions = Self.functions(in: info)
    warnings = info.split(separator: "\n").filter(Self.isWarning).map(String.init)
    let lines = source?.split(separator: "\n", omittingEmptySubsequences: false)
    diagnostics = errors.split(separator: "\n").map { text in
      let line = Self.number(after: "line ", in: text)
      let quoted = line.flatMap { number in
        lines.flatMap { $0.indices.contains(number - 1) ? String($0[number - 1]) : nil }
      }
      return Diagnostic(line: line, message: String(text), source: quoted)
    }
  }

  /// Bytes spilled by all functions, stores and loads.
  public var spillByteCount: Int {
    functions.reduce(0) { $0 + ($1.spillStoreByteCount ?? 0) + ($1.spillLoadByteCount ?? 0) }
  }

  /// Warnings that matrix instructions were serialised, or register requests dropped, C75xx: the
  /// code is correct and slow.
  public var serializations: [String] {
    warnings.filter { $0.contains("C75") || $0.contains("serializ") }
  }

  /// Whether the code is slower than it was meant to be.
  public var isSlow: Bool { spillByteCount > 0 || !serializations.isEmpty }

  private static func isWarning(_ line: Substring) -> Bool {
    if line.lowercased().contains("warning") { return true }
    // A number such as C7512: letter C, then a 7 and three digits.
    var rest = line
    while let start = rest.firstIndex(of: "C") {
      let digits = rest[rest.index(after: start)...].prefix { $0.isASCII && $0.isNumber }
      if digits.count == 4, digits.first == "7" { return true }
      rest = rest[rest.index(after: start)...]
    }
    return false
  }

  /// Compilers write one of two forms: `Function properties for NAME` followed by a line of spills
  /// and a line `Used N registers, ...`, or the name in quotes followed by
  /// `used N registers, N stack, N bytes smem, ... N bytes lmem`.
  private static func functions(in info: String) -> [FunctionUsage] {
    var functions: [FunctionUsage] = []
    func update(_ body: (inout FunctionUsage) -> Void) {
      if functions.isEmpty { functions.append(FunctionUsage(name: "")) }
      body(&functions[functions.count - 1])
    }
    for line in info.split(separator: "\n") {
      if let name = name(after: "Compiling entry function ", in: line)
        ?? name(after: "Function properties for ", in: line)
      {
        if functions.last?.name != name { functions.append(FunctionUsage(name: name)) }
        continue
      }
      if line.contains("bytes spill stores") {
        update {
          $0.stackByteCount = number(before: " bytes stack frame", in: line)
          $0.spillStoreByteCount = number(before: " bytes spill stores", in: line)
          $0.spillLoadByteCount = number(before: " bytes spill loads", in: line)
        }
      } else if let registers = number(before: " registers", in: line),
        line.contains("sed \(registers) registers")
      {
        update {
          $0.registers = registers
          $0.sharedByteCount = number(before: " bytes smem", in: line) ?? 0
          $0.stackByteCount = number(before: " stack", in: line) ?? $0.stackByteCount
          $0.localByteCount = number(before: " bytes lmem", in: line)
        }
      }
    }
    return functions
  }

  private static func name(after marker: String, in line: Substring) -> String? {
    guard let range = line.firstRange(of: marker) else { return nil }
    let rest = line[range.upperBound...].drop { $0 == "'" || $0 == " " }
    let name = rest.prefix { $0 != "'" && $0 != " " && $0 != ":" }
    return name.isEmpty ? nil : String(name)
  }

  private static func number(before marker: String, in line: Substring) -> Int? {
    guard let range = line.firstRange(of: marker) else { return nil }
    let head = line[..<range.lowerBound]
    return Int(String(head.reversed().prefix { $0.isASCII && $0.isNumber }.reversed()))
  }

  private static func number(after marker: String, in line: Substring) -> Int? {
    guard let range = line.firstRange(of: marker) else { return nil }
    return Int(line[range.upperBound...].prefix { $0.isASCII && $0.isNumber })
  }
}

import ApusIR

/// The state of printing one kernel: register names, labels, open loops, and the text so far.
struct KernelPrinter {
  let kernel: KernelIR
  let target: Target
  let showsLocations: Bool

  /// The node being printed.
  var node = Node(.control(.exit), location: SourceLocation(fileID: "", line: 0))
  /// `@%p3 ` inside a predicated region, else empty.
  var guardText = ""
  /// The predicate register behind `guardText`.
  var guardRegister: String?
  /// The innermost loop last.
  var loops: [OpenLoop] = []

  private var body = ""
  private var indent = 1
  private var labelCount = 0
  private var names: [String]
  private var counts = [Int](repeating: 0, count: RegisterPrefix.allCases.count)

  /// Labels of a loop.
  struct OpenLoop {
    let label: String
    var hasContinue = false
  }

  init(kernel: KernelIR, target: Target, showsLocations: Bool) {
    self.kernel = kernel
    self.target = target
    self.showsLocations = showsLocations
    names = Array(repeating: "", count: kernel.values.count)
    body.reserveCapacity(kernel.values.count * 32)
  }

  /// The whole entry.
  mutating func print() throws(PTXError) -> String {
    try checkTables()
    try print(kernel.body)
    var text = try signature()
    text += "{\n"
    for prefix in RegisterPrefix.allCases where counts[prefix.index] > 0 {
      text += "  .reg .\(prefix.declaration) %\(prefix.rawValue)<\(counts[prefix.index])>;\n"
    }
    return text + body + "  ret;\n}\n"
  }

  // MARK: - Lines

  /// Appends one instruction, guarded in predicated regions.
  mutating func line(_ instruction: String) {
    append(guardText, instruction)
  }

  /// Appends one instruction with a guard of its own.
  mutating func line(when predicate: String, _ instruction: String) {
    append("@\(predicate) ", instruction)
  }

  /// Appends an instruction whose effect no guard needs to stop.
  mutating func unguarded(_ instruction: String) { append("", instruction) }

  /// Appends a label.
  mutating func label(_ name: String) { body += "\(name):\n" }

  /// Appends a comment on a line of its own, in printable ASCII.
  mutating func comment(_ text: String) {
    let safe = text.unicodeScalars.map {
      (0x20...0x7E).contains($0.value) ? Character($0) : $0 == "\n" ? " " : "?"
    }
    body += String(repeating: "  ", count: indent) + "// " + String(safe) + "\n"
  }

  /// A fresh label: `$L3_else`.
  mutating func freshLabel(_ suffix: String) -> String {
    labelCount += 1
    return "$L\(labelCount)_\(suffix)"
  }

  /// Prints a nested region, indented.
  mutating func nested(_ region: Region) throws(PTXError) {
    indent += 1
    try print(region)
    indent -= 1
  }

  private mutating func append(_ guardText: String, _ instruction: String) {
    for _ in 0..<indent { body += "  " }
    body += guardText
    body += instruction
    body += ";"
    if showsLocations { body += "  // \(node.location)" }
    body += "\n"
  }

  // MARK: - Registers

  /// A fresh register for values of a type.
  mutating func fresh(_ type: ValueType) -> String {
    let prefix = RegisterPrefix(type)
    let number = counts[prefix.index]
    counts[prefix.index] += 1
    return "%\(prefix.rawValue)\(number)"
  }

  /// The register of a value, named at its first mention.
  mutating func name(_ id: ValueID) -> String {
    if names[id.index].isEmpty { names[id.index] = fresh(kernel[id].type) }
    return names[id.index]
  }

  /// Operand `index` in a register; a constant moves into a fresh one.
  mutating func register(_ index: Int) throws(PTXError) -> String {
    switch try rawOperand(index) {
    case .value(let id): return name(id)
    case .constant(let constant):
      let register = fresh(constant.type)
      unguarded("mov.\(constant.type.moveType) \(register), \(literal(constant))")
      return register
    }
  }

  /// Operand `index` as a register or, where PTX has literals of its type, as a literal.
  mutating func operand(_ index: Int) throws(PTXError) -> String {
    if case .constant(let constant) = try rawOperand(index), constant.type.hasLiterals {
      return literal(constant)
    }
    return try register(index)
  }

  /// `[%r3+16]`: operand `index` as an address with an offset.
  mutating func address(_ index: Int, _ offset: Int = 0) throws(PTXError) -> String {
    let base = try register(index)
    return offset == 0 ? "[\(base)]" : "[\(base)+\(offset)]"
  }

  /// `{%r1, %r2}`: operands in registers.
  mutating func registers(_ range: Range<Int>) throws(PTXError) -> String {
    var text = "{"
    for index in range {
      if index > range.lowerBound { text += ", " }
      text += try register(index)
    }
    return text + "}"
  }

  /// The register of result `index`.
  mutating func result(_ index: Int) throws(PTXError) -> String {
    guard node.results.indices.contains(index) else {
      throw malformed("must have \(index + 1) results", found: "\(node.results.count)")
    }
    return name(node.results[index])
  }

  /// `{%r1, %r2}`: all results.
  mutating func results() -> String {
    "{\(node.results.map { name($0) }.joined(separator: ", "))}"
  }

  /// The type of operand `index`.
  func type(_ index: Int) throws(PTXError) -> ValueType {
    kernel.type(of: try rawOperand(index))
  }

  /// The type of result `index`.
  func resultType(_ index: Int) throws(PTXError) -> ValueType {
    guard node.results.indices.contains(index) else {
      throw malformed("must have \(index + 1) results", found: "\(node.results.count)")
    }
    return kernel[node.results[index]].type
  }

  /// Operand `index` itself.
  func rawOperand(_ index: Int) throws(PTXError) -> Operand {
    guard node.operands.indices.contains(index) else {
      throw malformed("must have \(index + 1) operands", found: "\(node.operands.count)")
    }
    return node.operands[index]
  }

  /// Region `index` of the node.
  func region(_ index: Int) throws(PTXError) -> Region {
    guard node.regions.indices.contains(index) else {
      throw malformed("must have \(index + 1) regions", found: "\(node.regions.count)")
    }
    return node.regions[index]
  }

  // MARK: - Errors

  /// The error of a node that the verifier would refuse.
  func malformed(_ requirement: String, found: String) -> PTXError {
    .malformed(
      op: node.op.mnemonic, requirement: requirement, found: found, kernel: kernel.symbol,
      location: node.location)
  }

  /// Refuses what the target lacks and ids beyond the value table, before anything is printed.
  private func checkTables() throws(PTXError) {
    if kernel.launch.clusterSize > 1, target < .sm90a {
      throw .unsupportedCluster(
        size: kernel.launch.clusterSize, target: target, kernel: kernel.symbol)
    }
    try check(kernel.body)
  }

  private func check(_ region: Region) throws(PTXError) {
    for node in region.nodes {
      let ids = kernel.values.indices
      let wrong =
        node.operands.lazy.compactMap(\.valueID).first { !ids.contains($0.index) }
        ?? node.results.first { !ids.contains($0.index) }
      if let wrong {
        throw .malformed(
          op: node.op.mnemonic, requirement: "must use values of the kernel's table",
          found: "value \(wrong.index)", kernel: kernel.symbol, location: node.location)
      }
      let needs = node.requirements(values: kernel.values)
      if needs.target > target {
        throw .unsupported(
          op: node.op.mnemonic, needs: needs, target: target, kernel: kernel.symbol,
          location: node.location)
      }
      for region in node.regions { try check(region) }
    }
  }
}

/// Register families: the class of PTX's register file, floats apart for the reader's sake.
enum RegisterPrefix: String, CaseIterable {
  case predicate = "p"
  case half = "h"
  case word = "r"
  case float = "f"
  case double = "d"

  init(_ type: ValueType) {
    switch type.registerClass {
    case .predicate: self = .predicate
    case .b16: self = .half
    case .b32: self = type == .f32 ? .float : .word
    case .b64: self = .double
    }
  }

  var index: Int {
    switch self {
    case .predicate: 0
    case .half: 1
    case .word: 2
    case .float: 3
    case .double: 4
    }
  }

  /// Untyped registers serve every type of their width (PTX § Operand Type Checking).
  var declaration: String {
    switch self {
    case .predicate: "pred"
    case .half: "b16"
    case .word, .float: "b32"
    case .double: "b64"
    }
  }
}

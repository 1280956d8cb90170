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

  private var body = PTXText()
  private var indent = 1
  private var labelCount = 0
  private var names: [RegisterName]
  private var counts = [Int](repeating: 0, count: RegisterPrefix.allCases.count)
  /// The lowest PTX version with all instructions; known after `print`.
  private(set) var version: PTXVersion

  /// Labels of a loop.
  struct OpenLoop {
    let label: String
    var hasContinue = false
  }

  init(kernel: KernelIR, target: Target, showsLocations: Bool) {
    self.kernel = kernel
    self.target = target
    self.showsLocations = showsLocations
    version = target.minimumPTXVersion
    if kernel.launch.clusterSize > 1 { version = max(version, PTXVersion(7, 8)) }
    names = Array(repeating: .none, count: kernel.values.count)
    body.reserve(kernel.values.count * 40)
  }

  /// The whole entry, in pieces.
  mutating func print() throws(PTXError) -> (head: String, body: PTXText) {
    try checkTarget()
    try print(kernel.body)
    var text = try signature()
    text += "{\n"
    for prefix in RegisterPrefix.allCases where counts[prefix.index] > 0 {
      text += "  .reg .\(prefix.declaration) %\(prefix.rawValue)<\(counts[prefix.index])>;\n"
    }
    body.append("  ret;\n}\n")
    return (text, body)
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
  mutating func label(_ name: String) {
    body.append(name)
    body.append(":\n")
  }

  /// Appends a comment on a line of its own, in printable ASCII.
  mutating func comment(_ text: String) {
    let safe = text.unicodeScalars.map {
      (0x20...0x7E).contains($0.value) ? Character($0) : $0 == "\n" ? " " : "?"
    }
    body.append(String(repeating: "  ", count: indent) + "// " + String(safe) + "\n")
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
    begin(guardText, instruction)
    end()
  }

  private mutating func begin(_ guardText: String, _ start: String) {
    body.append(spaces: 2 * indent)
    if !guardText.isEmpty { body.append(guardText) }
    body.append(start)
  }

  private mutating func end() {
    body.append(ascii: 0x3B)
    if showsLocations { body.append("  // \(node.location)") }
    body.append(ascii: 0x0A)
  }

  // MARK: - Instructions of registers and literals

  /// Begins an instruction that is written operand by operand, guarded in predicated regions. What
  /// needs moves before it must be written otherwise: `canWrite` says so.
  mutating func begin(_ opcode: String) {
    begin(guardText, opcode)
    body.append(ascii: 0x20)
  }

  /// Ends the instruction that was begun.
  mutating func finishLine(_ suffix: String = "") {
    if !suffix.isEmpty { body.append(suffix) }
    end()
  }

  /// Whether operands of a range are registers or have literals, so that no move must come first.
  func canWrite(_ range: Range<Int>) -> Bool {
    range.allSatisfy { index in
      guard node.operands.indices.contains(index) else { return false }
      guard case .constant(let constant) = node.operands[index] else { return true }
      return constant.type.hasLiterals
    }
  }

  /// Whether operands of a range are registers.
  func areRegisters(_ range: Range<Int>) -> Bool {
    range.allSatisfy { node.operands.indices.contains($0) && node.operands[$0].valueID != nil }
  }

  /// Writes text.
  mutating func write(_ text: String) { body.append(text) }

  /// Numbers the register of an operand that is one, as mentioning it would.
  mutating func nameOperand(_ index: Int) {
    if let id = node.operands[index].valueID { _ = register(of: id) }
  }

  /// Writes `, `.
  mutating func writeComma() { body.appendComma() }

  /// Writes a value's register.
  mutating func write(_ id: ValueID) { body.append(register(of: id)) }

  /// Writes operand `index`, which is a register or has a literal.
  mutating func writeOperand(_ index: Int) {
    switch node.operands[index] {
    case .value(let id): write(id)
    case .constant(let constant): body.append(literal: constant)
    }
  }

  /// Writes `[%r3+16]`; the operand is a register.
  mutating func writeAddress(_ index: Int, _ offset: Int) {
    body.append(ascii: 0x5B)
    writeOperand(index)
    if offset != 0 {
      body.append(ascii: 0x2B)
      if offset < 0 { body.append(ascii: 0x2D) }
      body.append(abs(offset))
    }
    body.append(ascii: 0x5D)
  }

  /// Writes `{%r1, %r2}` of values.
  mutating func write(_ ids: [ValueID]) {
    body.append(ascii: 0x7B)
    for (place, id) in ids.enumerated() {
      if place > 0 { body.appendComma() }
      write(id)
    }
    body.append(ascii: 0x7D)
  }

  /// Writes `{%r1, %r2}` of operands, all registers.
  mutating func writeOperands(_ range: Range<Int>) {
    body.append(ascii: 0x7B)
    for index in range {
      if index > range.lowerBound { body.appendComma() }
      writeOperand(index)
    }
    body.append(ascii: 0x7D)
  }

  // MARK: - Registers

  /// A fresh register for values of a type.
  mutating func fresh(_ type: ValueType) -> String { freshRegister(type).text }

  private mutating func freshRegister(_ type: ValueType) -> RegisterName {
    let prefix = RegisterPrefix(type)
    let number = counts[prefix.index]
    counts[prefix.index] += 1
    return RegisterName(prefix, number)
  }

  /// The register of a value, named at its first mention.
  mutating func name(_ id: ValueID) -> String { register(of: id).text }

  private mutating func register(of id: ValueID) -> RegisterName {
    if !names[id.index].exists { names[id.index] = freshRegister(kernel.values[id.index].type) }
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

  /// Refuses clusters where there are none.
  private func checkTarget() throws(PTXError) {
    guard kernel.launch.clusterSize > 1, target < .sm90a else { return }
    throw .unsupportedCluster(
      size: kernel.launch.clusterSize, target: target, kernel: kernel.symbol)
  }

  /// Refuses a node that the target lacks or with ids beyond the value table, and notes its version.
  mutating func check(_ node: Node) throws(PTXError) {
    if let wrong = idBeyondTable(node) {
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
    let least = node.minimumVersion(needs, on: target)
    if least > version { version = least }
  }

  private func idBeyondTable(_ node: Node) -> ValueID? {
    let count = kernel.values.count
    for operand in node.operands {
      if case .value(let id) = operand, id.index < 0 || id.index >= count { return id }
    }
    for id in node.results where id.index < 0 || id.index >= count { return id }
    return nil
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

  /// `rawValue` of each in the order of `index`.
  static let letters = allCases.map { $0.rawValue.utf8.first ?? 0 }

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

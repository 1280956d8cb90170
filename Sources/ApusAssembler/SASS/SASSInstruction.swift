/// One machine instruction: `/*0a30*/ @!P0 HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24, gsb0 ;`.
public struct SASSInstruction: Sendable, Hashable {
  /// Byte address within the function.
  public let address: Int
  /// The predicate without `@`: `!P0`, or nil.
  public let predicate: String?
  /// The opcode with its modifiers: `HGMMA.64x128x16.F32.BF16`.
  public let opcode: String
  /// The operands in order, without blanks around them.
  public let operands: [String]

  /// An instruction.
  public init(address: Int, predicate: String? = nil, opcode: String, operands: [String] = []) {
    self.address = address
    self.predicate = predicate
    self.opcode = opcode
    self.operands = operands
  }

  /// The instruction of a line, nil for a line that holds none.
  init?(_ line: some StringProtocol) {
    guard line.hasPrefix("/*"), let end = line.firstRange(of: "*/"),
      let address = Int(line[line.startIndex..<end.lowerBound].dropFirst(2), radix: 16)
    else { return nil }
    var rest = line[end.upperBound...].prefix { $0 != ";" }.trimmed
    // Dual-issue braces of old architectures do not occur on the supported ones.
    var predicate: String?
    if rest.hasPrefix("@") {
      let word = rest.dropFirst().prefix { $0 != " " }
      predicate = String(word)
      rest = rest.dropFirst(word.count + 1).trimmed
    }
    let opcode = rest.prefix { $0 != " " }
    guard let first = opcode.first, first.isLetter else { return nil }
    let operands = rest.dropFirst(opcode.count).split(separator: ",").map { String($0.trimmed) }
    self.init(
      address: address, predicate: predicate, opcode: String(opcode),
      operands: operands.filter { !$0.isEmpty })
  }

  /// The opcode up to its first modifier: `HGMMA`.
  public var name: Substring { opcode.prefix { $0 != "." } }

  /// Modifiers of the opcode, in order.
  public var modifiers: [Substring] { opcode.split(separator: ".").dropFirst().map(\.self) }

  /// Whether the opcode has a modifier.
  public func has(_ modifier: String) -> Bool { modifiers.contains { $0 == modifier } }

  /// The line without its address.
  public var text: String {
    (predicate.map { "@\($0) " } ?? "") + opcode
      + (operands.isEmpty ? "" : " " + operands.joined(separator: ", "))
  }
}

/// The machine code of one kernel, as read from the text of `nvdisasm -c`.
public struct SASSFunction: Sendable, Hashable {
  /// The kernel's entry name.
  public let name: String
  /// All instructions in the order of their addresses.
  public let instructions: [SASSInstruction]
  /// Index of the first instruction after each label.
  public let labels: [String: Int]

  /// The functions of a disassembly, in order.
  ///
  /// A line is a section head (`.section .text.NAME,…`), a label (`.L_x_1:`), an instruction
  /// (`/*0120*/ @P0 FADD R1, R2, R3 ;`) or something else, which is passed over.
  public static func parse(_ text: some StringProtocol) -> [SASSFunction] {
    var functions: [SASSFunction] = []
    var name: String?
    var instructions: [SASSInstruction] = []
    var labels: [String: Int] = [:]
    func close() {
      if let name, !instructions.isEmpty {
        functions.append(
          SASSFunction(name: name, instructions: instructions, labels: labels))
      }
    }
    for rawLine in text.split(separator: "\n") {
      let line = rawLine.trimmed
      if line.hasPrefix(".section\t") || line.hasPrefix(".section ") {
        close()
        (name, instructions, labels) = (nil, [], [:])
        let section = line.dropFirst(".section".count).trimmed.prefix { $0 != "," }
        if section.hasPrefix(".text.") { name = String(section.dropFirst(".text.".count)) }
      } else if line.hasSuffix(":") {
        labels[String(line.dropLast())] = instructions.count
      } else if name != nil, let instruction = SASSInstruction(line) {
        instructions.append(instruction)
      }
    }
    close()
    return functions
  }

  /// The text of all instructions without addresses, registers renumbered by first use (`R0`, `P0`
  /// and `UR0` become `R`, `P`, `UR`): what remains of a difference is more than allocation.
  public var normalised: String {
    instructions.map { instruction in
      let predicate = instruction.predicate.map { "@\($0) " } ?? ""
      let operands = instruction.operands.joined(separator: ", ")
      return (predicate + instruction.opcode + (operands.isEmpty ? "" : " " + operands))
        .withoutRegisterNumbers
    }.joined(separator: "\n") + "\n"
  }
}

extension StringProtocol {
  /// Without blanks at both ends.
  var trimmed: SubSequence {
    let blanks: Set<Character> = [" ", "\t", "\r"]
    guard let first = firstIndex(where: { !blanks.contains($0) }),
      let last = lastIndex(where: { !blanks.contains($0) })
    else { return self[endIndex...] }
    return self[first...last]
  }

  /// `@P0 FADD R1, UR4` without the digits of registers, barriers and labels.
  var withoutRegisterNumbers: String {
    var result = ""
    var word = ""
    func flush(into result: inout String) {
      let letters = word.prefix { $0.isLetter || $0 == "_" || $0 == "." }
      let rest = word.dropFirst(letters.count)
      let isName = ["R", "UR", "P", "UP", "B", "SB", ".L_x_"].contains(String(letters))
      result += isName && !rest.isEmpty && rest.allSatisfy(\.isNumber) ? String(letters) : word
      word = ""
    }
    for character in self {
      if character.isLetter || character.isNumber || character == "_"
        || (character == "." && (word.isEmpty || word.hasPrefix(".")))
      {
        word.append(character)
      } else {
        flush(into: &result)
        result.append(character)
      }
    }
    flush(into: &result)
    return result
  }
}

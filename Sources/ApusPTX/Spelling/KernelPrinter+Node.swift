import ApusIR

extension KernelPrinter {
  /// Prints the nodes of a region in order.
  mutating func print(_ region: Region) throws(PTXError) {
    for next in region.nodes {
      node = next
      switch next.op {
      case .movement(let op): try print(op)
      case .arithmetic(.packed16(let op)):
        try inRegisters(Op.Arithmetic.packed16(op).opcode(.u32))
      case .arithmetic(let op): try plain(op.opcode(try type(0)))
      case .bits(let op): try print(op)
      case .conversion(let op): try print(op)
      case .special(let register): try print(register)
      case .memory(let op): try print(op)
      case .warp(let op): try print(op)
      case .synchronisation(let op): try print(op)
      case .copy(let op): try print(op)
      case .tensorCore(let op): try print(op)
      case .control(let op): try print(op)
      }
    }
  }

  /// `opcode result, operand, …`: the form of most instructions.
  mutating func plain(_ opcode: String, suffix: String = "") throws(PTXError) {
    var text = opcode
    text += " "
    text += try result(0)
    for index in node.operands.indices {
      text += ", "
      text += try operand(index)
    }
    text += suffix
    line(text)
  }

  /// As `plain`, for instructions that take no literals.
  mutating func inRegisters(_ opcode: String) throws(PTXError) {
    var list = [try result(0)]
    for index in node.operands.indices { list.append(try register(index)) }
    line("\(opcode) \(list.joined(separator: ", "))")
  }

  /// Movement: `mov` in its scalar and vector forms.
  mutating func print(_ op: Op.Movement) throws(PTXError) {
    switch op {
    case .variable where node.operands.isEmpty: _ = try result(0)
    case .variable, .assign, .copy:
      let destination = try result(0)
      let type = try resultType(0)
      if case .constant(let constant) = try rawOperand(0) {
        line("mov.\(type.moveType) \(destination), \(literal(constant))")
      } else {
        line("mov.\(type.bits) \(destination), \(try register(0))")
      }
    case .select:
      let type = try resultType(0).moveType
      line(
        "selp.\(type) \(try result(0)), \(try operand(1)), \(try operand(2)), \(try register(0))")
    case .bitcast:
      line("mov.\(try resultType(0).bits) \(try result(0)), \(try register(0))")
    case .pack:
      line("mov.\(try resultType(0).bits) \(try result(0)), \(try registers(0..<2))")
    case .unpack:
      line("mov.\(try type(0).bits) \(results()), \(try register(0))")
    }
  }

  /// Special registers: `mov` from the register of that name.
  mutating func print(_ register: Op.SpecialRegister) throws(PTXError) {
    let name =
      switch register {
      case .dynamicSharedSize: "dynamic_smem_size"
      default: Op.special(register).mnemonic
      }
    line("mov.\(register.type) \(try result(0)), %\(name)")
  }
}

import ApusIR

extension KernelPrinter {
  /// Prints the nodes of a region in order.
  mutating func print(_ region: Region) throws(PTXError) {
    for index in region.nodes.indices {
      node = region.nodes[index]
      try check(node)
      switch node.op {
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
    if let first = node.results.first, canWrite(node.operands.indices) {
      begin(opcode)
      write(first)
      for index in node.operands.indices {
        writeComma()
        writeOperand(index)
      }
      return finishLine(suffix)
    }
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
    if areRegisters(node.operands.indices) { return try plain(opcode) }
    var list = [try result(0)]
    for index in node.operands.indices { list.append(try register(index)) }
    line("\(opcode) \(list.joined(separator: ", "))")
  }

  /// Movement: `mov` in its scalar and vector forms.
  mutating func print(_ op: Op.Movement) throws(PTXError) {
    switch op {
    case .variable where node.operands.isEmpty: _ = try result(0)
    case .variable, .assign, .copy:
      let type = try resultType(0)
      if let operand = node.operands.first {
        begin("mov." + (operand.constant == nil ? type.bits : type.moveType))
        write(node.results[0])
        writeComma()
        writeOperand(0)
        return finishLine()
      }
      _ = try rawOperand(0)
    case .select:
      let type = try resultType(0).moveType
      if node.operands.count == 3, canWrite(0..<3) {
        begin("selp." + type)
        write(node.results[0])
        for index in [1, 2, 0] {
          writeComma()
          writeOperand(index)
        }
        return finishLine()
      }
      line(
        "selp.\(type) \(try result(0)), \(try operand(1)), \(try operand(2)), \(try register(0))")
    case .bitcast:
      line("mov.\(try resultType(0).bits) \(try result(0)), \(try register(0))")
    case .pack:
      if areRegisters(0..<2), node.operands.count == 2 {
        begin("mov." + (try resultType(0)).bits)
        write(node.results[0])
        writeComma()
        writeOperands(0..<2)
        return finishLine()
      }
      line("mov.\(try resultType(0).bits) \(try result(0)), \(try registers(0..<2))")
    case .unpack:
      if areRegisters(0..<1) {
        begin("mov." + (try type(0)).bits)
        write(node.results)
        writeComma()
        writeOperand(0)
        return finishLine()
      }
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

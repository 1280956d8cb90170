extension SASSFunction {
  /// Indices of the instructions that may follow each instruction.
  ///
  /// A branch goes to its label, and past itself when it is conditional. `BSYNC` goes on where the
  /// `BSSY` of its barrier says: at the next instruction, where that is such a place, else at every
  /// one of them.
  public var successors: [[Int]] {
    var meetingPlaces: [String: Set<Int>] = [:]
    for instruction in instructions where instruction.name == "BSSY" {
      guard let barrier = instruction.operands.first, let place = target(of: instruction)
      else { continue }
      meetingPlaces[barrier, default: []].insert(place)
    }
    return instructions.indices.map { index in
      let instruction = instructions[index]
      let next = index + 1 < instructions.count ? [index + 1] : []
      let isConditional =
        instruction.predicate.map { !["PT", "UPT"].contains($0) } ?? false
      switch instruction.name {
      case "EXIT", "RET": return isConditional ? next : []
      case "BRA", "JMP", "CALL", "BRX", "WARPSYNC":
        guard let target = target(of: instruction) else { return next }
        // Uniform and divergence branches state their condition as an operand.
        let hasCondition = instruction.operands.count > 1 || instruction.has("ANY")
        let goesOn =
          isConditional || hasCondition || instruction.name == "CALL"
          || instruction.name == "WARPSYNC"
        return [target] + (goesOn ? next : [])
      case "BSYNC":
        let places = meetingPlaces[instruction.operands.first ?? ""] ?? []
        if places.isEmpty || places.contains(index + 1) { return next }
        return places.sorted() + (isConditional ? next : [])
      default: return next
      }
    }
  }

  /// The place that an instruction names, if there is one.
  private func target(of instruction: SASSInstruction) -> Int? {
    for operand in instruction.operands {
      guard let start = operand.firstIndex(of: "("), let end = operand.lastIndex(of: ")"),
        start < end
      else { continue }
      let label = String(operand[operand.index(after: start)..<end])
      if let place = labels[label], place < instructions.count { return place }
    }
    return nil
  }
}

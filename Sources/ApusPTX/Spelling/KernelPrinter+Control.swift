import ApusIR

extension KernelPrinter {
  /// Structured control as labels, branches and guards.
  mutating func print(_ op: Op.Control) throws(PTXError) {
    switch op {
    case .if(.predicated): try predicated()
    case .if(let form): try branch(form)
    case .loop(let form): try loop(form)
    case .breakIf: try leave(to: try innermostLoop().label + "_end")
    case .continueIf:
      let loop = try innermostLoop()
      loops[loops.count - 1].hasContinue = true
      try leave(to: loop.label + "_next")
    case .roles(let roles): try print(roles)
    case .exit: line("exit")
    case .trap: line("trap")
    case .sleep: line("nanosleep.u32 \(try operand(0))")
    case .setMaxRegisters(let change, let count): setMaxRegisters(change, count)
    case .comment(let text): comment(text)
    case .phase(let text): comment("== \(text)")
    }
  }

  private mutating func branch(_ form: Op.BranchForm) throws(PTXError) {
    let then = try region(0)
    let other = node.regions.count > 1 ? node.regions[1] : nil
    let verb = form == .uniform ? "bra.uni" : "bra"
    let end = freshLabel("end")
    let otherwise = other == nil ? end : freshLabel("else")
    line(when: "!\(try register(0))", "\(verb) \(otherwise)")
    try nested(then)
    if let other {
      line("bra.uni \(end)")
      label(otherwise)
      try nested(other)
    }
    label(end)
  }

  /// A guard stays what it was when the region began, even if the region writes its variable.
  private mutating func predicated() throws(PTXError) {
    let body = try region(0)
    var predicate = try register(0)
    if let id = try rawOperand(0).valueID, kernel[id].kind == .variable {
      let copy = fresh(.pred)
      line("mov.pred \(copy), \(predicate)")
      predicate = copy
    }
    let outer = (guardText, guardRegister)
    (guardText, guardRegister) = ("@\(predicate) ", predicate)
    try nested(body)
    (guardText, guardRegister) = outer
  }

  private mutating func loop(_ form: Op.LoopForm) throws(PTXError) {
    let body = try region(0)
    let name = freshLabel("loop")
    label(name)
    if form == .rolled { unguarded(".pragma \"nounroll\"") }
    loops.append(OpenLoop(label: name))
    try nested(body)
    if loops.removeLast().hasContinue { label("\(name)_next") }
    line("bra.uni \(name)")
    label("\(name)_end")
  }

  private func innermostLoop() throws(PTXError) -> OpenLoop {
    guard let loop = loops.last else { throw malformed("must stand in a loop", found: "none") }
    return loop
  }

  /// A conditional jump; under a guard both must hold.
  private mutating func leave(to label: String) throws(PTXError) {
    var predicate = try register(0)
    if let guardRegister {
      let both = fresh(.pred)
      unguarded("and.pred \(both), \(guardRegister), \(predicate)")
      predicate = both
    }
    line(when: predicate, "bra \(label)")
  }

  private mutating func print(_ roles: [Role]) throws(PTXError) {
    let regions = node.regions
    guard regions.count == roles.count else {
      throw malformed("must have \(roles.count) regions", found: "\(regions.count)")
    }
    let index = try register(0)
    let end = freshLabel("roles_end")
    for (role, body) in zip(roles, regions) {
      let next = freshLabel("next_role")
      comment("role \(role.name): warps \(role.warps.lowerBound)..<\(role.warps.upperBound)")
      let isMember = fresh(.pred)
      if role.warps.lowerBound == 0 {
        line("setp.lt.u32 \(isMember), \(index), \(role.warps.upperBound)")
      } else {
        let relative = fresh(.u32)
        line("sub.u32 \(relative), \(index), \(role.warps.lowerBound)")
        line("setp.lt.u32 \(isMember), \(relative), \(role.warps.count)")
      }
      line(when: "!\(isMember)", "bra.uni \(next)")
      let entry = kernel.launch.registersAtEntry
      if let registers = role.registers, target == .sm90a, registers != entry {
        setMaxRegisters(registers > entry ? .increase : .decrease, registers)
      }
      try nested(body)
      line("bra.uni \(end)")
      label(next)
    }
    label(end)
  }

  private mutating func setMaxRegisters(_ change: Op.RegisterChange, _ count: Int) {
    line("setmaxnreg.\(change == .increase ? "inc" : "dec").sync.aligned.u32 \(count)")
  }
}

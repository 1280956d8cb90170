import ApusIR

extension KernelPrinter {
  /// Memory: parameters, addresses, loads, stores, atomics.
  mutating func print(_ op: Op.Memory) throws(PTXError) {
    switch op {
    case .parameter(let id, let offset):
      let place = try symbol(of: id) + (offset == 0 ? "" : "+\(offset)")
      line("ld.param.\(try resultType(0).bits) \(try result(0)), [\(place)]")
    case .parameterAddress(let id):
      let local = fresh(.u64)
      line("mov.b64 \(local), \(try symbol(of: id))")
      line("cvta.param.u64 \(try result(0)), \(local)")
    case .sharedAddress(let id, let offset):
      guard kernel.shared.indices.contains(id.index) else {
        throw malformed("must name shared memory of the kernel", found: "allocation \(id.index)")
      }
      let place = kernel.shared[id.index].offset + offset
      let symbol = PTXPrinter.sharedWindow + (place == 0 ? "" : "+\(place)")
      line("mov.u32 \(try result(0)), \(symbol)")
    case .ld(let access): try load(access)
    case .st(let access): try store(access)
    case .atom(let access):
      var list = [try result(0), try address(0, access.offset)]
      for index in 1..<max(1, node.operands.count) { list.append(try operand(index)) }
      line("atom\(access.suffix(try type(1), vector: 1)) \(list.joined(separator: ", "))")
    case .red(let access):
      let count = node.operands.count - 1
      let source = count > 1 ? try registers(1..<count + 1) : try operand(1)
      line(
        "red\(access.suffix(try type(1), vector: count)) \(try address(0, access.offset)), "
          + source)
    case .prefetch(let level, let offset):
      line("prefetch.global.\(level == .l1 ? "L1" : "L2") \(try address(0, offset))")
    case .mapa: try plain("mapa.shared::cluster.u32")
    }
  }

  private mutating func load(_ access: Op.MemoryAccess) throws(PTXError) {
    let count = node.results.count
    if let first = node.results.first, areRegisters(0..<(access.hasPolicy ? 2 : 1)) {
      begin("ld" + access.suffix(vector: count))
      if count > 1 { write(node.results) } else { write(first) }
      writeComma()
      writeAddress(0, access.offset)
      if access.hasPolicy {
        writeComma()
        writeOperand(1)
      }
      return finishLine()
    }
    let destination = count > 1 ? results() : try result(0)
    let policy = access.hasPolicy ? ", " + (try register(1)) : ""
    line(
      "ld\(access.suffix(vector: count)) \(destination), \(try address(0, access.offset))\(policy)")
  }

  private mutating func store(_ access: Op.MemoryAccess) throws(PTXError) {
    let last = node.operands.count - (access.hasPolicy ? 1 : 0)
    let count = last - 1
    if count > 0, areRegisters(0..<node.operands.count) {
      // Registers are numbered in the order of the words before: sources, policy, address.
      for index in 1..<node.operands.count { nameOperand(index) }
      begin("st" + access.suffix(vector: count))
      writeAddress(0, access.offset)
      writeComma()
      if count > 1 { writeOperands(1..<last) } else { writeOperand(1) }
      if access.hasPolicy {
        writeComma()
        writeOperand(last)
      }
      return finishLine()
    }
    let source = count > 1 ? try registers(1..<last) : try register(1)
    let policy = access.hasPolicy ? ", " + (try register(last)) : ""
    line(
      "st\(access.suffix(vector: count)) \(try address(0, access.offset)), \(source)\(policy)")
  }
}

extension Op.MemoryAccess {
  /// Order, space, cache hints, vector, element: everything behind `ld` or `st`.
  fileprivate func suffix(vector: Int) -> String {
    var text =
      switch ordering {
      case .weak: ""
      case .relaxed(let scope): ".relaxed.\(scope)"
      case .acquire(let scope): ".acquire.\(scope)"
      case .release(let scope): ".release.\(scope)"
      case .volatile: ".volatile"
      }
    text += "." + space.description + (isNonCoherent ? ".nc" : "")
    switch l1 {
    case .normal: break
    case .unchanged: text += ".L1::evict_unchanged"
    case .evictFirst: text += ".L1::evict_first"
    case .evictLast: text += ".L1::evict_last"
    case .noAllocate: text += ".L1::no_allocate"
    }
    if hasPolicy { text += ".L2::cache_hint" }
    text += l2Prefetch.suffix
    if vector > 1 { text += vector == 2 ? ".v2" : vector == 4 ? ".v4" : ".v\(vector)" }
    return text + "." + element.description
  }
}

extension Op.L2Prefetch {
  /// `.L2::128B`, or nothing.
  var suffix: String {
    switch self {
    case .none: ""
    case .bytes64: ".L2::64B"
    case .bytes128: ".L2::128B"
    case .bytes256: ".L2::256B"
    }
  }
}

extension Op.AtomicAccess {
  /// Order, scope, space, combination, type: everything behind `atom` or `red`.
  fileprivate func suffix(_ type: ValueType, vector: Int) -> String {
    let element =
      switch op {
      case .add: type.isPacked ? "noftz.\(type)" : "\(type)"
      case .min, .max, .inc: "\(type)"
      case .and, .or, .xor, .exchange, .cas: type.bits
      }
    let lanes = vector > 1 ? ".v\(vector)" : ""
    return ".\(ordering).\(scope).\(space).\(op)\(lanes).\(element)"
  }
}

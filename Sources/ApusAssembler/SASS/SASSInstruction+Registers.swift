extension SASSInstruction {
  /// The products of a warpgroup: `HGMMA` (16 bit), `QGMMA` (FP8), `IGMMA`, `BGMMA`.
  public var isProduct: Bool { name == "HGMMA" || name == "QGMMA" || name == "IGMMA" }

  /// Whether a product is the last of its group, which a wait counts.
  public var closesGroup: Bool { operands.contains("gsb0") }

  /// For `WARPGROUP.DEPBAR.LE gsb0, n`: n, the groups that may stay in flight.
  public var allowedGroups: Int? {
    guard name == "WARPGROUP", has("DEPBAR"), let count = operands.last else { return nil }
    return count.hasPrefix("0x") ? Int(count.dropFirst(2), radix: 16) : Int(count)
  }

  /// Accumulator registers of a product: rows · columns / 128 threads of f32, half as many of f16.
  /// Empty for an instruction that is none.
  public var accumulators: Range<Int> {
    guard isProduct, let shape = productShape, let first = operands.first.flatMap(Self.register)
    else { return 0..<0 }
    // The accumulator's type comes before that of the operands.
    let types = modifiers.filter {
      ["F16", "F32", "S32", "BF16", "TF32", "E4M3", "E5M2"].contains($0)
    }
    let isHalf = types.first == "F16"
    return first..<first + shape.rows * shape.columns / 128 / (isHalf ? 2 : 1)
  }

  /// A operand registers of a product: four when A is not in shared memory.
  public var productOperands: Range<Int> {
    guard isProduct, operands.count > 1, let first = Self.register(operands[1]) else {
      return 0..<0
    }
    return first..<first + 4
  }

  /// Rows and columns of a product.
  private var productShape: (rows: Int, columns: Int)? {
    for modifier in modifiers {
      let parts = modifier.split(separator: "x").map { Int($0) }
      if parts.count == 3, let rows = parts[0], let columns = parts[1] { return (rows, columns) }
    }
    return nil
  }

  /// Registers that the instruction mentions, written or read. Memory addresses count with their
  /// width, data of loads and stores with that of the opcode.
  public var mentionedRegisters: Set<Int> {
    if isProduct { return Set(accumulators).union(productOperands) }
    var all = writtenRegisters
    for operand in operands {
      for (register, isWide) in Self.registers(in: operand) {
        all.insert(register)
        if isWide { all.insert(register + 1) }
      }
      if isStore, !operand.contains("["), let first = Self.register(operand) {
        all.formUnion(first..<first + dataWidth)
      }
      if name == "HMMA" || name == "QMMA" || name == "IMMA", let first = Self.register(operand) {
        all.formUnion(first..<first + 4)
      }
    }
    return all
  }

  /// Registers that the instruction writes; predicates, uniform registers and memory are none.
  public var writtenRegisters: Set<Int> {
    if isProduct { return Set(accumulators) }
    if isStore || hasNoResult { return [] }
    guard let destination = operands.first(where: { !Self.isPredicate($0) }),
      let first = Self.register(destination)
    else { return [] }
    return Set(first..<first + resultWidth)
  }

  private var isStore: Bool {
    ["ST", "STG", "STS", "STL", "STSM", "RED", "REDG", "REDS", "STAS"].contains(String(name))
  }

  private var hasNoResult: Bool {
    // Comparisons write predicates.
    name.contains("SETP")
      || [
        "BAR", "BRA", "BRX", "BSSY", "BSYNC", "CALL", "CCTL", "CCTLL", "DEPBAR", "ERRBAR", "EXIT",
        "FCHK", "FENCE", "LDGSTS", "LDGDEPBAR", "MEMBAR", "NANOSLEEP", "NOP", "PLOP3", "R2P",
        "R2UR", "RET", "SYNCS",
        "UBLKCP", "UTMALDG", "UTMASTG", "UTMAPF", "UTMACCTL", "UTMACMDFLUSH", "USETMAXREG",
        "WARPGROUP", "WARPSYNC", "YIELD",
      ].contains(String(name))
  }

  /// Registers of a memory operand's data.
  private var dataWidth: Int {
    if name == "STSM" { return modifiers.last.flatMap { Int($0) } ?? 1 }
    return has("128") ? 4 : has("64") ? 2 : 1
  }

  private var resultWidth: Int {
    switch name {
    case "HMMA": has("F32") ? 4 : 2
    case "QMMA", "IMMA", "DMMA": 4
    case "LDSM": modifiers.last.flatMap { Int($0) } ?? 1
    case "CS2R": has("32") ? 1 : 2
    case "DADD", "DMUL", "DFMA": 2
    default: has("128") ? 4 : has("64") || has("WIDE") ? 2 : 1
    }
  }

  /// The number of a general register, `R24` or `-|R24.reuse|`; nil for anything else and for `RZ`.
  static func register(_ operand: some StringProtocol) -> Int? {
    operand.contains("[") ? nil : registers(in: operand).first?.register
  }

  /// General registers named in an operand, and whether each is a pair: `desc[UR14][R2.64+0x10]`.
  static func registers(
    in operand: some StringProtocol
  ) -> [(register: Int, isWide: Bool)] {
    var found: [(register: Int, isWide: Bool)] = []
    let words = operand.split { !($0.isLetter || $0.isNumber || $0 == "." || $0 == "_") }
    for word in words {
      let parts = word.split(separator: ".")
      guard let head = parts.first, head.first == "R", let number = Int(head.dropFirst())
      else { continue }
      found.append((number, parts.dropFirst().contains("64")))
    }
    return found
  }

  private static func isPredicate(_ operand: String) -> Bool {
    let name = operand.drop { $0 == "!" }
    return name == "PT" || name == "UPT"
      || (name.hasPrefix("P") && Int(name.dropFirst()) != nil)
      || (name.hasPrefix("UP") && Int(name.dropFirst(2)) != nil)
  }
}

/// Moves constant parts of addresses into the immediate offsets of the ops that use them.
///
/// `a = base + 4096; ld [a]` costs an instruction and a register that lives as long as its uses;
/// `ld [base + 4096]` costs neither. Unrolled tiles have one such sum per access.
///
/// Why it is right: addresses and offsets add in the same width and wrap the same way (see
/// *Memory* in `Op`), so moving a constant from one to the other changes no address. The base must
/// be immutable: a variable could change between the sum and its use. Constants are read as signed
/// and the resulting offset stays within 24 bits, the range of the hardware's address field;
/// otherwise the sum stays. The sum itself is left to `DeadCode`.
public enum AddressOffsets: Pass {
  /// The name in listings.
  public static let name = "address offsets"

  /// Offsets of the hardware's address field.
  static let offsetRange = -(1 << 23)..<(1 << 23)

  private typealias Sum = (base: Operand, offset: Int)

  /// Folds the kernel's offsets.
  public static func apply(to kernel: inout KernelIR, knowing facts: KernelFacts) {
    var sums = [Sum?](repeating: nil, count: kernel.values.count)
    walk(&kernel.body, kernel.values, &sums)
  }

  /// One round in program order: a sum stands before its uses.
  private static func walk(_ region: inout Region, _ values: [ValueInfo], _ sums: inout [Sum?]) {
    for position in region.nodes.indices {
      if let sum = region.nodes[position].unretained({ sum(of: $0, values) }) {
        let result = region.nodes[position].results[0]
        if let id = sum.base.valueID, let inner = sums[id.index] {
          sums[result.index] = (inner.base, inner.offset + sum.offset)
        } else {
          sums[result.index] = sum
        }
        continue
      }
      if !region.nodes[position].op.isPure { rewrite(&region.nodes[position], sums) }
      guard region.nodes[position].hasRegions else { continue }
      for index in region.nodes[position].regions.indices {
        walk(&region.nodes[position].regions[index], values, &sums)
      }
    }
  }

  private static func rewrite(_ node: inout Node, _ sums: [Sum?]) {
    for index in node.op.addressOperands(operandCount: node.operands.count) {
      guard let id = node.operands[index].valueID, let sum = sums[id.index],
        let op = node.op.adding(sum.offset, toAddress: index, of: node)
      else { continue }
      var operands = node.operands
      operands[index] = sum.base
      node.replace(op, operands: operands)
    }
  }

  /// `base ± constant` of an address type with an immutable base.
  private static func sum(of node: Node, _ values: [ValueInfo]) -> Sum? {
    guard node.operands.count == 2, node.results.count == 1, case .arithmetic(let op) = node.op,
      op == .add || op == .sub
    else { return nil }
    let type = values.type(of: node.operands[0])
    guard type == .u32 || type == .u64 else { return nil }
    func signed(_ constant: Constant) -> Int {
      type == .u32
        ? Int(Int32(bitPattern: constant.low32)) : Int(truncatingIfNeeded: constant.bits)
    }
    if let constant = node.operands[1].constant, values.isImmutable(node.operands[0]),
      offsetRange.contains(signed(constant))
    {
      let offset = signed(constant)
      return (node.operands[0], op == .add ? offset : -offset)
    }
    if op == .add, let constant = node.operands[0].constant,
      values.isImmutable(node.operands[1]), offsetRange.contains(signed(constant))
    {
      return (node.operands[1], signed(constant))
    }
    return nil
  }
}

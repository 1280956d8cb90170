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

  /// The kernel with folded offsets.
  public static func run(_ kernel: KernelIR) -> KernelIR {
    var sums: [ValueID: (base: Operand, offset: Int)] = [:]
    kernel.body.forEachNode { node, _ in
      guard let result = node.results.first, let sum = sum(of: node, in: kernel) else { return }
      if let id = sum.base.valueID, let inner = sums[id] {
        sums[result] = (inner.base, inner.offset + sum.offset)
      } else {
        sums[result] = sum
      }
    }
    func rewrite(_ region: Region) -> Region {
      Region(
        region.nodes.map { node in
          var node = node
          for index in node.op.addressOperands(operandCount: node.operands.count) {
            guard let id = node.operands[index].valueID, let sum = sums[id],
              let op = node.op.adding(sum.offset, toAddress: index, of: node)
            else { continue }
            node.op = op
            node.operands[index] = sum.base
          }
          node.regions = node.regions.map(rewrite)
          return node
        })
    }
    var result = kernel
    result.body = rewrite(kernel.body)
    return result
  }

  /// `base ± constant` of an address type with an immutable base.
  private static func sum(of node: Node, in kernel: KernelIR) -> (base: Operand, offset: Int)? {
    guard node.operands.count == 2,
      node.op == .arithmetic(.add) || node.op == .arithmetic(.sub)
    else { return nil }
    let type = kernel.type(of: node.operands[0])
    guard type == .u32 || type == .u64 else { return nil }
    func signed(_ constant: Constant) -> Int {
      type == .u32
        ? Int(Int32(bitPattern: constant.low32)) : Int(truncatingIfNeeded: constant.bits)
    }
    if let constant = node.operands[1].constant, kernel.isImmutable(node.operands[0]),
      offsetRange.contains(signed(constant))
    {
      let offset = signed(constant)
      return (node.operands[0], node.op == .arithmetic(.add) ? offset : -offset)
    }
    if node.op == .arithmetic(.add), let constant = node.operands[0].constant,
      kernel.isImmutable(node.operands[1]), offsetRange.contains(signed(constant))
    {
      return (node.operands[1], signed(constant))
    }
    return nil
  }
}

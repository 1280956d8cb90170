/// Which shared allocation each address points into, as far as the code shows it.
///
/// A root starts at `address.shared` and passes through copies, additions, masks, selections,
/// `mapa` and variables as long as exactly one allocation flows in. Addresses computed from one
/// base across allocations get no root: take each allocation's own address.
struct AddressRoots {
  private enum Root: Equatable {
    case known(SharedID)
    case mixed
  }

  private var roots: [ValueID: Root] = [:]

  init(_ kernel: KernelIR) {
    // Variables feed back through loops: repeat until no root changes; each changes at most twice.
    var isStable = false
    while !isStable {
      let before = roots
      kernel.body.forEachNode { node, _ in
        guard let result = node.results.first, let root = root(of: node) else { return }
        if let old = roots[result], old != root {
          roots[result] = .mixed
        } else {
          roots[result] = root
        }
      }
      isStable = roots == before
    }
  }

  private func root(of node: Node) -> Root? {
    switch node.op {
    case .memory(.sharedAddress(let id, _)): return .known(id)
    case .movement(.copy), .movement(.variable), .movement(.assign), .movement(.select),
      .arithmetic(.add), .arithmetic(.sub), .arithmetic(.mad), .bits(.and), .bits(.or),
      .bits(.xor), .memory(.mapa), .warp(.shfl):
      let incoming = node.operands.compactMap(\.valueID).compactMap { roots[$0] }
      guard let first = incoming.first else { return nil }
      return incoming.allSatisfy { $0 == first } ? first : .mixed
    default: return nil
    }
  }

  /// The allocation an operand points into, nil if unknown.
  subscript(operand: Operand) -> SharedID? {
    guard let id = operand.valueID, case .known(let shared) = roots[id] else { return nil }
    return shared
  }
}

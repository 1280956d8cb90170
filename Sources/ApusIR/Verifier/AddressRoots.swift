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

  private var roots: [Root?]

  init(_ kernel: KernelIR) {
    roots = Array(repeating: nil, count: kernel.values.count)
    // Variables feed back through loops: repeat until no root changes; each changes at most twice.
    // Shared addresses have 32 bits.
    var carriers: [Node] = []
    kernel.body.forEachNode { node, _ in
      guard node.op.carriesAddress, let result = node.results.first,
        kernel.values[result.index].type.bitWidth == 32
      else { return }
      carriers.append(node)
    }
    var isStable = false
    while !isStable {
      isStable = true
      for node in carriers {
        guard let result = node.results.first, let root = root(of: node) else { continue }
        let old = roots[result.index]
        let new = old == nil || old == root ? root : .mixed
        if old != new {
          roots[result.index] = new
          isStable = false
        }
      }
    }
  }

  private func root(of node: Node) -> Root? {
    switch node.op {
    case .memory(.sharedAddress(let id, _)): return .known(id)
    default:
      var found: Root?
      for operand in node.operands {
        guard let id = operand.valueID, let root = roots[id.index] else { continue }
        if let found, found != root { return .mixed }
        found = root
      }
      return found
    }
  }

  /// The allocation an operand points into, nil if unknown.
  subscript(operand: Operand) -> SharedID? {
    guard let id = operand.valueID, case .known(let shared) = roots[id.index] else { return nil }
    return shared
  }
}

extension Op {
  /// Whether the result may point where an operand does, or is an address itself.
  fileprivate var carriesAddress: Bool {
    switch self {
    case .memory(.sharedAddress), .movement(.copy), .movement(.variable), .movement(.assign),
      .movement(.select), .arithmetic(.add), .arithmetic(.sub), .arithmetic(.mad), .bits(.and),
      .bits(.or), .bits(.xor), .memory(.mapa), .warp(.shfl):
      true
    default: false
    }
  }
}

public import ApusIR

/// Lets readers of a variable's snapshot read the variable itself where it still has that content.
///
/// `Variable.value` is a copy, so that Swift code may hold it across later assignments. Most copies
/// are used at once; they would only cost a node each.
///
/// Why it is right: a copy goes only if every reader stands in the copy's own region, or nested
/// inside, and no node between the copy and the last reader writes the variable; that last reader
/// may write it itself, as it reads first, but only as a node without regions. A `wgmma` that names
/// the variable or the copy ends the window too: its registers rest while it is in flight.
public enum SnapshotForwarding: Pass {
  /// The name in listings.
  public static let name = "snapshot forwarding"

  /// The kernel with forwarded snapshots; their copies are gone.
  public static func run(_ kernel: KernelIR) -> KernelIR {
    var forwarder = Forwarder(kernel: kernel)
    var result = kernel
    result.body = forwarder.forward(kernel.body)
    return result
  }

  private struct Forwarder {
    let kernel: KernelIR
    var readers: [Int]
    var replacements: [ValueID: ValueID] = [:]

    init(kernel: KernelIR) {
      self.kernel = kernel
      var readers = Array(repeating: 0, count: kernel.values.count)
      kernel.body.forEachNode { node, _ in
        for id in node.operands.compactMap(\.valueID) { readers[id.index] += 1 }
      }
      self.readers = readers
    }

    mutating func forward(_ region: Region) -> Region {
      var nodes: [Node] = []
      nodes.reserveCapacity(region.nodes.count)
      for (index, var node) in region.nodes.enumerated() {
        if node.op == .movement(.copy), let source = node.operands.first?.valueID,
          let copy = node.results.first, kernel[source].kind == .variable,
          canForward(copy, of: source, in: region, from: index + 1)
        {
          replacements[copy] = source
          continue
        }
        for operand in node.operands.indices {
          if let id = node.operands[operand].valueID, let source = replacements[id] {
            node.operands[operand] = .value(source)
          }
        }
        node.regions = node.regions.map { forward($0) }
        nodes.append(node)
      }
      return Region(nodes)
    }

    private func canForward(
      _ copy: ValueID, of source: ValueID, in region: Region, from start: Int
    ) -> Bool {
      var left = readers[copy.index]
      for node in region.nodes[start...] {
        let reads = count(copy, in: node)
        if Self.disturbs(source, copy, node) {
          return node.regions.isEmpty && node.op == .movement(.assign) && reads == left
        }
        left -= reads
        if left == 0 { return true }
      }
      return false
    }

    private func count(_ copy: ValueID, in node: Node) -> Int {
      node.operands.reduce(0) { $0 + ($1.valueID == copy ? 1 : 0) }
        + node.regions.reduce(0) { total, region in
          region.nodes.reduce(total) { $0 + count(copy, in: $1) }
        }
    }

    private static func disturbs(
      _ variable: ValueID, _ copy: ValueID, _ node: Node
    ) -> Bool {
      if node.results.contains(variable) { return true }
      if case .tensorCore(.wgmma) = node.op {
        return node.operands.contains(.value(variable)) || node.operands.contains(.value(copy))
      }
      return node.regions.contains { $0.nodes.contains { disturbs(variable, copy, $0) } }
    }
  }
}

/// Drops nodes without effect whose results nothing reads, variables nothing reads, and branches
/// without nodes.
///
/// Why it is right: a removable node (`Op.isRemovable`) does nothing but write its results, so
/// without readers it does nothing. An `assign` or declaration writes one variable and nothing
/// else; in-place ops read their accumulators, so those count as read. A branch with empty regions
/// evaluates a predicate that is already there. Loops stay: they may not end. Collective nodes go
/// in all lanes at once. A dropped node frees its operands, whose nodes stand before it: one round
/// from the end finds them. Writes of a variable may stand after its last reader: another round.
public enum DeadCode: Pass {
  /// The name in listings.
  public static let name = "dead code"

  /// Drops the kernel's dead nodes.
  public static func apply(to kernel: inout KernelIR, knowing facts: KernelFacts) {
    var sweeper = Sweeper(kernel)
    while sweeper.isUnstable {
      sweeper.isUnstable = false
      sweeper.sweep(&kernel.body)
    }
  }

  private struct Sweeper {
    let values: [ValueInfo]
    /// Operands that read each value.
    var reads: [Int]
    /// Whether a variable lost its last reader in this round: its writes may have been passed.
    var isUnstable = true

    init(_ kernel: KernelIR) {
      values = kernel.values
      var reads = Array(repeating: 0, count: values.count)
      kernel.body.forEachNode { node, _ in
        for operand in node.operands {
          if let id = operand.valueID { reads[id.index] += 1 }
        }
      }
      self.reads = reads
    }

    /// Backwards, so that a node's readers go before it is looked at.
    mutating func sweep(_ region: inout Region) {
      var kept = region.nodes.count
      for index in region.nodes.indices.reversed() {
        if region.nodes[index].hasRegions {
          for inner in region.nodes[index].regions.indices.reversed() {
            sweep(&region.nodes[index].regions[inner])
          }
        }
        if isDead(region.nodes[index]) {
          release(region.nodes[index].operands)
        } else {
          kept -= 1
          if kept != index { region.nodes.swapAt(kept, index) }
        }
      }
      region.nodes.removeSubrange(..<kept)
    }

    private mutating func release(_ operands: [Operand]) {
      for operand in operands {
        guard let id = operand.valueID else { continue }
        reads[id.index] -= 1
        if reads[id.index] == 0, values[id.index].kind == .variable { isUnstable = true }
      }
    }

    private func isDead(_ node: Node) -> Bool {
      switch node.op {
      case .control(.if): node.regions.allSatisfy { $0.nodes.isEmpty }
      case .movement(.variable), .movement(.assign): !isRead(node.results)
      default: node.op.isRemovable && !isRead(node.results)
      }
    }

    private func isRead(_ results: [ValueID]) -> Bool {
      results.contains { reads[$0.index] > 0 }
    }
  }
}

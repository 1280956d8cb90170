package import ApusIR

/// A kernel with one deliberate mistake in its synchronisation.
///
/// Tests that a mistake is noticed are made of these: a kernel's waits, fences, arrivals and
/// barriers are taken away one at a time, and the verifier or the simulator must object.
package struct KernelMutation: Sendable {
  /// What was done to the op.
  package enum Change: Sendable, Hashable {
    /// The op is missing.
    case removed
    /// A wait for the other parity.
    case parityFlipped
    /// 16 bytes more are announced than arrive.
    case moreBytes
    /// 16 bytes fewer are announced than arrive.
    case fewerBytes
    /// One more arrival is expected than comes.
    case moreArrivals
    /// One arrival fewer completes a phase.
    case fewerArrivals
    /// One more group may be incomplete after the wait.
    case weakerWait
  }

  /// What was done.
  package var change: Change
  /// Mnemonic of the op.
  package var operation: String
  /// Number of the op in program order, for kernels that make several at one line.
  package var position: Int
  /// The Swift line that emitted it.
  package var location: SourceLocation
  /// The kernel with the mistake.
  package var kernel: KernelIR

  /// All mutants of a kernel, in program order.
  package static func all(of kernel: KernelIR) -> [KernelMutation] {
    var collector = Collector(kernel: kernel)
    collector.visit(kernel.body) { $0 }
    return collector.mutations
  }
}

extension KernelMutation: CustomStringConvertible {
  /// `mbarrier.wait parityFlipped at Ring.swift:31 (op 12)`.
  package var description: String { "\(operation) \(change) at \(location) (op \(position))" }
}

/// Walks a body and rebuilds it around each replaced node.
private struct Collector {
  let kernel: KernelIR
  var mutations: [KernelMutation] = []
  var position = 0

  init(kernel: KernelIR) { self.kernel = kernel }

  mutating func visit(_ region: Region, _ rebuild: (Region) -> Region) {
    for (index, node) in region.nodes.enumerated() {
      position += 1
      func body(_ replacement: [Node]) -> Region {
        var copy = region
        copy.nodes.replaceSubrange(index...index, with: replacement)
        return rebuild(copy)
      }
      mutate(node, body)
      for number in node.regions.indices {
        visit(node.regions[number]) { inner in
          var copy = node
          copy.regions[number] = inner
          return body([copy])
        }
      }
    }
  }

  private mutating func add(
    _ change: KernelMutation.Change, _ node: Node, _ body: Region, values: [ValueInfo] = []
  ) {
    var copy = kernel
    copy.values += values
    copy.body = body
    mutations.append(
      KernelMutation(
        change: change, operation: node.op.mnemonic, position: position, location: node.location,
        kernel: copy))
  }

  /// The node behind one more, which combines operand `index` with a constant.
  private mutating func add(
    _ change: KernelMutation.Change, _ node: Node, operand index: Int, _ op: Op, _ constant: UInt32,
    _ body: ([Node]) -> Region
  ) {
    let type = kernel.type(of: node.operands[index])
    let value = ValueID(kernel.values.count)
    let pattern: Constant = type == .s32 ? .s32(Int32(bitPattern: constant)) : .u32(constant)
    var copy = node
    copy.operands[index] = .value(value)
    let before = Node(
      op, operands: [node.operands[index], .constant(pattern)], results: [value],
      location: node.location)
    add(
      change, node, body([before, copy]),
      values: [ValueInfo(type: type, location: node.location)])
  }

  private mutating func replace(
    _ change: KernelMutation.Change, _ node: Node, _ op: Op, _ body: ([Node]) -> Region
  ) {
    var copy = node
    copy.op = op
    add(change, node, body([copy]))
  }

  private mutating func mutate(_ node: Node, _ body: ([Node]) -> Region) {
    switch node.op {
    case .synchronisation(let op): mutate(op, node, body)
    case .warp(.syncWarp): add(.removed, node, body([]))
    case .copy(.asyncCommit), .copy(.asyncArrive), .copy(.bulkCommit):
      add(.removed, node, body([]))
    case .copy(.asyncWait(let pending)):
      add(.removed, node, body([]))
      replace(.weakerWait, node, .copy(.asyncWait(pending: pending + 1)), body)
    case .copy(.bulkWait(let pending, let isReadOnly)):
      add(.removed, node, body([]))
      replace(
        .weakerWait, node, .copy(.bulkWait(pending: pending + 1, isReadOnly: isReadOnly)), body)
    case .tensorCore(.wgmmaFence), .tensorCore(.wgmmaCommit): add(.removed, node, body([]))
    case .tensorCore(.wgmmaWait(let pending)):
      add(.removed, node, body([]))
      if pending < 7 {
        replace(.weakerWait, node, .tensorCore(.wgmmaWait(pending: pending + 1)), body)
      }
    default: break
    }
  }

  private mutating func mutate(
    _ op: Op.Synchronisation, _ node: Node, _ body: ([Node]) -> Region
  ) {
    switch op {
    case .barrierSync, .barrierArrive, .fence, .clusterArrive, .clusterWait, .mbarrierArrive:
      add(.removed, node, body([]))
    case .mbarrierInit:
      add(.removed, node, body([]))
      add(.moreArrivals, node, operand: 1, .arithmetic(.add), 1, body)
      if node.operands[1] != .constant(.u32(1)) {
        add(.fewerArrivals, node, operand: 1, .arithmetic(.sub), 1, body)
      }
    case .mbarrierArriveExpect, .mbarrierExpect:
      add(.removed, node, body([]))
      add(.moreBytes, node, operand: 1, .arithmetic(.add), 16, body)
      add(.fewerBytes, node, operand: 1, .arithmetic(.sub), 16, body)
    case .mbarrierWait:
      add(.removed, node, body([]))
      add(.parityFlipped, node, operand: 1, .bits(.xor), 1, body)
    case .mbarrierTest: add(.parityFlipped, node, operand: 1, .bits(.xor), 1, body)
    // Ends the use of a barrier: without it nothing happens.
    case .mbarrierInvalidate: break
    // Noticed by runs with `SimulationOptions.overlapsPredecessor`.
    case .gridDependencyWait: add(.removed, node, body([]))
    // Lets others start earlier: nothing waits for it.
    case .gridDependencyLaunch: break
    }
  }
}

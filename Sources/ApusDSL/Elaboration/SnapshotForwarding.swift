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

  /// Forwards the kernel's snapshots; their copies go.
  public static func apply(to kernel: inout KernelIR, knowing facts: KernelFacts) {
    var analysis = Analysis(kernel)
    analysis.walk(kernel.body, depth: 0)
    rewrite(&kernel.body, analysis.sources)
  }

  private static func rewrite(_ region: inout Region, _ sources: [ValueID?]) {
    var kept = 0
    for index in region.nodes.indices {
      let isAffected = region.nodes[index].unretained { node in
        if isForwarded(node, sources) { return Bool?.none }
        for operand in node.operands where isForwarded(operand, sources) { return true }
        return false
      }
      guard let isAffected else { continue }
      if isAffected {
        let operands = region.nodes[index].operands
        region.nodes[index].operands = operands.map { operand in
          operand.valueID.flatMap { sources[$0.index] }.map(Operand.value) ?? operand
        }
      }
      if region.nodes[index].hasRegions {
        for inner in region.nodes[index].regions.indices {
          rewrite(&region.nodes[index].regions[inner], sources)
        }
      }
      if kept != index { region.nodes.swapAt(kept, index) }
      kept += 1
    }
    region.nodes.removeSubrange(kept...)
  }

  /// Whether the node is a copy that goes.
  private static func isForwarded(_ node: Node, _ sources: [ValueID?]) -> Bool {
    guard case .movement(.copy) = node.op, let copy = node.results.first else { return false }
    return sources[copy.index] != nil
  }

  private static func isForwarded(_ operand: Operand, _ sources: [ValueID?]) -> Bool {
    guard case .value(let id) = operand else { return false }
    return sources[id.index] != nil
  }

  /// A copy whose readers are being counted down.
  private struct Snapshot {
    let copy: ValueID
    let source: ValueID
    let depth: Int
    var readersLeft: Int
    var isOpen = true
  }

  /// One walk over the kernel: each node counts its reads of snapshots, and its writes end those
  /// of the variable.
  private struct Analysis {
    /// By copy: the variable that its readers may read.
    private(set) var sources: [ValueID?]
    private let values: [ValueInfo]
    private var readers: [Int]
    private var snapshots: [Snapshot] = []
    /// By copy, its place in `snapshots`; -1 for none.
    private var places: [Int]
    /// By variable, the places of its open snapshots.
    private var open: [[Int]]
    /// Places of open snapshots that were read for the last time in a nested region.
    private var finished: [Int] = []

    init(_ kernel: KernelIR) {
      values = kernel.values
      sources = Array(repeating: nil, count: values.count)
      places = Array(repeating: -1, count: values.count)
      open = Array(repeating: [], count: values.count)
      var readers = Array(repeating: 0, count: values.count)
      kernel.body.forEachNode { node, _ in
        for operand in node.operands {
          if let id = operand.valueID { readers[id.index] += 1 }
        }
      }
      self.readers = readers
    }

    mutating func walk(_ region: Region, depth: Int) {
      let first = snapshots.count
      for index in region.nodes.indices {
        region.nodes[index].unretained { visit($0, depth) }
      }
      for place in first..<snapshots.count where snapshots[place].isOpen { close(place, false) }
    }

    private mutating func visit(_ node: Node, _ depth: Int) {
      var isProduct = false
      if case .tensorCore(.wgmma) = node.op { isProduct = true }
      for operand in node.operands {
        guard let id = operand.valueID else { continue }
        let place = places[id.index]
        if place >= 0 { read(place, depth, isProduct) }
        if isProduct { closeAll(of: id, depth, isLastRead: false) }
      }
      var isAssignment = false
      if case .movement(.assign) = node.op { isAssignment = true }
      for id in node.results { closeAll(of: id, depth, isLastRead: isAssignment) }
      if node.hasRegions {
        for region in node.regions { walk(region, depth: depth + 1) }
      }
      if case .movement(.copy) = node.op { begin(node, depth) }
      settle(depth)
    }

    private mutating func begin(_ node: Node, _ depth: Int) {
      guard let source = node.operands.first?.valueID, let copy = node.results.first,
        values[source.index].kind == .variable
      else { return }
      places[copy.index] = snapshots.count
      open[source.index].append(snapshots.count)
      snapshots.append(
        Snapshot(
          copy: copy, source: source, depth: depth, readersLeft: readers[copy.index]))
      if readers[copy.index] == 0 { finished.append(snapshots.count - 1) }
    }

    private mutating func read(_ place: Int, _ depth: Int, _ isProduct: Bool) {
      guard snapshots[place].isOpen else { return }
      if isProduct { return close(place, false) }
      snapshots[place].readersLeft -= 1
      if snapshots[place].readersLeft == 0 { finished.append(place) }
    }

    /// What was read for the last time in the node that ends here, and not disturbed, is done.
    private mutating func settle(_ depth: Int) {
      guard !finished.isEmpty else { return }
      var later: [Int] = []
      for place in finished where snapshots[place].isOpen {
        if snapshots[place].depth == depth { close(place, true) } else { later.append(place) }
      }
      finished = later
    }

    private mutating func closeAll(of variable: ValueID, _ depth: Int, isLastRead: Bool) {
      while let place = open[variable.index].last {
        close(
          place,
          isLastRead && snapshots[place].depth == depth && snapshots[place].readersLeft == 0)
      }
    }

    private mutating func close(_ place: Int, _ isForwarded: Bool) {
      snapshots[place].isOpen = false
      let snapshot = snapshots[place]
      open[snapshot.source.index].removeAll { $0 == place }
      if isForwarded { sources[snapshot.copy.index] = snapshot.source }
    }
  }
}

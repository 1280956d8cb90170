import ApusIR

extension KernelPrinter {
  /// Asynchronous copies. The async proxy's destinations are `.shared::cluster`, to which a
  /// block's own addresses belong.
  mutating func print(_ op: Op.Copy) throws(PTXError) {
    switch op {
    case .async(let copy): try asyncCopy(copy)
    case .asyncCommit: line("cp.async.commit_group")
    case .asyncWait(let pending): line("cp.async.wait_group \(pending)")
    case .asyncArrive(let offset, let isCounted):
      line(
        "cp.async.mbarrier.arrive\(isCounted ? ".noinc" : "").shared.b64 \(try address(0, offset))")
    case .bulkLoad(let access):
      line(
        "cp.async.bulk.shared::cluster.global\(completion(access.isMulticast, access.hasPolicy)) "
          + "\(try address(0, access.destinationOffset)), \(try address(1, access.sourceOffset)), "
          + "\(try operand(2)), \(try address(3, access.barrierOffset))\(try rest(from: 4))")
    case .bulkStore(let access):
      line(
        "cp.async.bulk.global.shared::cta.bulk_group\(hint(access.hasPolicy)) "
          + "\(try address(0, access.destinationOffset)), \(try address(1, access.sourceOffset)), "
          + "\(try operand(2))\(try rest(from: 3))")
    case .bulkCopyToCluster(let access):
      line(
        "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes "
          + "\(try address(0, access.destinationOffset)), \(try address(1, access.sourceOffset)), "
          + "\(try operand(2)), \(try address(3, access.barrierOffset))")
    case .bulkPrefetch(let offset):
      line("cp.async.bulk.prefetch.L2.global \(try address(0, offset)), \(try operand(1))")
    case .bulkCommit: line("cp.async.bulk.commit_group")
    case .bulkWait(let pending, let isReadOnly):
      line("cp.async.bulk.wait_group\(isReadOnly ? ".read" : "") \(pending)")
    case .tensorLoad(let access):
      let rank = access.dimensions
      line(
        "cp.async.bulk.tensor.\(rank)d.shared::cluster.global"
          + "\(completion(access.isMulticast, access.hasPolicy)) "
          + "\(try address(0, access.sharedOffset)), \(try box(map: 1, rank: rank)), "
          + "\(try address(rank + 2, access.barrierOffset))\(try rest(from: rank + 3))")
    case .tensorStore(let access, let reduction):
      let rank = access.dimensions
      let verb =
        reduction.map { "cp.reduce.async.bulk.tensor.\(rank)d.global.shared::cta.\($0)" }
        ?? "cp.async.bulk.tensor.\(rank)d.global.shared::cta"
      line(
        "\(verb).bulk_group\(hint(access.hasPolicy)) \(try box(map: 0, rank: rank)), "
          + "\(try address(rank + 1, access.sharedOffset))\(try rest(from: rank + 2))")
    case .tensorPrefetch(let rank):
      line("cp.async.bulk.prefetch.tensor.\(rank)d.L2.global \(try box(map: 0, rank: rank))")
    case .prefetchTensorMap: line("prefetch.tensormap \(try address(0))")
    case .storeAsync(let offset, let barrierOffset):
      let count = node.operands.count - 2
      let source = count > 1 ? try registers(1..<count + 1) : try register(1)
      line(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes\(count > 1 ? ".v\(count)" : "")"
          + ".\(try type(1).bits) \(try address(0, offset)), \(source), "
          + (try address(count + 1, barrierOffset)))
    }
  }

  private mutating func asyncCopy(_ copy: Op.AsyncCopy) throws(PTXError) {
    var text = "cp.async.\(copy.bypassesL1 ? "cg" : "ca").shared.global"
    text += hint(copy.hasPolicy) + copy.l2Prefetch.suffix
    text += " \(try address(0, copy.destinationOffset)), \(try address(1, copy.sourceOffset)), "
    line("\(text)\(copy.byteCount)\(try rest(from: 2))")
  }

  private func completion(_ isMulticast: Bool, _ hasPolicy: Bool) -> String {
    ".mbarrier::complete_tx::bytes\(isMulticast ? ".multicast::cluster" : "")\(hint(hasPolicy))"
  }

  private func hint(_ hasPolicy: Bool) -> String { hasPolicy ? ".L2::cache_hint" : "" }

  /// `[%d1, {%r1, %r2}]`: a box of a tensor map.
  private mutating func box(map: Int, rank: Int) throws(PTXError) -> String {
    "[\(try register(map)), \(try registers(map + 1..<map + 1 + max(0, rank)))]"
  }

  /// The optional operands behind `index`, each with a comma before it.
  private mutating func rest(from index: Int) throws(PTXError) -> String {
    var text = ""
    for index in index..<max(index, node.operands.count) { text += ", " + (try register(index)) }
    return text
  }
}

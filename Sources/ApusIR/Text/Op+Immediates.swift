extension Op {
  /// Table entries that text shows as leading operands: parameters, allocations, barriers.
  func symbols(in kernel: KernelIR) -> [String] {
    func named<Entry>(_ table: [Entry], _ index: Int, _ name: (Entry) -> String) -> String {
      table.indices.contains(index) ? name(table[index]) : "?\(index)"
    }
    switch self {
    case .memory(.parameter(let id, let offset)):
      return [named(kernel.parameters, id.index, \.name) + plus(offset)]
    case .memory(.parameterAddress(let id)):
      return [named(kernel.parameters, id.index, \.name)]
    case .memory(.sharedAddress(let id, let offset)):
      return [named(kernel.shared, id.index, \.name) + plus(offset)]
    case .synchronisation(.barrierSync(let id)), .synchronisation(.barrierArrive(let id)):
      return [named(kernel.barriers, id.index, \.name)]
    default: return []
    }
  }

  private func plus(_ offset: Int) -> String {
    offset == 0 ? "" : offset > 0 ? "+\(offset)" : "\(offset)"
  }

  /// Immediates that the mnemonic does not show, each `name value`, defaults left out.
  var immediates: [String] {
    var list: [String] = []
    func add(_ name: String, _ value: Int) { if value != 0 { list.append("\(name) \(value)") } }
    func add(members: UInt32) {
      if members != Op.allLanes { list.append("members \(hexadecimal(members))") }
    }
    switch self {
    case .memory(.ld(let access)), .memory(.st(let access)):
      add("offset", access.offset)
      if access.l1 != .normal { list.append("l1 \(access.l1)") }
      if access.l2Prefetch != .none { list.append("l2 \(access.l2Prefetch)") }
    case .memory(.atom(let access)), .memory(.red(let access)): add("offset", access.offset)
    case .memory(.prefetch(_, let offset)): add("offset", offset)
    case .warp(.shfl(_, _, let members)), .warp(.vote(_, let members)),
      .warp(.redux(_, let members)), .warp(.elect(let members)), .warp(.matchAny(let members)),
      .warp(.matchAll(let members)), .warp(.syncWarp(let members)):
      add(members: members)
    case .synchronisation(.mbarrierInit(let offset)),
      .synchronisation(.mbarrierInvalidate(let offset)):
      add("offset", offset)
    case .synchronisation(.mbarrierArrive(let arrive)),
      .synchronisation(.mbarrierArriveExpect(let arrive)),
      .synchronisation(.mbarrierExpect(let arrive)):
      add("offset", arrive.offset)
      if arrive.count != 1 { list.append("count \(arrive.count)") }
    case .synchronisation(.mbarrierWait(let wait)), .synchronisation(.mbarrierTest(let wait)):
      add("offset", wait.offset)
    case .copy(let op): list = op.immediates
    case .tensorCore(.ldmatrix(let access)), .tensorCore(.stmatrix(let access)):
      add("offset", access.offset)
    case .tensorCore(.wgmmaWait(let pending)): list.append("pending \(pending)")
    case .control(.setMaxRegisters(_, let count)): list.append("count \(count)")
    default: break
    }
    return list
  }
}

extension Op.Copy {
  fileprivate var immediates: [String] {
    func offsets(_ pairs: KeyValuePairs<String, Int>) -> [String] {
      pairs.filter { $0.value != 0 }.map { "\($0.key) \($0.value)" }
    }
    switch self {
    case .async(let copy):
      return offsets(["to": copy.destinationOffset, "from": copy.sourceOffset])
        + (copy.l2Prefetch == .none ? [] : ["l2 \(copy.l2Prefetch)"])
    case .asyncWait(let pending), .bulkWait(let pending, _): return ["pending \(pending)"]
    case .asyncArrive(let offset, _), .bulkPrefetch(let offset): return offsets(["offset": offset])
    case .bulkLoad(let access), .bulkStore(let access), .bulkCopyToCluster(let access):
      return offsets([
        "to": access.destinationOffset, "from": access.sourceOffset,
        "barrier": access.barrierOffset,
      ])
    case .tensorLoad(let access), .tensorStore(let access, _):
      return offsets(["shared": access.sharedOffset, "barrier": access.barrierOffset])
    case .storeAsync(let offset, let barrier):
      return offsets(["offset": offset, "barrier": barrier])
    case .asyncCommit, .bulkCommit, .tensorPrefetch, .prefetchTensorMap: return []
    }
  }
}

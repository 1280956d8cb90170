extension Op.MemorySpace: CustomStringConvertible {
  /// PTX's name: `global`, `shared`, `shared::cluster`.
  public var description: String {
    switch self {
    case .global: "global"
    case .shared: "shared"
    case .sharedCluster: "shared::cluster"
    }
  }
}

extension Op.Scope: CustomStringConvertible {
  /// PTX's name: `cta`, `cluster`, `gpu`, `sys`.
  public var description: String {
    switch self {
    case .block: "cta"
    case .cluster: "cluster"
    case .gpu: "gpu"
    case .system: "sys"
    }
  }
}

extension Op.AtomicOrdering: CustomStringConvertible {
  /// PTX's name: `relaxed`, `acquire`, `release`, `acq_rel`.
  public var description: String {
    switch self {
    case .relaxed: "relaxed"
    case .acquire: "acquire"
    case .release: "release"
    case .acquireRelease: "acq_rel"
    }
  }
}

extension Op.AtomicOp: CustomStringConvertible {
  /// PTX's name: `add`, …, `exch`, `cas`.
  public var description: String {
    switch self {
    case .add: "add"
    case .min: "min"
    case .max: "max"
    case .and: "and"
    case .or: "or"
    case .xor: "xor"
    case .inc: "inc"
    case .exchange: "exch"
    case .cas: "cas"
    }
  }
}

extension Op.MemoryAccess {
  fileprivate var modifiers: String {
    let order =
      switch ordering {
      case .weak: ""
      case .relaxed(let scope): ".relaxed.\(scope)"
      case .acquire(let scope): ".acquire.\(scope)"
      case .release(let scope): ".release.\(scope)"
      case .volatile: ".volatile"
      }
    return "\(order).\(space)\(isNonCoherent ? ".nc" : "").\(element)"
  }
}

extension Op.Memory {
  var mnemonic: String {
    switch self {
    case .parameter: "ld.param"
    case .parameterAddress: "address.param"
    case .sharedAddress: "address.shared"
    case .ld(let access): "ld\(access.modifiers)"
    case .st(let access): "st\(access.modifiers)"
    case .atom(let access): "atom.\(access.ordering).\(access.scope).\(access.space).\(access.op)"
    case .red(let access): "red.\(access.ordering).\(access.scope).\(access.space).\(access.op)"
    case .prefetch(let level, _): "prefetch.\(level)"
    case .mapa: "mapa"
    }
  }
}

extension Op.MBarrierArrive {
  fileprivate var modifiers: String {
    let order = ordering == .release && scope == .block ? "" : ".\(ordering).\(scope)"
    return space == .shared ? order : "\(order).\(space)"
  }
}

extension Op.Synchronisation {
  var mnemonic: String {
    switch self {
    case .barrierSync: "bar.sync"
    case .barrierArrive: "bar.arrive"
    case .mbarrierInit: "mbarrier.init"
    case .mbarrierInvalidate: "mbarrier.inval"
    case .mbarrierArrive(let arrive): "mbarrier.arrive\(arrive.modifiers)"
    case .mbarrierArriveExpect(let arrive): "mbarrier.arrive.expect_tx\(arrive.modifiers)"
    case .mbarrierExpect(let arrive): "mbarrier.expect_tx\(arrive.modifiers)"
    case .mbarrierWait(let wait):
      wait.scope == .block ? "mbarrier.wait" : "mbarrier.wait.\(wait.scope)"
    case .mbarrierTest(let wait):
      wait.scope == .block ? "mbarrier.test" : "mbarrier.test.\(wait.scope)"
    case .fence(.acquireRelease(let scope)): "fence.acq_rel.\(scope)"
    case .fence(.sequential(let scope)): "fence.sc.\(scope)"
    case .fence(.proxyAsync(let space)): "fence.proxy.async.\(space)"
    case .fence(.mbarrierInit): "fence.mbarrier_init"
    case .clusterArrive(let ordering): "barrier.cluster.arrive.\(ordering)"
    case .clusterWait: "barrier.cluster.wait"
    case .gridDependencyWait: "griddepcontrol.wait"
    case .gridDependencyLaunch: "griddepcontrol.launch_dependents"
    }
  }
}

extension Op.Copy {
  var mnemonic: String {
    switch self {
    case .async(let copy): "cp.async.\(copy.bypassesL1 ? "cg" : "ca").\(copy.byteCount)"
    case .asyncCommit: "cp.async.commit_group"
    case .asyncWait: "cp.async.wait_group"
    case .asyncArrive(_, let isCounted): "cp.async.mbarrier.arrive\(isCounted ? ".noinc" : "")"
    case .bulkLoad(let access): "cp.async.bulk.load\(access.isMulticast ? ".multicast" : "")"
    case .bulkStore: "cp.async.bulk.store"
    case .bulkCopyToCluster: "cp.async.bulk.to_cluster"
    case .bulkPrefetch: "cp.async.bulk.prefetch"
    case .bulkCommit: "cp.async.bulk.commit_group"
    case .bulkWait(_, let isReadOnly): "cp.async.bulk.wait_group\(isReadOnly ? ".read" : "")"
    case .tensorLoad(let access):
      "cp.async.bulk.tensor.\(access.dimensions)d.load\(access.isMulticast ? ".multicast" : "")"
    case .tensorStore(let access, let reduction):
      "cp.async.bulk.tensor.\(access.dimensions)d.\(reduction.map { "reduce.\($0)" } ?? "store")"
    case .tensorPrefetch(let dimensions): "cp.async.bulk.prefetch.tensor.\(dimensions)d"
    case .prefetchTensorMap: "prefetch.tensormap"
    case .storeAsync: "st.async"
    }
  }
}

extension Op.TensorCore {
  var mnemonic: String {
    switch self {
    case .ldmatrix(let access): "ldmatrix\(access.modifiers)"
    case .stmatrix(let access): "stmatrix\(access.modifiers)"
    case .mma(let shape):
      "mma.m16n8k\(shape.k).\(shape.accumulator).\(shape.a).\(shape.b)"
    case .wgmma(let shape):
      "wgmma.m64n\(shape.n)k\(shape.k).\(shape.accumulator).\(shape.a).\(shape.b)"
        + (shape.aInRegisters ? ".rs" : ".ss")
        + (shape.transposesA ? ".ta" : "") + (shape.transposesB ? ".tb" : "")
        + (shape.negatesA ? ".na" : "") + (shape.negatesB ? ".nb" : "")
    case .wgmmaFence: "wgmma.fence"
    case .wgmmaCommit: "wgmma.commit_group"
    case .wgmmaWait: "wgmma.wait_group"
    }
  }
}

extension Op.MatrixAccess {
  fileprivate var modifiers: String { ".x\(count)\(isTransposed ? ".trans" : "")" }
}

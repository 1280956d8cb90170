/// The least PTX version and GPU that a node needs.
public struct Requirements: Sendable, Hashable, CustomStringConvertible {
  /// The first PTX version with the instruction.
  public var version: PTXVersion
  /// The first target with the instruction.
  public var target: Target

  /// A requirement.
  public init(_ version: PTXVersion, _ target: Target) {
    self.version = version
    self.target = target
  }

  /// What every supported GPU has.
  public static let base = Requirements(PTXVersion(7, 0), .sm80)

  /// The later version and the newer target of both.
  public func union(_ other: Requirements) -> Requirements {
    Requirements(Swift.max(version, other.version), Swift.max(target, other.target))
  }

  /// `PTX 8.0, sm_90a`.
  public var description: String { "PTX \(version), \(target)" }
}

extension Node {
  /// What the node itself needs; nested regions are not included. Source: the *PTX ISA Notes* and
  /// *Target ISA Notes* of each instruction's section. Ops that every target gets through another
  /// instruction (bf16 widening, `mbarrierWait` by polling) count as that instruction.
  ///
  /// - Parameter types: the operand types, which decide for packed bf16.
  public func requirements(operandTypes types: [ValueType]) -> Requirements {
    requirements { types.contains($0) }
  }

  /// What the node itself needs, its values from a kernel's table.
  public func requirements(values: [ValueInfo]) -> Requirements {
    requirements { type in operands.contains { values.type(of: $0) == type } }
  }

  /// Asks for operand types only where they decide: most nodes of a kernel need nothing.
  @inline(__always)
  private func requirements(hasOperand: (ValueType) -> Bool) -> Requirements {
    var isBF16: Bool { hasOperand(.bf16x2) || hasOperand(.bf16) }
    let hopper = Requirements(PTXVersion(7, 8), .sm90a)
    let hopper80 = Requirements(PTXVersion(8, 0), .sm90a)
    switch op {
    case .movement: return .base
    case .bits(.setp): return isBF16 ? hopper : .base
    case .bits: return .base
    case .special(let register):
      switch register {
      case .clusterIndex, .clusterCount, .clusterRank, .clusterSize: return hopper
      default: return .base
      }
    case .arithmetic(let op):
      switch op {
      case .add, .sub, .mul: return isBF16 ? hopper : .base
      case .approximate(.ex2), .approximate(.tanh): return isBF16 ? hopper : .base
      case .packed16: return hopper80
      default: return .base
      }
    case .conversion(let op):
      switch op {
      case .narrowFP8, .widenFP8: return Requirements(PTXVersion(8, 1), .sm89)
      default: return .base
      }
    case .memory(let op): return op.requirements(count: operands.count) { hasOperand(.bf16x2) }
    case .warp(.elect): return hopper80
    case .warp(.movmatrix): return Requirements(PTXVersion(7, 8), .sm80)
    case .warp: return .base
    case .synchronisation(let op): return op.requirements
    case .copy(let op): return op.requirements
    case .tensorCore(let op): return op.requirements
    case .control(.setMaxRegisters): return hopper80
    case .control: return .base
    }
  }
}

extension KernelIR {
  /// What the whole kernel needs: the union over its nodes, and 7.8 on sm_90a for clusters.
  /// Register budgets of roles are dropped on older targets and do not count.
  public var requirements: Requirements {
    var all = Requirements.base
    if launch.clusterSize > 1 { all = all.union(Requirements(PTXVersion(7, 8), .sm90a)) }
    body.forEachNode { node, _ in
      all = all.union(node.requirements(values: values))
    }
    return all
  }

  /// The PTX version to print for a target: the least that has the target and, on it, the
  /// kernel's instructions.
  public func ptxVersion(for target: Target) -> PTXVersion {
    var version = target.minimumPTXVersion
    if launch.clusterSize > 1 { version = max(version, PTXVersion(7, 8)) }
    body.forEachNode { node, _ in
      version = max(version, node.minimumVersion(values: values, on: target))
    }
    return version
  }
}

extension Node {
  /// The first PTX version with the instruction on one target. Hopper had the FP8 conversions in
  /// 7.8, three versions before Ada; all else arrived everywhere at once.
  public func minimumVersion(operandTypes types: [ValueType], on target: Target) -> PTXVersion {
    switch op {
    case .conversion(.narrowFP8), .conversion(.widenFP8):
      target == .sm90a ? PTXVersion(7, 8) : PTXVersion(8, 1)
    default: requirements(operandTypes: types).version
    }
  }

  /// The first PTX version with the instruction on one target, its values from a kernel's table.
  public func minimumVersion(values: [ValueInfo], on target: Target) -> PTXVersion {
    minimumVersion(requirements(values: values), on: target)
  }

  /// The first PTX version with the instruction on one target, given what the node needs.
  public func minimumVersion(_ needs: Requirements, on target: Target) -> PTXVersion {
    switch op {
    case .conversion(.narrowFP8), .conversion(.widenFP8):
      minimumVersion(operandTypes: [], on: target)
    default: needs.version
    }
  }
}

extension Op.Memory {
  fileprivate func requirements(count: Int, hasBF16x2: () -> Bool) -> Requirements {
    switch self {
    case .ld(let access), .st(let access):
      var need = Requirements.base
      if access.l1 != .normal || access.l2Prefetch != .none || access.hasPolicy {
        need = Requirements(PTXVersion(7, 4), .sm80)
      }
      if access.space == .sharedCluster || access.ordering.scope == .cluster {
        need = need.union(Requirements(PTXVersion(7, 8), .sm90a))
      }
      return need
    case .atom(let access), .red(let access):
      let isHopper =
        access.space == .sharedCluster || access.scope == .cluster || hasBF16x2()
      let isVector = if case .red = self { count > 2 } else { false }
      if isVector { return Requirements(PTXVersion(8, 1), .sm90a) }
      return isHopper ? Requirements(PTXVersion(7, 8), .sm90a) : .base
    case .mapa: return Requirements(PTXVersion(7, 8), .sm90a)
    case .parameterAddress: return Requirements(PTXVersion(7, 7), .sm80)
    case .parameter, .sharedAddress, .prefetch: return .base
    }
  }
}

extension Op.Ordering {
  /// The scope of an ordered access.
  public var scope: Op.Scope? {
    switch self {
    case .weak, .volatile: nil
    case .relaxed(let scope), .acquire(let scope), .release(let scope): scope
    }
  }
}

extension Op.Synchronisation {
  fileprivate var requirements: Requirements {
    let hopper = Requirements(PTXVersion(7, 8), .sm90a)
    let hopper80 = Requirements(PTXVersion(8, 0), .sm90a)
    let relaxedArrival = Requirements(PTXVersion(8, 6), .sm90a)
    switch self {
    case .barrierSync, .barrierArrive, .mbarrierInit, .mbarrierInvalidate: return .base
    case .mbarrierArrive(let arrive):
      if arrive.ordering == .relaxed { return relaxedArrival }
      if arrive.space == .sharedCluster || arrive.scope != .block { return hopper80 }
      return arrive.count == 1 ? Requirements(PTXVersion(7, 1), .sm80) : hopper
    case .mbarrierArriveExpect(let arrive):
      return arrive.ordering == .relaxed ? relaxedArrival : hopper80
    case .mbarrierExpect: return hopper80
    case .mbarrierWait(let wait), .mbarrierTest(let wait):
      return wait.scope == .block ? Requirements(PTXVersion(7, 1), .sm80) : hopper80
    case .fence(.acquireRelease(let scope)), .fence(.sequential(let scope)):
      return scope == .cluster ? hopper : .base
    case .fence(.proxyAsync), .fence(.mbarrierInit), .clusterArrive, .clusterWait: return hopper80
    case .gridDependencyWait, .gridDependencyLaunch: return hopper
    }
  }
}

extension Op.Copy {
  fileprivate var requirements: Requirements {
    switch self {
    case .async(let copy):
      copy.hasPolicy || copy.l2Prefetch != .none
        ? Requirements(PTXVersion(7, 4), .sm80) : .base
    case .asyncCommit, .asyncWait, .asyncArrive: .base
    case .storeAsync: Requirements(PTXVersion(8, 1), .sm90a)
    case .bulkLoad, .bulkStore, .bulkCopyToCluster, .bulkPrefetch, .bulkCommit, .bulkWait,
      .tensorLoad, .tensorStore, .tensorPrefetch, .prefetchTensorMap:
      Requirements(PTXVersion(8, 0), .sm90a)
    }
  }
}

extension Op.TensorCore {
  fileprivate var requirements: Requirements {
    switch self {
    case .ldmatrix: .base
    case .stmatrix: Requirements(PTXVersion(7, 8), .sm90a)
    case .mma(let shape):
      if !shape.a.isFP8 {
        .base
      } else {
        Requirements(shape.accumulator == .f32 ? PTXVersion(8, 4) : PTXVersion(8, 7), .sm89)
      }
    case .wgmma, .wgmmaFence, .wgmmaCommit, .wgmmaWait: Requirements(PTXVersion(8, 0), .sm90a)
    }
  }
}

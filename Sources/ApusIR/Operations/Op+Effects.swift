extension Op {
  /// Whether the results are a function of the operands alone and nothing else happens: such a
  /// node can be folded, shared, moved to where its operands are known, or dropped when unused.
  /// An operand that is a variable still ties the node to its place.
  public var isPure: Bool {
    switch self {
    case .movement(let op):
      switch op {
      case .variable, .assign: false
      case .copy, .select, .bitcast, .pack, .unpack: true
      }
    case .arithmetic, .bits, .conversion: true
    case .special(let register): !register.isVolatile
    case .memory(let op):
      switch op {
      case .parameter, .parameterAddress, .sharedAddress, .mapa: true
      case .ld, .st, .atom, .red, .prefetch: false
      }
    case .warp, .synchronisation, .copy, .tensorCore, .control: false
    }
  }

  /// Whether a node may be dropped when nothing reads its results: pure ops, weak loads, volatile
  /// registers, lane exchanges, fragment loads. (A collective op is dropped in all its lanes.)
  public var isRemovable: Bool {
    if isPure { return true }
    switch self {
    case .special: return true
    case .memory(.ld(let access)): return access.ordering == .weak
    case .warp(.syncWarp): return false
    case .warp: return true
    case .tensorCore(.ldmatrix): return true
    case .synchronisation(.mbarrierTest): return false
    default: return false
    }
  }

  /// Whether several lanes take part in one execution, so that all must reach it together.
  public var isCollective: Bool {
    switch self {
    case .warp, .tensorCore: true
    case .synchronisation(let op):
      switch op {
      case .barrierSync, .barrierArrive, .clusterArrive, .clusterWait: true
      default: false
      }
    case .control(.setMaxRegisters), .control(.roles): true
    default: false
    }
  }

  /// Whether a warp may have to wait here for what other warps or copies do.
  public var isBlocking: Bool {
    switch self {
    case .synchronisation(let op):
      switch op {
      case .barrierSync, .mbarrierWait, .clusterWait, .gridDependencyWait: true
      default: false
      }
    case .copy(.asyncWait), .copy(.bulkWait), .tensorCore(.wgmmaWait): true
    case .control(.setMaxRegisters(.increase, _)): true
    default: false
    }
  }

  /// The number of leading operands that are updated in place and repeated as results.
  public var inPlaceCount: Int {
    switch self {
    case .tensorCore(.mma(let shape)): shape.accumulatorCount
    case .tensorCore(.wgmma(let shape)): shape.accumulatorCount
    default: 0
    }
  }

  /// The number of regions a node of this op has; two values where an else is optional.
  public var regionCounts: ClosedRange<Int> {
    switch self {
    case .control(.if(let form)): form == .predicated ? 1...1 : 1...2
    case .control(.loop): 1...1
    case .control(.roles(let roles)): roles.count...roles.count
    default: 0...0
    }
  }
}

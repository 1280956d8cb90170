internal import ApusCore
internal import ApusNumerics

extension AttentionCase {
  /// One step towards another case: takes one of its features over.
  struct Adoption: Sendable {
    /// The feature.
    let name: String
    fileprivate let body: @Sendable (inout AttentionCase, AttentionCase) -> Void
  }

  /// Steps of which some make a case run the kernels of another one with the same use; all of them
  /// leave a case that differs in its data alone.
  static let adoptions: [Adoption] = [
    Adoption(name: "kv heads") { value, leader in
      value.resize(heads: leader.shape.kvHeadCount, group: value.shape.groupSize)
    },
    Adoption(name: "group size") { value, leader in
      value.resize(heads: value.shape.kvHeadCount, group: leader.shape.groupSize)
    },
    Adoption(name: "nearly its lengths") { value, leader in
      // Up to three keys fewer in each request.
      let fewer = value.kvLengths.reduce(1, &+)
      value.qoLengths = leader.qoLengths
      value.kvLengths = leader.kvLengths.indices.map {
        Swift.max(0, leader.kvLengths[$0] - (fewer &+ $0) % 4)
      }
    },
    Adoption(name: "lengths") { value, leader in
      value.qoLengths = leader.qoLengths
      value.kvLengths = leader.kvLengths
    },
    Adoption(name: "pages") { value, leader in
      if (value.form.pageSize == nil) != (leader.form.pageSize == nil) { value.form = leader.form }
    },
    Adoption(name: "form") { value, leader in value.form = leader.form },
    Adoption(name: "layout") { value, leader in value.layout = leader.layout },
    Adoption(name: "tensors") { value, leader in
      value.isCombined = leader.isCombined
      value.hasSplitQueries = leader.hasSplitQueries
    },
    Adoption(name: "shared pages") { value, leader in value.sharesPages = leader.sharesPages },
    Adoption(name: "gaps") { value, leader in value.hasGaps = leader.hasGaps },
    Adoption(name: "shift") { value, leader in value.isShifted = leader.isShifted },
    Adoption(name: "unowned rows") { value, leader in value.hasUnownedRows = leader.hasUnownedRows
    },
    Adoption(name: "causal") { value, leader in value.isCausal = leader.isCausal },
    Adoption(name: "window") { value, leader in value.windowLeft = leader.windowLeft },
    Adoption(name: "custom mask") { value, leader in value.customMask = leader.customMask },
    Adoption(name: "softmax scale") { value, leader in value.softmaxScale = leader.softmaxScale },
    Adoption(name: "soft cap") { value, leader in value.softCap = leader.softCap },
    Adoption(name: "alibi") { value, leader in value.hasAlibi = leader.hasAlibi },
    Adoption(name: "rope") { value, leader in value.rope = leader.rope },
    Adoption(name: "sinks") { value, leader in value.hasSinks = leader.hasSinks },
    Adoption(name: "q scale") { value, leader in value.qScale = leader.qScale },
    Adoption(name: "k and v scale") { value, leader in
      value.kScale = leader.kScale
      value.vScale = leader.vScale
    },
    Adoption(name: "o scale") { value, leader in
      value.oScale = leader.oScale
      value.saturates = leader.saturates
    },
    Adoption(name: "lse") { value, leader in
      value.hasLSE = leader.hasLSE
      value.convention = leader.convention
    },
    Adoption(name: "options") { value, leader in value.options = leader.options },
    Adoption(name: "workspace") { value, leader in value.givesWorkspace = leader.givesWorkspace },
  ]

  private mutating func resize(heads: Int, group: Int) {
    shape = AttentionShape(
      qoHeadCount: heads * group, kvHeadCount: heads, headDimQK: shape.headDimQK,
      headDimVO: shape.headDimVO)
  }

  /// The case with the types and dimensions of `leader`, which decide every kernel, and with as few
  /// other features of it as `holds` demands: features are taken over in a random order until it
  /// holds, and then each is given back where it holds without.
  ///
  /// - Returns: nil when it does not hold even with all features taken over.
  func adopting(
    _ leader: AttentionCase, _ random: inout CaseRandom, until holds: (AttentionCase) -> Bool
  ) -> AttentionCase? {
    func result(_ steps: Set<Int>) -> AttentionCase {
      var value = self
      value.types = leader.types
      value.latent = leader.latent
      value.shape = AttentionShape(
        qoHeadCount: shape.qoHeadCount, kvHeadCount: shape.kvHeadCount,
        headDimQK: leader.shape.headDimQK, headDimVO: leader.shape.headDimVO)
      for step in steps.sorted() { Self.adoptions[step].body(&value, leader) }
      // A leader is valid: what has all its features needs no repair.
      if steps.count < Self.adoptions.count { value.repair(within: leader.work) }
      return value
    }
    if holds(result([])) { return result([]) }
    var taken: Set<Int> = []
    var rest = Self.adoptions.indices.shuffled(using: &random)
    while !rest.isEmpty {
      // Several at once: most cases need more than a few.
      for _ in 0..<Swift.min(3, rest.count) { taken.insert(rest.removeLast()) }
      guard holds(result(taken)) else { continue }
      for step in taken.sorted().shuffled(using: &random)
      where holds(result(taken.subtracting([step]))) {
        taken.remove(step)
      }
      return result(taken)
    }
    return nil
  }

  /// Makes a mixture of two valid cases one: what needs another feature goes where that one is
  /// missing, and lengths shrink to the budget of `generate`.
  private mutating func repair(within budget: Int) {
    let isPaged = form.pageSize != nil
    if latent == nil {
      hasSplitQueries = false
      isCombined = isCombined && isPaged && shape.headDimQK == shape.headDimVO
      if let dim = rope?.rotaryDim, dim > shape.headDimQK { rope = nil }
    } else {
      rope = nil
      if kScale == .tokenHead || vScale == .tokenHead { vScale = .one }
    }
    sharesPages = sharesPages && isPaged && batch > 1
    let canSaturate = types.o == .e4m3 || types.o == .e5m2 || types.o == .f16
    saturates = saturates && canSaturate && oScale != .one
    let limit = rope == nil ? Swift.max(budget, 4_000_000) : 1_000_000
    while work > limit || cacheElements > 2_000_000 || rowElements > 2_000_000 {
      let longKV = kvLengths.indices.max { kvLengths[$0] < kvLengths[$1] }
      let longQO = qoLengths.indices.max { qoLengths[$0] < qoLengths[$1] }
      guard let kv = longKV, let qo = longQO, kvLengths[kv] > 0 || qoLengths[qo] > 1 else { break }
      if rowElements > cacheElements, qoLengths[qo] > 1 {
        qoLengths[qo] /= 2
      } else if kvLengths[kv] > 0 {
        kvLengths[kv] /= 2
      } else {
        qoLengths[qo] /= 2
      }
    }
    let pairs = zip(qoLengths, kvLengths).reduce(0) { $0 + $1.0 * $1.1 }
    if pairs > 400_000 { customMask = nil }
  }
}

extension AppendCase {
  /// The case with everything of `leader` that decides kernels; requests and pages stay its own.
  func adopting(_ leader: AppendCase) -> AppendCase {
    var value = leader
    value.pageSize = pageSize
    value.isBlockTable = isBlockTable
    value.lengths = lengths
    value.added = added
    value.skips = skips
    value.isWild = isWild
    return value
  }
}

extension MergeCase {
  /// The case with everything of `leader` that decides kernels.
  func adopting(_ leader: MergeCase) -> MergeCase {
    var value = leader
    value.rows = rows
    value.heads = heads
    value.states = states
    value.convention = convention
    value.isWild = isWild
    return value
  }
}

extension RotaryCase {
  /// The case with everything of `leader` that decides kernels.
  func adopting(_ leader: RotaryCase) -> RotaryCase {
    var value = leader
    value.rows = rows
    value.qoHeads = qoHeads
    value.kvHeads = kvHeads
    value.greatestPosition = greatestPosition
    return value
  }
}

extension PackBitsCase {
  /// The case with the bit order of `leader`.
  func adopting(_ leader: PackBitsCase) -> PackBitsCase {
    var value = self
    value.order = leader.order
    return value
  }
}

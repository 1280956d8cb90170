public import ApusCore
public import ApusIR

/// Changes to the configuration that a decode problem would get: what `apus bench gpu-decode --tune`
/// measures beside it. The default changes nothing.
public struct DecodeTuning: Sendable, Hashable, CustomStringConvertible {
  /// Word in reports.
  public var name: String
  /// What the warps divide.
  public var mode: DecodeMode?
  /// How tiles are loaded; `.gather` is the path of sm_80.
  public var loader: DecodeLoader?
  /// How far ahead pages are looked up.
  public var lookahead: DecodeLookahead?
  /// Whether query rows are brought to L2 ahead of their item.
  public var prefetchesQueries: Bool?
  /// Whether K and V stay in L2.
  public var keepsKeys: Bool?
  /// When the next kernel may begin to launch.
  public var dependents: DecodeDependents?
  /// Warps of a block.
  public var warps: Int?
  /// 16-token tiles of a step.
  public var tilesPerStep: Int?
  /// Steps in a warp's ring; nil for what fits.
  public var stages: Int?
  /// Blocks on each multiprocessor that the plan fills.
  public var blocksPerMultiprocessor: Int
  /// Multiprocessors that the plan fills: fewer splits to merge, less memory in flight.
  public var multiprocessorShare: Double
  /// Whether rows are not split.
  public var keepsRowsWhole: Bool

  /// Changes; nil leaves what the selection says.
  public init(
    _ name: String, mode: DecodeMode? = nil, loader: DecodeLoader? = nil,
    lookahead: DecodeLookahead? = nil, prefetchesQueries: Bool? = nil,
    keepsKeys: Bool? = nil, dependents: DecodeDependents? = nil, warps: Int? = nil,
    tilesPerStep: Int? = nil,
    stages: Int? = nil, blocksPerMultiprocessor: Int = 1, multiprocessorShare: Double = 1,
    keepsRowsWhole: Bool = false
  ) {
    self.name = name
    self.mode = mode
    self.loader = loader
    self.lookahead = lookahead
    self.prefetchesQueries = prefetchesQueries
    self.keepsKeys = keepsKeys
    self.dependents = dependents
    self.warps = warps
    self.tilesPerStep = tilesPerStep
    self.stages = stages
    self.blocksPerMultiprocessor = blocksPerMultiprocessor
    self.multiprocessorShare = multiprocessorShare
    self.keepsRowsWhole = keepsRowsWhole
  }

  /// The selection's choice.
  public static let chosen = DecodeTuning("chosen")

  /// The name.
  public var description: String { name }

  /// Every change worth measuring; `DecodeLaunch.plan` is nil for those that do not fit a problem.
  ///
  /// Each differs from the choice in one thing, but for the pairs that need each other: windows pay
  /// where rows are short, clusters where each has one row, two blocks where each has half the ring.
  public static var all: [DecodeTuning] {
    var list = [
      chosen,
      DecodeTuning("step", lookahead: .step),
      DecodeTuning("window", lookahead: .window),
      DecodeTuning("late", dependents: .end),
      DecodeTuning("evict first", keepsKeys: false),
      DecodeTuning("keep", keepsKeys: true),
      DecodeTuning(
        "two blocks, evict first", keepsKeys: false, warps: 4, blocksPerMultiprocessor: 2),
      DecodeTuning("two blocks, keep", keepsKeys: true, warps: 4, blocksPerMultiprocessor: 2),
      DecodeTuning("whole rows, keep", keepsKeys: true, keepsRowsWhole: true),
      DecodeTuning("whole rows", keepsRowsWhole: true),
      DecodeTuning("half the blocks", multiprocessorShare: 0.5),
      DecodeTuning("two blocks", warps: 4, blocksPerMultiprocessor: 2),
      DecodeTuning("two blocks, 2 tiles", warps: 4, tilesPerStep: 2, blocksPerMultiprocessor: 2),
      DecodeTuning("4 warps", warps: 4),
      DecodeTuning("8 warps", warps: 8),
      DecodeTuning("2 tiles, late", dependents: .end, tilesPerStep: 2),
      DecodeTuning("2 stages, late", dependents: .end, stages: 2),
      DecodeTuning("1 stage, late", dependents: .end, stages: 1),
      DecodeTuning("tokens", mode: .tokens),
      DecodeTuning("tokens, late", mode: .tokens, dependents: .end),
      DecodeTuning("heads", mode: .heads),
      DecodeTuning("heads, late", mode: .heads, dependents: .end),
      DecodeTuning("sm80 path", mode: .tokens, loader: .gather),
    ]
    for stages in [1, 2, 4] { list.append(DecodeTuning("\(stages) stages", stages: stages)) }
    for tiles in [1, 2, 4] { list.append(DecodeTuning("\(tiles) tiles", tilesPerStep: tiles)) }
    for size in [2, 4, 8, 16] {
      for (lookahead, late) in [
        (DecodeLookahead.step, false), (.window, false), (.step, true), (.window, true),
      ] {
        for stages in [1, 2] {
          list.append(
            DecodeTuning(
              "cluster \(size), \(stages) stages, \(lookahead)\(late ? ", late" : "")",
              mode: .cluster(size), lookahead: lookahead, dependents: late ? .end : nil,
              stages: stages))
        }
      }
    }
    return list
  }

  /// The changes that fit a problem and give a plan of their own, the selection's choice first.
  public static func candidates(
    for problem: AttentionProblem, target: Target, multiprocessorCount: Int
  ) -> [(tuning: DecodeTuning, plan: DecodePlan)] {
    var seen: Set<Identity> = []
    return all.compactMap { tuning in
      let plan = DecodeLaunch.plan(
        problem, target: target, multiprocessorCount: multiprocessorCount, tuning: tuning)
      guard let plan,
        seen.insert(Identity(kernel: plan.kernel, schedule: plan.schedule)).inserted
      else { return nil }
      return (tuning, plan)
    }
  }

  private struct Identity: Hashable {
    var kernel: DecodeKernel
    var schedule: DecodeSchedule
  }
}

extension DecodeTuning {
  /// The changed configuration, or nil if there is none.
  ///
  /// - Parameter kernel: the selection's choice.
  func kernel(
    from kernel: DecodeKernel, _ problem: AttentionProblem, target: Target,
    multiprocessors: Int
  ) -> DecodeKernel? {
    var kernel = kernel
    let loader = loader ?? kernel.loader
    let mode = mode ?? kernel.mode
    if mode != kernel.mode || loader != kernel.loader {
      if loader == .tensorMap,
        DecodeSelection.tensorMapRefusal(problem, target: target) != nil
      {
        return nil
      }
      kernel = DecodeSelection.configuration(
        problem, target: target, mode: mode, loader: loader, isLong: false,
        overlaps: kernel.overlaps)
      if mode.clusterSize > 1,
        DecodeSelection.clusterOptionRefusal(problem, kernel, multiprocessors) != nil
      {
        return nil
      }
    }
    if let warps { kernel.warps = warps }
    if let tilesPerStep { DecodeSelection.setTiles(&kernel, tilesPerStep, problem) }
    if kernel.loader == .gather {
      kernel.keepsKeys = false
    } else {
      kernel.lookahead = lookahead ?? kernel.lookahead
      kernel.dependents = dependents ?? kernel.dependents
      kernel.prefetchesQueries = prefetchesQueries ?? kernel.prefetchesQueries
      kernel.keepsKeys = keepsKeys ?? kernel.keepsKeys
    }
    let shared =
      (target.maxSharedBytesPerBlock + Self.reservedBytes) / blocksPerMultiprocessor
      - Self.reservedBytes
    let most = DecodeSelection.mostStages(kernel, sharedBytes: shared)
    kernel.stages = min(
      stages ?? (kernel.mode.clusterSize > 1 ? kernel.stages : most), 4,
      DecodeSeeds.unitOffset / kernel.boxes)
    let isHeads = kernel.mode == .heads
    guard kernel.violations.isEmpty, kernel.sharedByteCount <= shared,
      !isHeads || problem.shape.kvHeadCount % kernel.warps == 0
    else { return nil }
    return kernel
  }

  /// Shared memory that the system takes for each block.
  private static let reservedBytes = 1024
}

public import ApusCore
public import ApusNumerics

/// Which configuration serves a problem, and why the ones before it do not.
public struct DensePrefillChoice: Sendable, Hashable {
  /// The first that nothing spoke against; nil if the problem is not for this kernel.
  public var configuration: DensePrefillConfiguration?
  /// Those tried before, each with one reason.
  public var rejected: [(configuration: DensePrefillConfiguration, reason: String)] {
    rejections.map { ($0.configuration, $0.reason) }
  }
  /// Why the problem as a whole is refused, or nil.
  public var refusal: String?

  struct Rejection: Sendable, Hashable {
    var configuration: DensePrefillConfiguration
    var reason: String
  }
  var rejections: [Rejection] = []
}

extension DensePrefill {
  /// The shipped configurations of a type, dimension and mask, that for long contexts first.
  ///
  /// The table is that of `apus bench gpu-prefill --tune`, whose results are in `Benchmarks/Results`.
  /// Long full attention runs in blocks of three consumer warpgroups with short key tiles; under a
  /// causal mask such blocks wait for their longest row, and pairs of blocks that share K and V draw
  /// least power on long contexts. Everything else runs in single blocks of two warpgroups. Ping-pong
  /// pays only where the exponentials are the bottleneck (dimension 64).
  public static func shipped(
    _ element: ElementType, headDim: Int, isCausal: Bool, writesLSE: Bool
  ) -> [DensePrefillConfiguration] {
    let single = DensePrefillConfiguration(
      element, headDim: headDim, isCausal: isCausal, writesLSE: writesLSE,
      pingPong: headDim == 64, pinnedSoftmax: headDim == 64 ? .maxima : .none)
    guard headDim == 128 else { return [single] }
    var long = single
    if isCausal {
      long.clusterSize = 2
      long.pinnedSoftmax = .maxima
    } else {
      long.tileQ = 192
      long.tileKV = 80
      long.queriesInRegisters = false
    }
    return [long, single]
  }

  /// The configuration for a problem: a pure function of the arguments.
  public static func choose(
    _ problem: AttentionProblem, writesLSE: Bool, multiprocessorCount: Int
  ) -> DensePrefillChoice {
    if let refusal = refusal(of: problem) { return DensePrefillChoice(refusal: refusal) }
    var choice = DensePrefillChoice()
    for candidate in shipped(
      problem.types.q, headDim: problem.shape.headDimQK, isCausal: problem.mask.isCausal,
      writesLSE: writesLSE)
    {
      if let reason = rejection(of: candidate, problem, multiprocessorCount) {
        choice.rejections.append(.init(configuration: candidate, reason: reason))
      } else {
        choice.configuration = candidate
        break
      }
    }
    return choice
  }

  private static func rejection(
    of candidate: DensePrefillConfiguration, _ problem: AttentionProblem,
    _ multiprocessorCount: Int
  ) -> String? {
    let (qo, kv) = (problem.qoLength(0), problem.kvLength(0))
    if candidate.tileQ > 128, qo < 8192 {
      return "blocks of \(candidate.tileQ) rows pay from 8192 query rows on; found \(qo)"
    }
    guard candidate.clusterSize > 1 else { return nil }
    if candidate.isCausal, kv < 8192 {
      return
        "a pair of blocks waits for its longer row: under a causal mask it pays from 8192 keys "
        + "on; found \(kv)"
    }
    let rowTiles = (qo + candidate.tileQ - 1) / candidate.tileQ
    if rowTiles % 2 == 1, rowTiles < 16 {
      return "a pair of blocks needs pairs of row tiles; found \(rowTiles) of \(candidate.tileQ)"
    }
    let pairs = (rowTiles + 1) / 2 * problem.shape.qoHeadCount * problem.batch
    if pairs < multiprocessorCount / 2 {
      return "pairs of blocks must fill \(multiprocessorCount) multiprocessors; found \(pairs)"
    }
    return nil
  }

  /// Configurations for a tuner to measure on a problem: all that can be built from the values that
  /// moved the figures of any shape so far.
  ///
  /// - Parameter isThorough: every combination (hundreds) instead of one change at a time from the
  ///   shipped ones.
  public static func candidates(
    for problem: AttentionProblem, writesLSE: Bool, isThorough: Bool = false
  ) -> [DensePrefillConfiguration] {
    guard refusal(of: problem) == nil else { return [] }
    let shipped = shipped(
      problem.types.q, headDim: problem.shape.headDimQK, isCausal: problem.mask.isCausal,
      writesLSE: writesLSE)
    var seen = Set<DensePrefillConfiguration>()
    var list: [DensePrefillConfiguration] = []
    func add(_ candidate: DensePrefillConfiguration) {
      if candidate.violations.isEmpty, seen.insert(candidate).inserted { list.append(candidate) }
    }
    for start in shipped {
      add(start)
      let changes = isThorough ? combinations(of: start) : neighbours(of: start)
      for candidate in changes { add(candidate) }
    }
    return list
  }

  /// One or two changes from a configuration.
  private static func neighbours(
    of start: DensePrefillConfiguration
  ) -> [DensePrefillConfiguration] {
    var list: [DensePrefillConfiguration] = []
    func vary(_ change: (inout DensePrefillConfiguration) -> Void) {
      var candidate = start
      change(&candidate)
      list.append(candidate)
    }
    vary { $0.clusterSize = 3 - $0.clusterSize }
    vary { $0.pingPong.toggle() }
    for pin in DensePrefillConfiguration.SoftmaxPin.allCases { vary { $0.pinnedSoftmax = pin } }
    vary { $0.lazyRescale.toggle() }
    vary { $0.schedule = .fixed }
    vary { $0.overlapsPredecessor = true }
    vary { $0.output = .direct }
    vary {
      $0.lazyRescale = false
      $0.pingPong = true
    }
    vary {
      $0.stages = 3
      $0.output = .direct
    }
    for keys in [64, 80, 96, 112, 144, 160, 176, 192] {
      vary { $0.tileKV = keys }
      vary {
        $0.tileKV = keys
        $0.queriesInRegisters = false
        $0.output = keys > 160 ? .direct : .staged
      }
    }
    for keys in [64, 80, 96, 112, 128] {
      for inRegisters in [false, true] {
        vary {
          $0.tileQ = 192
          $0.tileKV = keys
          $0.queriesInRegisters = inRegisters
        }
      }
    }
    vary { $0.queriesInRegisters = false }
    return list
  }

  private static func combinations(
    of start: DensePrefillConfiguration
  ) -> [DensePrefillConfiguration] {
    var list = [start]
    func cross<T>(_ path: WritableKeyPath<DensePrefillConfiguration, T>, _ values: [T]) {
      list = list.flatMap { base in
        values.map { value in
          var candidate = base
          candidate[keyPath: path] = value
          return candidate
        }
      }
    }
    cross(\.tileQ, [128, 192])
    cross(\.tileKV, Array(stride(from: 64, through: 192, by: 16)))
    cross(\.stages, [2, 3])
    cross(\.clusterSize, [1, 2])
    cross(\.queriesInRegisters, [true, false])
    cross(\.pingPong, [false, true])
    cross(\.lazyRescale, [true, false])
    cross(\.pinnedSoftmax, [.none, .maxima, .weights])
    cross(\.output, [.staged, .direct])
    return list
  }
}

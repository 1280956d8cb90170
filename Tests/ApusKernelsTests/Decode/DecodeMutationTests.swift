import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusSimulator
import Testing

/// Every wait, fence, arrival, barrier and parity of the decode kernels, broken one at a time.
@Suite struct DecodeMutationTests {
  /// A configuration on the smallest problem that needs all of its synchronisation.
  struct Structure: CustomStringConvertible, Sendable {
    let description: String
    var mode = DecodeMode.tokens
    var loader = DecodeLoader.tensorMap
    var warps = 2
    var stages = 2
    var blocks = 6
    /// One that is split, and several for each block, so that stages and buffers are used again.
    var kvLengths = [600, 33, 0, 70, 0, 20, 45, 7, 0, 33, 18, 90, 41]
    var group = 4
    var types = AttentionTypes(q: .bf16)
    var headDim = 32
    var tilesPerStep = 1
    var tilesPerBox = 1
    /// Two query tokens, causal mask and window, and a NaN that only the last token sees.
    var hasRanges = false
    var isPaged = true
    var target = Target.sm90a

    var value: DecodeCase {
      var value = DecodeCase()
      value.types = types
      value.headDim = headDim
      value.kvHeads = mode == .heads ? warps : 1
      value.qoHeads = group * value.kvHeads
      value.kvLengths = kvLengths
      value.placement = isPaged ? .pages(16 * tilesPerBox) : .padded
      if hasRanges {
        value.mask = AttentionMask(isCausal: true, windowLeft: 60)
        value.qoLengths = kvLengths.map { _ in 2 }
        value.specials = [.init(value: .nan, distance: 0)]
      }
      value.blocks = blocks
      value.target = target
      value.tuning = DecodeTuning(
        "mutants", mode: mode, loader: loader, warps: warps,
        tilesPerStep: tilesPerStep, stages: stages)
      return value
    }
  }

  /// One of each way in which warps, blocks and copies wait for each other.
  static let structures = [
    Structure(description: "tokens, tensor copies"),
    Structure(description: "heads, tensor copies", mode: .heads),
    Structure(description: "tokens, cp.async", loader: .gather, target: .sm80),
    Structure(
      description: "cluster of 2", mode: .cluster(2), stages: 1, blocks: 132, kvLengths: [75, 17]),
    Structure(description: "two tiles of rows", group: 12),
    Structure(description: "rows that see different keys", hasRanges: true),
  ]

  /// One of each listed configuration, keys for every stage of every warp twice.
  static var all: [Structure] {
    KernelCatalog.all.compactMap { $0 as? DecodeKernel }.map { row in
      let round = 16 * row.tilesPerStep * row.stages * (row.mode == .heads ? 1 : row.warps)
      return Structure(
        description: row.symbol, mode: row.mode, loader: row.loader, warps: row.warps,
        stages: row.stages, blocks: row.launch.clusterSize > 1 ? 132 : 3,
        kvLengths: [2 * round + 30, 0, 33],
        group: row.rowTiles == 1 ? 4 : (8 * row.rowTiles - 4) / (row.hasRanges ? 2 : 1),
        types: AttentionTypes(q: row.queryType, kv: row.cacheType, o: row.outputType),
        headDim: row.headDim, tilesPerStep: row.tilesPerStep, tilesPerBox: row.tilesPerBox,
        hasRanges: row.hasRanges, isPaged: row.isPaged,
        target: row.loader == .gather ? .sm80 : .sm90a)
    }
  }

  /// Mutants that may survive, as operation, change and file.
  static let harmless: Mutations.Harmless = [
    "bar.warp.sync removed DecodeState.swift": (
      1, "what was stored is read by ldmatrix, one instruction of all lanes behind their stores"
    ),
    "bar.warp.sync removed DecodeRing+TensorMap.swift": (
      1, "the last mma of a step is one instruction of all lanes and needs what they read"
    ),
    "bar.warp.sync removed DecodeRing+Gather.swift": (
      1, "the last mma of a step is one instruction of all lanes and needs what they read"
    ),
    "bar.warp.sync removed DecodeMerge.swift": (
      1,
      "behind the count of splits, which a shuffle hands on: all lanes read partial states behind the "
        + "atomic, whose acquire holds for the multiprocessor"
    ),
  ]

  /// Those of clusters, whose blocks have one item each.
  static let harmlessInClusters: Mutations.Harmless = [
    "bar.sync removed DecodeKernel+Body.swift": (1, "between the items of a block"),
    "fence.proxy.async.shared removed DecodeState.swift": (
      1, "the step that an item ends in is the block's last, and no copy follows it"
    ),
  ]

  @Test(arguments: Mutations.runsAll ? structures + all : structures)
  func `a broken synchronisation is noticed`(_ structure: Structure) throws {
    let value = structure.value
    let reference = try value.run(overlapsPredecessor: value.target >= .sm90a)
    #expect(reference.complaints == [], "\(structure)")
    let plan = try #require(reference.plan, "\(structure)")
    #expect(plan.kernel.mode == structure.mode && plan.kernel.loader == structure.loader)
    let kernel = try plan.kernel.build(for: value.target)
    let run = MutationRun(of: kernel, target: value.target, seeds: 0..<4) { mutant, seed in
      guard
        let outcome = try? value.run(
          simulationSeed: seed, overlapsPredecessor: value.target >= .sm90a,
          building: { $0.symbol == kernel.symbol ? mutant : try $0.build(for: $1) })
      else { return MutationRun.Result(errors: [], isCorrect: false) }
      return MutationRun.Result(
        errors: outcome.errors, isCorrect: outcome.bytes == reference.bytes)
    }
    Mutations.expectNoticed(
      run, of: "decode, \(structure)", least: 10,
      harmless: plan.kernel.launch.clusterSize > 1
        ? Self.harmless.merging(Self.harmlessInClusters) { first, _ in first } : Self.harmless)
  }
}

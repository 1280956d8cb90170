public import ApusNumerics

/// Every choice of a dense prefill kernel for Hopper: what it computes and how it is tuned.
///
/// Equal configurations are the same machine code; the kernel's symbol derives from it.
public struct DensePrefillConfiguration: Sendable, Hashable {
  /// How the output leaves the registers.
  public enum Output: String, Sendable, Hashable, CaseIterable {
    /// Through shared memory of its own by a tensor store: full lines, clipped by the tensor map.
    case staged
    /// By 4-byte stores: no shared memory, a quarter of a line each.
    case direct
  }

  /// How blocks find their tiles.
  public enum Schedule: String, Sendable, Hashable, CaseIterable {
    /// From a counter in device memory, one tile ahead: blocks that are done early take more.
    case dynamic
    /// Tile t + grid follows tile t.
    case fixed
  }

  /// What of the softmax must be done before the wait for the product it overlaps with. The
  /// assembler moves arithmetic behind that wait as it likes; this holds some of it back.
  public enum SoftmaxPin: String, Sendable, Hashable, CaseIterable {
    /// Nothing.
    case none
    /// The row maxima.
    case maxima
    /// All of it: maxima, exponentials and sums.
    case weights
  }

  /// Type of q, k, v and o: bf16 or f16.
  public var element: ElementType
  /// Dimension of q, k, v and o: 64 or 128.
  public var headDim: Int
  /// Whether query i sees keys up to kvLength − qoLength + i only.
  public var isCausal: Bool
  /// Whether the log-sum-exp of each row is written.
  public var writesLSE: Bool

  /// Query rows of a block: 64 per consumer warpgroup.
  public var tileQ: Int
  /// Keys of a step.
  public var tileKV: Int
  /// Tiles of K, and of V, in flight.
  public var stages: Int
  /// Blocks that work on neighbouring rows of one head; with 2, each loads half of K and V for both.
  public var clusterSize: Int
  /// Whether q is the register operand of its product, which halves its shared-memory reads.
  public var queriesInRegisters: Bool
  /// Whether the warpgroups take turns at the tensor cores.
  public var pingPong: Bool
  /// Whether the output is rescaled only when a maximum has grown by more than 2^8.
  public var lazyRescale: Bool
  /// What of the softmax is kept before the wait for the product that it overlaps with.
  public var pinnedSoftmax: SoftmaxPin
  /// How the output leaves the registers.
  public var output: Output
  /// How blocks find their tiles.
  public var schedule: Schedule
  /// Whether the kernel may start before its predecessor on the stream has ended.
  public var overlapsPredecessor: Bool

  /// A configuration; the defaults are the fastest of the measured ones for long full attention.
  public init(
    _ element: ElementType, headDim: Int, isCausal: Bool = false, writesLSE: Bool = true,
    tileQ: Int = 128, tileKV: Int = 128, stages: Int = 2, clusterSize: Int = 1,
    queriesInRegisters: Bool = true, pingPong: Bool = false, lazyRescale: Bool = true,
    pinnedSoftmax: SoftmaxPin = .none, output: Output = .staged, schedule: Schedule = .dynamic,
    overlapsPredecessor: Bool = false
  ) {
    self.element = element
    self.headDim = headDim
    self.isCausal = isCausal
    self.writesLSE = writesLSE
    self.tileQ = tileQ
    self.tileKV = tileKV
    self.stages = stages
    self.clusterSize = clusterSize
    self.queriesInRegisters = queriesInRegisters
    self.pingPong = pingPong
    self.lazyRescale = lazyRescale
    self.pinnedSoftmax = pinnedSoftmax
    self.output = output
    self.schedule = schedule
    self.overlapsPredecessor = overlapsPredecessor
  }
}

extension DensePrefillConfiguration: CustomStringConvertible {
  /// Warpgroups that multiply.
  public var consumerCount: Int { tileQ / 64 }
  /// Threads of a block: a producer warpgroup and the consumers.
  public var threads: Int { 128 * (1 + consumerCount) }
  /// Registers that a block's threads share out: what each has at entry, in steps of 8, times the
  /// warpgroups.
  private var registerPool: Int { 65536 / max(1, threads) / 8 * 8 * (1 + consumerCount) }

  /// Registers of each producer thread. It only issues copies; in a cluster it also exchanges tile
  /// numbers, for which 24 are too few, so that it gets 40 where the consumers can spare them.
  public var producerRegisters: Int { clusterSize > 1 && fragmentRegisters <= 192 ? 40 : 24 }

  /// Registers of each consumer thread: what the producer leaves, in steps of 8.
  public var consumerRegisters: Int {
    min(240, (registerPool - producerRegisters) / max(1, consumerCount) / 8 * 8)
  }

  /// Whether the blocks of a cluster load different columns of K and V rather than different rows.
  var splitsPanels: Bool { headDim / 64 == clusterSize }

  /// Bytes of tiles in shared memory: q, the stages of k and v, and o if it is staged.
  public var tileByteCount: Int {
    let rows = tileQ + 2 * stages * tileKV + (output == .staged ? tileQ : 0)
    return rows * headDim * 2
  }

  /// Registers of fragments of a consumer thread: scores, output, weights, queries.
  public var fragmentRegisters: Int {
    tileKV / 2 + headDim / 2 + tileKV / 4 + (queriesInRegisters ? headDim / 4 : 0)
  }

  /// The kernel's name: `sm90_prefill_bf16_d128_causal_lse_m128_n128_s2_c2_qreg_lazy`.
  public var symbol: String {
    var parts = ["sm90_prefill", "\(element)", "d\(headDim)", isCausal ? "causal" : "full"]
    if writesLSE { parts.append("lse") }
    parts += ["m\(tileQ)", "n\(tileKV)", "s\(stages)"]
    if clusterSize > 1 { parts.append("c\(clusterSize)") }
    if queriesInRegisters { parts.append("qreg") }
    if pingPong { parts.append("pp") }
    if lazyRescale { parts.append("lazy") }
    switch pinnedSoftmax {
    case .none: break
    case .maxima: parts.append("pinmax")
    case .weights: parts.append("pin")
    }
    if output == .direct { parts.append("direct") }
    if schedule == .fixed { parts.append("fixed") }
    if overlapsPredecessor { parts.append("pdl") }
    return parts.joined(separator: "_")
  }

  /// The symbol.
  public var description: String { symbol }

  /// Why no kernel can be built from this, one reason each; empty for a good configuration.
  public var violations: [String] {
    var reasons: [String] = []
    func require(_ condition: Bool, _ requirement: String, _ found: Any) {
      if !condition { reasons.append("\(requirement); found \(found)") }
    }
    require(element == .bf16 || element == .f16, "element must be bf16 or f16", element)
    require(headDim == 64 || headDim == 128, "headDim must be 64 or 128", headDim)
    require([64, 128, 192].contains(tileQ), "tileQ must be 64, 128 or 192", tileQ)
    require(
      tileKV % 16 == 0 && (32...256).contains(tileKV), "tileKV must be a multiple of 16 in 32…256",
      tileKV)
    require((2...8).contains(stages), "stages must be in 2…8", stages)
    require(clusterSize == 1 || clusterSize == 2, "clusterSize must be 1 or 2", clusterSize)
    // Halves of a tile are made of whole swizzle atoms: tileKV is a multiple of 16.
    let available = 227 << 10
    // Barriers and the work slot take less than 1 KiB.
    require(
      tileByteCount + 1024 <= available,
      "tiles must fit \(available - 1024) bytes of shared memory",
      tileByteCount)
    // The least reserve with which measured kernels do not spill: `RegisterEstimate`.
    require(
      fragmentRegisters + 25 <= consumerRegisters,
      "fragments must fit \(consumerRegisters - 25) registers", fragmentRegisters)
    return reasons
  }
}

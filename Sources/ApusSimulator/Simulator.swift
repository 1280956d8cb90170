public import ApusIR

/// Executes a kernel on the CPU as `Op`'s documentation says and reports every broken rule.
///
/// A warp executes one node at a time over its active lanes and yields where it must wait;
/// blocks and clusters run interleaved in an order that depends on the seed alone. Asynchronous
/// ops complete as late as their waits allow, copies signalled by mbarriers in random order.
///
/// # What is checked
/// Bounds, alignment, unwritten bytes and registers, collective ops in divergent lanes, warps of a
/// warpgroup that disagree about its products, barrier counts, deadlock, use of memory and registers
/// that asynchronous ops own, proxy fences, and races. A *race* is a pair of accesses to a byte by
/// two lanes, at least one a write, that nothing orders: no `syncWarp`, barrier, mbarrier phase,
/// cluster barrier, released and acquired atomic or fenced relaxed one. Each warp has a vector
/// clock, each byte the epoch and lane of its last writer and, in shared memory, of every warp's
/// last read. The release of one lane covers its own accesses and what all lanes did before they
/// last met; what one lane acquires counts for its whole warp.
///
/// A write to global memory that overtakes another warp's read is seen as a read of the new bytes,
/// under a seed that runs it first; one that overtakes a read of another lane of its warp, where
/// nothing lets the lanes meet in between, always. Shared memory of a block is gone when the block
/// ends: uses by other blocks must have happened before, under every seed. Not seen: the scopes of
/// fences and arrivals, all of which count as wide enough.
public struct Simulator: Sendable {
  /// The kernel.
  public let kernel: KernelIR
  /// Seed, limits.
  public let options: SimulationOptions
  private let program: Program
  private let malformed: Diagnostic?

  /// Prepares a kernel. One with malformed structure, types, definitions or immediates is not run:
  /// its report holds `invalidLaunch` with the verifier's words. Rules about barriers, waits and
  /// targets do not matter here: the run finds what they forbid.
  public init(_ kernel: KernelIR, options: SimulationOptions = SimulationOptions()) {
    self.kernel = kernel
    self.options = options
    let form: Set<Diagnostic.Rule> = [.structure, .types, .definitions, .immediates]
    malformed = Verifier.verify(kernel, target: .sm90a).first { form.contains($0.rule) }
    program =
      malformed == nil ? Program(kernel) : Program(KernelIR(symbol: "", launch: kernel.launch))
  }

  /// Runs the whole grid; `memory` holds the results, also of a run that failed.
  ///
  /// - Parameter arguments: one for each of the kernel's parameters, in order.
  public func run(
    grid: GridSize, arguments: [KernelArgument] = [], memory: inout GlobalMemory
  ) -> SimulationReport {
    if let malformed {
      let error = SimulationError(
        kind: .invalidLaunch(malformed.description), operation: "launch \(kernel.symbol)", block: 0,
        warp: 0, lanes: 0, location: malformed.location, phase: "")
      return SimulationReport(errors: [error], instructionCount: 0, seed: options.seed)
    }
    let machine = Machine(
      kernel: kernel, program: program, options: options, grid: grid, arguments: arguments,
      memory: DeviceMemory(memory))
    machine.run()
    machine.memory.store(to: &memory)
    return SimulationReport(
      errors: machine.errors, instructionCount: machine.instructionCount, seed: options.seed)
  }
}

/// How a simulation runs.
public struct SimulationOptions: Sendable, Hashable {
  /// Decides the interleaving of warps and the order of asynchronous completions.
  public var seed: UInt64
  /// Warp instructions after which the run is given up.
  public var instructionLimit: Int
  /// Errors after which the run is given up.
  public var errorLimit: Int
  /// Blocks that run at the same time; whole clusters, at least one.
  public var residentBlocks: Int
  /// Whether the launch may start before the preceding one ends: global memory must not be touched
  /// before `gridDependencyWait`, but for non-coherent loads of what no kernel writes.
  public var overlapsPredecessor: Bool

  /// Options; the defaults suit tests.
  public init(
    seed: UInt64 = 0, instructionLimit: Int = 1 << 30, errorLimit: Int = 8,
    residentBlocks: Int = 4, overlapsPredecessor: Bool = false
  ) {
    self.seed = seed
    self.instructionLimit = instructionLimit
    self.errorLimit = errorLimit
    self.residentBlocks = residentBlocks
    self.overlapsPredecessor = overlapsPredecessor
  }
}

/// Blocks of a launch along each axis.
public struct GridSize: Sendable, Hashable {
  /// Fastest.
  public var x: Int
  /// Second.
  public var y: Int
  /// Third.
  public var z: Int

  /// A grid.
  public init(_ x: Int, _ y: Int = 1, _ z: Int = 1) {
    self.x = x
    self.y = y
    self.z = z
  }

  /// All blocks.
  public var blockCount: Int { x * y * z }
}

/// The value of one parameter.
public enum KernelArgument: Sendable, Hashable {
  /// A number; its type must be the parameter's.
  case scalar(Constant)
  /// An address of `GlobalMemory`.
  case pointer(UInt64)
  /// The raw bytes of a structure.
  case bytes([UInt8])
  /// A tensor map.
  case tensorMap(TensorMapDescription)
}

/// What a run found.
public struct SimulationReport: Sendable, Hashable {
  /// Violations in the order of discovery; empty for a correct run.
  public var errors: [SimulationError]
  /// Nodes executed, each once per warp.
  public var instructionCount: Int
  /// The seed that reproduces the run.
  public var seed: UInt64
}

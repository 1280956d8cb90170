public import ApusIR

/// How many blocks of a kernel one multiprocessor holds, and what limits them.
///
/// blocks = min of four quotients, each by the rule of the CUDA occupancy calculator:
/// - *blocks*: the target's limit;
/// - *threads*: resident threads / threads of a block;
/// - *registers*: a warp takes ⌈32 · registers / 256⌉ · 256 of 65,536 registers; the warps that fit,
///   rounded down to a multiple of the four partitions, / warps of a block;
/// - *shared memory*: a block takes its bytes and 1 KiB of the system, in steps of 128.
///
/// The split of L1 and shared memory is taken to be the one with most shared memory. Clusters are
/// not considered: whether all blocks of one fit a processor cluster is the driver's to say.
public struct Occupancy: Sendable, Hashable {
  /// What ran out first.
  public enum Limit: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
    /// Resident blocks.
    case blocks
    /// Resident threads.
    case threads
    /// Registers.
    case registers
    /// Shared memory.
    case sharedMemory

    /// `blocks`, `threads`, `registers`, `shared memory`.
    public var description: String { self == .sharedMemory ? "shared memory" : rawValue }
  }

  /// Resident blocks of one multiprocessor; 0 when not even one fits.
  public let blocks: Int
  /// What another block would exceed.
  public let limit: Limit
  /// Resident warps of one multiprocessor.
  public let warps: Int
  /// The most warps that the target holds.
  public let maxWarps: Int

  /// The occupancy of a kernel by its threads, registers of a thread and shared bytes.
  ///
  /// - Parameters:
  ///   - threads: threads of a block, at least 1.
  ///   - registers: registers of each thread at entry, at least 1.
  ///   - sharedBytes: shared memory of a block, static and dynamic.
  public init(target: Target, threads: Int, registers: Int, sharedBytes: Int) {
    let warpsOfBlock = max(1, (threads + warpSize - 1) / warpSize)
    maxWarps = target.maxThreadsPerMultiprocessor / warpSize
    let registersOfWarp = roundUp(max(1, registers) * warpSize, to: 256)
    let warpsByRegisters = target.registersPerMultiprocessor / registersOfWarp / 4 * 4
    let sharedOfBlock = roundUp(max(0, sharedBytes) + 1024, to: 128)
    let fitsBlock = sharedBytes <= target.maxSharedBytesPerBlock
    let quotients: [(Limit, Int)] = [
      (.blocks, target.maxBlocksPerMultiprocessor),
      (.threads, maxWarps / warpsOfBlock),
      (.registers, warpsByRegisters / warpsOfBlock),
      (.sharedMemory, fitsBlock ? target.sharedBytesPerMultiprocessor / sharedOfBlock : 0),
    ]
    var least = quotients[0]
    for quotient in quotients where quotient.1 < least.1 { least = quotient }
    limit = least.0
    blocks = least.1
    warps = least.1 * warpsOfBlock
  }

  /// Resident warps of all that the target holds, 0…1.
  public var fraction: Double { Double(warps) / Double(maxWarps) }
}

private func roundUp(_ value: Int, to step: Int) -> Int { (value + step - 1) / step * step }

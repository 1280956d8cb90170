public import ApusCore

/// What the CPU operators run on: an instruction set's micro-kernels and a pool of threads.
///
/// An engine may be used from several threads at once; each call is independent.
public final class CPUEngine: Sendable {
  /// The instruction set of the micro-kernels.
  public let instructionSet: InstructionSet
  let kernels: Kernels
  let threads: ThreadPool
  let scratchPool: ScratchPool

  /// Threads that one call may use, the caller's included.
  public var threadCount: Int { threads.threadCount }

  /// An engine.
  ///
  /// - Parameters:
  ///   - instructionSet: nil takes the most capable one of this CPU.
  ///   - threadCount: nil takes one thread per CPU that the process may use.
  /// - Throws: `ArgumentError` when the CPU lacks the instruction set or the count is out of range.
  public init(
    instructionSet: InstructionSet? = nil, threadCount: Int? = nil
  ) throws(ArgumentError) {
    let chosen = instructionSet ?? .best
    guard let kernels = Kernels(chosen) else {
      throw ArgumentError(
        operation: "CPUEngine.init", "instructionSet must be one that this CPU has",
        found: "\(chosen)",
        remedy: "Available: \(InstructionSet.available.map(\.rawValue).joined(separator: ", ")).")
    }
    self.instructionSet = chosen
    self.kernels = kernels
    threads = try ThreadPool(threadCount: threadCount ?? min(ThreadPool.availableCPUs, 1024))
    scratchPool = ScratchPool(byteLimit: threads.threadCount * ScratchPool.bytesPerThread)
  }

  /// Whether a problem's weights P are rounded to bfloat16, to be multiplied in pairs.
  public func roundsWeights(_ problem: AttentionProblem) -> Bool {
    kernels.dot != nil && CPUAttention.allowsDots(problem)
  }
}

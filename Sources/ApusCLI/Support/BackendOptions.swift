import Apus
import ApusCPU
import ArgumentParser

/// Where a command computes: shared by every command that runs an operator.
struct BackendOptions: ParsableArguments {
  /// Back ends by name.
  enum Name: String, CaseIterable, ExpressibleByArgument {
    /// The CPU.
    case cpu
  }

  @Option(help: "Back end.")
  var backend: Name = .cpu

  @Option(
    help: "Instruction set of the CPU back end (default: APUS_CPU, or the best of this CPU).")
  var cpu: InstructionSet?

  @Option(help: "Threads of the CPU back end (default: APUS_THREADS, or one per CPU).")
  var threads: Int?

  /// The chosen back end; an option wins over its environment variable.
  ///
  /// - Throws: `ApusError.argument` for an instruction set that this CPU lacks or a thread count
  ///   out of range.
  func makeBackend() throws -> CPUBackend {
    if let cpu, let threads {
      return try CPUBackend(instructionSet: cpu, threadCount: threads)
    }
    let base = try CPUBackend.fromEnvironment()
    guard cpu != nil || threads != nil else { return base }
    return try CPUBackend(
      instructionSet: cpu ?? base.engine.instructionSet,
      threadCount: threads ?? base.engine.threadCount)
  }
}

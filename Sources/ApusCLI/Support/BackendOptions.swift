import Apus
import ApusCPU
import ApusConformance
import ArgumentParser
import Foundation

/// Where a command computes: shared by every command that runs an operator.
struct BackendOptions: ParsableArguments {
  @Option(help: "Back end.")
  var backend: BackendName = .cpu

  @Option(
    help: "Instruction set of the CPU back end (default: APUS_CPU, or the best of this CPU).")
  var cpu: InstructionSet?

  @Option(help: "Threads of the CPU back end (default: APUS_THREADS, or one per CPU).")
  var threads: Int?

  @Option(help: "Compiled kernels of `apus kernels pack` for --backend cuda; may be repeated.")
  var pack: [String] = []

  /// The CPU back end; an option wins over its environment variable.
  ///
  /// - Throws: `ApusError.argument` for another back end, for an instruction set that this CPU lacks
  ///   or a thread count out of range.
  func makeBackend() throws -> CPUBackend {
    guard backend == .cpu else {
      throw ValidationError("--backend of this command must be cpu; found \(backend).")
    }
    if let cpu, let threads {
      return try CPUBackend(instructionSet: cpu, threadCount: threads)
    }
    let base = try CPUBackend.fromEnvironment()
    guard cpu != nil || threads != nil else { return base }
    return try CPUBackend(
      instructionSet: cpu ?? base.engine.instructionSet,
      threadCount: threads ?? base.engine.threadCount)
  }

  /// Any back end, for operands in host memory, with what the conformance suite must know of it.
  ///
  /// - Throws: `ApusError` in the driver's words where a device was asked for and there is none.
  func makeHostBackend() throws -> HostBackend {
    let kernels = KernelCounter()
    switch backend {
    case .cpu:
      let cpu = try makeBackend()
      return HostBackend(backend: cpu, model: .cpu(cpu), kernels: nil)
    case .simulator:
      return HostBackend(
        backend: SimulatorBackend().observing(kernels.record), model: .tensorCores,
        kernels: kernels)
    case .cuda(let device):
      let packs = try pack.map { [UInt8](try Data(contentsOf: URL(filePath: $0))) }
      let cuda = try CUDABackend(device: device, options: CUDAOptions(packs: packs))
        .observing(kernels.record)
      return HostBackend(
        backend: StagedBackend(cuda), model: .tensorCores, kernels: kernels)
    }
  }
}

/// A back end whose operands lie in host memory.
struct HostBackend: Sendable {
  /// It.
  var backend: any Backend
  /// What it declares about its arithmetic.
  var model: ArithmeticModel
  /// Hears of its launches; nil for the CPU.
  var kernels: KernelCounter?
}

import Apus
import ApusCPU
import ArgumentParser
import Foundation

/// `apus devices`: what this machine can compute on, and how fast it is.
struct DevicesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "devices",
    abstract: "CPU instruction sets, cores, caches, measured limits, and GPUs.",
    discussion: """
      Limits are measured with the instruction set and threads that the CPU back end uses: reading \
      a buffer larger than the caches, and independent f32 multiply-adds in registers.

      With --measure-start: how long the first merge, prefill and decode take on a GPU, in a \
      process whose driver has compiled nothing yet (cold) and in the next one (warm), and the \
      host time of enqueuing them again. The driver's disk cache goes to a folder of its own.
      """)

  @OptionGroup var backendOptions: BackendOptions

  @Flag(help: "Leave the measurements out.")
  var noMeasure = false

  @Flag(help: "Measure first calls on a GPU instead.")
  var measureStart = false

  @Flag(help: .hidden)
  var measureStartChild = false

  @Option(help: "The GPU of --measure-start, by its position.")
  var device = 0

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    if measureStartChild { return try Output.json(StartReport.firstCalls(device: device)) }
    if measureStart {
      let report = try StartReport.measure(device: device)
      if json { try Output.json(report) } else { print(report.text) }
      return
    }
    let engine = try backendOptions.makeBackend().engine
    let progress = Progress()
    progress.show("measuring read bandwidth and multiply-adds …")
    let report = DevicesReport(engine, measures: !noMeasure)
    progress.clear()
    if json { try Output.json(report) } else { print(report.text) }
  }
}

/// What `apus devices` prints.
struct DevicesReport: Codable, Sendable {
  /// Processor, memory and system.
  var machine: MachineInfo
  /// Instruction sets this CPU can run, least capable first.
  var instructionSets: [String]
  /// The one in use.
  var instructionSet: String
  /// Threads in use.
  var threadCount: Int
  /// Caches of the first processor.
  var caches: [CacheLevel]
  /// Measured limits; nil when left out.
  var limits: LimitsReport?
  /// NVIDIA devices or why there are none.
  var gpu: GPUProbe

  init(_ engine: CPUEngine, measures: Bool) {
    machine = .current
    instructionSets = InstructionSet.available.map(\.rawValue)
    instructionSet = engine.instructionSet.rawValue
    threadCount = engine.threadCount
    caches = CacheLevel.all()
    limits = measures ? LimitsReport(engine.measureLimits()) : nil
    gpu = GPUProbe.probe()
  }

  /// The report for people.
  var text: String {
    var lines = [
      "CPU           \(machine.cpuModel), \(machine.architecture), \(machine.coreCount) cores",
      "system        \(machine.operatingSystem), "
        + "\(Format.bytes(Double(machine.memoryByteCount))) memory",
      "kernels       \(instructionSet) (available: \(instructionSets.joined(separator: ", "))), "
        + "\(threadCount) threads",
    ]
    let levels = caches.map { "L\($0.level)\(Self.short($0.type)) \($0.size)" }
    lines.append("caches        \(levels.isEmpty ? "not stated" : levels.joined(separator: ", "))")
    if let limits {
      lines.append("read          \(Format.bytesPerSecond(limits.readBytesPerSecond)) measured")
      lines.append(
        "multiply-add  \(Format.flops(limits.fmaFlopsPerSecond)) measured, f32, 2 per multiply-add")
    }
    lines += gpu.lines
    return lines.joined(separator: "\n")
  }

  private static func short(_ type: String) -> String {
    type == "Data" ? "d" : type == "Instruction" ? "i" : ""
  }
}

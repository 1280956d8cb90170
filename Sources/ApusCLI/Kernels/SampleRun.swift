import ApusDSL
import ApusIR
import ApusKernels
import ApusSimulator

/// Runs the sample problem of a kernel in the simulator.
enum SampleRun {
  /// Runs it with a seed.
  ///
  /// A sample that launches another kernel, or whose check accepts buffers that nothing has run on, is
  /// a finding too: self-tests on a GPU would test nothing.
  ///
  /// - Parameter ir: the kernel's IR.
  static func run(
    _ kernel: any SampledKernel, ir: KernelIR, target: Target, seed: UInt64
  ) -> SimulationResult {
    let sample = kernel.sample(seed: seed)
    var memory = GlobalMemory()
    let addresses = sample.buffers.map { buffer in
      memory.bind(
        buffer.name, bytes: buffer.bytes, isWritable: buffer.isWritable,
        isWritten: buffer.isWritten)
    }
    let clock = ContinuousClock()
    let start = clock.now
    var findings: [String] = []
    var instructions = 0
    for launch in sample.launches(addresses) where launch.grid.blockCount > 0 {
      guard launch.kernel.symbol == ir.symbol else {
        findings.append("sample: launches must be the kernel's own; found \(launch.kernel.symbol)")
        continue
      }
      do {
        let report = Simulator(ir, options: SimulationOptions(seed: seed)).run(
          grid: GridSize(launch.grid.x, launch.grid.y, launch.grid.z),
          arguments: try launch.values.map(argument), memory: &memory)
        findings += report.errors.map(\.description)
        instructions += report.instructionCount
      } catch {
        findings.append("\(error)")
      }
    }
    if findings.isEmpty { findings = sample.check(memory.buffers.map(\.bytes)) }
    if sample.check(sample.buffers.map(\.bytes)).isEmpty {
      findings.append("sample: the check must refuse untouched buffers; found nothing wrong")
    }
    return SimulationResult(
      symbol: kernel.symbol, target: target.description, seed: seed, problem: sample.summary,
      instructionCount: instructions, seconds: (clock.now - start).seconds, findings: findings)
  }

  /// A launch value as the simulator takes it.
  private static func argument(_ value: LaunchValue) throws(UnboundValue) -> KernelArgument {
    switch value {
    case .u32(let number): .scalar(.u32(number))
    case .s32(let number): .scalar(.s32(number))
    case .u64(let number): .scalar(.u64(number))
    case .f32(let number): .scalar(.f32(number))
    case .pointer(let address): .pointer(address)
    case .metadata, .workspace: throw UnboundValue()
    case .tensorMap(let layout):
      .tensorMap(
        TensorMapDescription(
          address: layout.address, elementByteCount: layout.element.byteCount,
          sizes: layout.sizes, strides: layout.byteStrides, box: layout.box,
          swizzle: layout.swizzle))
    }
  }

  /// A sample that points into a plan, which it has none of.
  private struct UnboundValue: Error, CustomStringConvertible {
    var description: String {
      "sample: launch values must be numbers, addresses or tensor maps; found one of a plan's "
        + "metadata or workspace"
    }
  }
}

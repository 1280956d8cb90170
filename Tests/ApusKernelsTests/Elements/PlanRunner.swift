import ApusDSL
import ApusIR
import ApusKernels
import ApusSimulator
import Testing

/// Kernels built once for all tests.
@MainActor final class KernelCache {
  static let shared = KernelCache()
  private var built: [String: KernelIR] = [:]

  func ir(_ kernel: any ShippedKernel, _ target: Target) throws -> KernelIR {
    let key = "\(kernel.symbol) \(target)"
    if let found = built[key] { return found }
    let ir = try kernel.build(for: target)
    built[key] = ir
    return ir
  }
}

/// What a test of mutants makes of the kernels that `simulate` runs. Launches overlap the one before,
/// where the target can.
struct SimulationHook: Sendable {
  /// The kernel to run instead.
  var change: @Sendable (KernelIR) -> KernelIR
  /// Receives what the simulator reports, which is expected then.
  var note: @Sendable ([SimulationError]) -> Void
  /// Decides the interleaving.
  var seed: UInt64 = 0

  @TaskLocal static var current: SimulationHook?
}

/// Runs a plan's launches in the simulator, one after another.
@MainActor func simulate(
  _ plan: LaunchPlan, on device: inout TestDevice, target: Target = .sm90a, seed: UInt64 = 0,
  sourceLocation: Testing.SourceLocation = #_sourceLocation
) throws {
  let metadata = plan.metadata.isEmpty ? 0 : device.memory.bind("metadata", bytes: plan.metadata)
  let workspace =
    plan.workspaceByteCount == 0
    ? 0 : device.memory.bindOutput("workspace", byteCount: plan.workspaceByteCount)
  for launch in plan.launches {
    let arguments = try launch.values.map { value throws -> KernelArgument in
      switch value {
      case .u32(let value): .scalar(.u32(value))
      case .s32(let value): .scalar(.s32(value))
      case .u64(let value): .scalar(.u64(value))
      case .f32(let value): .scalar(.f32(value))
      case .pointer(let address): .pointer(address)
      case .metadata(let offset): .pointer(metadata + UInt64(offset))
      case .workspace(let offset): .pointer(workspace + UInt64(offset))
      case .tensorMap: throw UnexpectedTensorMap()
      }
    }
    let hook = SimulationHook.current
    var ir = try KernelCache.shared.ir(launch.kernel, target)
    if let hook { ir = hook.change(ir) }
    #expect(
      ir.parameters.count == arguments.count, "\(launch.kernel.symbol)",
      sourceLocation: sourceLocation)
    let report = Simulator(
      ir,
      options: SimulationOptions(
        seed: hook?.seed ?? seed, instructionLimit: 1 << 24,
        overlapsPredecessor: hook != nil && target >= .sm90a)
    ).run(
      grid: GridSize(launch.grid.x, launch.grid.y, launch.grid.z), arguments: arguments,
      memory: &device.memory)
    if let hook {
      hook.note(report.errors)
    } else {
      #expect(report.errors == [], "\(launch.kernel.symbol)", sourceLocation: sourceLocation)
    }
  }
}

struct UnexpectedTensorMap: Error {}

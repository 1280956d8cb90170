import Apus
import ApusCUDA
import ApusCUDATestSupport
import ApusDSL
import ApusIR
import ApusKernels
import ApusSimulator
import ApusThreads

/// A CUDA machine without a GPU: the driver in memory, whose launches the simulator executes.
///
/// What the back end does with the driver is real: compilation, parameters, tensor maps, streams,
/// copies. Kernels run as the kernel language defines them, on the memory that the back end gave them.
final class SimulatedDriver: Sendable {
  let fake: FakeDriver
  let launcher: CUDALauncher
  private let kernels: SimulatedKernels

  var backend: CUDABackend { CUDABackend(launcher) }

  init(
    _ configure: (inout FakeDriver.Configuration) -> Void = { _ in },
    injection: FakeDriver.Injection? = nil, options: CUDAOptions = CUDAOptions()
  ) throws {
    let kernels = SimulatedKernels()
    self.kernels = kernels
    var configuration = FakeDriver.Configuration()
    configuration.otherKernels = { kernels[$0] }
    configure(&configuration)
    fake = FakeDriver(configuration, injection: injection)
    launcher = try CUDALauncher(
      driver: Driver(table: fake.table), options: options, planChunkByteCount: 1
    ) { kernel, target in kernels.add(kernel, target) }
  }

  /// What simulations reported, in order.
  var errors: [String] { kernels.errors.withLock { $0 } }
}

/// Kernels that were compiled, as the fake driver runs them.
private final class SimulatedKernels: Sendable {
  private let known = Lock<[String: FakeKernel]>([:])
  let errors = Lock<[String]>([])

  subscript(symbol: String) -> FakeKernel? { known.withLock { $0[symbol] } }

  func add(_ kernel: any ShippedKernel, _ target: Target) {
    guard let ir = try? kernel.build(for: target) else { return }
    let simulator = Simulator(ir)
    let made = FakeKernel(parameterByteCounts: ir.parameters.map(\.byteCount)) {
      [weak self] launch in
      var memory = GlobalMemory()
      for allocation in launch.memory {
        let start = UnsafeMutableRawPointer(bitPattern: UInt(allocation.address))
        memory.map(
          "device memory",
          UnsafeMutableRawBufferPointer(start: start, count: allocation.byteCount),
          isWritable: true)
      }
      let arguments = zip(ir.parameters.indices, ir.parameters).map { index, parameter in
        Self.argument(launch, index, parameter)
      }
      let grid = launch.grid.map(Int.init)
      let report = simulator.run(
        grid: GridSize(grid[0], grid[1], grid[2]), arguments: arguments, memory: &memory)
      self?.errors.withLock { $0 += report.errors.map(\.description) }
    }
    known.withLock { $0[ir.symbol] = made }
  }

  private static func argument(
    _ launch: FakeLaunch, _ index: Int, _ parameter: Parameter
  ) -> ApusSimulator.KernelArgument {
    switch parameter.kind {
    case .pointer: return .pointer(launch.value(index, as: UInt64.self))
    case .scalar(let type):
      let bits = launch.parameters[index].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      return .scalar(Constant(type: type, bits: bits))
    case .bytes: return .bytes(launch.parameters[index])
    case .tensorMap:
      let words = launch.parameters[index].withUnsafeBytes {
        [UInt64]($0.bindMemory(to: UInt64.self))
      }
      let map = FakeTensorMap(words: words)
      let sizes: [UInt32: Int] = [0: 1, 1: 2, 6: 2, 9: 2, 2: 4, 7: 4]
      return .tensorMap(
        ApusSimulator.TensorMapDescription(
          address: map.address, elementByteCount: sizes[map.elementType] ?? 1,
          sizes: map.dimensions, strides: map.byteStrides, box: map.box,
          swizzle: Swizzle(rawValue: UInt8(map.swizzle)) ?? .none))
    }
  }
}

import Apus
import ApusCUDA
import Foundation

/// How long first calls take on a GPU: in a process whose driver has compiled nothing yet, and in the
/// next one, which finds the driver's disk cache filled.
struct StartReport: Codable, Sendable {
  /// First calls of one process, counted from an existing CUDA context.
  struct Process: Codable, Sendable {
    /// Loading the driver and opening the device's context; no part of the calls below.
    var contextMilliseconds: Double
    /// The back end's own preparation.
    var backendMilliseconds: Double
    /// The first plan and run of each operator, result included.
    var firstCalls: [Call]
  }

  /// One operator.
  struct Call: Codable, Sendable {
    var name: String
    /// The first call: building, compiling or finding kernels, running, waiting.
    var firstMilliseconds: Double
    /// Host time of enqueuing it again with the same tensors, the mean of many.
    var enqueueMicroseconds: Double
  }

  var device: String
  var driver: String
  var cold: Process
  var warm: Process

  /// The report for people.
  var text: String {
    var lines = ["\(device), CUDA \(driver)"]
    lines.append(
      "context       \(Format.fixed(cold.contextMilliseconds, 1)) ms cold, "
        + "\(Format.fixed(warm.contextMilliseconds, 1)) ms warm; back end "
        + "\(Format.fixed(cold.backendMilliseconds, 1)) and "
        + "\(Format.fixed(warm.backendMilliseconds, 1)) ms")
    for (cold, warm) in zip(cold.firstCalls, warm.firstCalls) {
      let name = cold.name.padding(toLength: 14, withPad: " ", startingAt: 0)
      lines.append(
        "\(name)first call \(Format.fixed(cold.firstMilliseconds, 1)) ms cold, "
          + "\(Format.fixed(warm.firstMilliseconds, 1)) ms warm; enqueued again in "
          + "\(Format.fixed(warm.enqueueMicroseconds, 2)) µs")
    }
    return lines.joined(separator: "\n")
  }
}

extension StartReport {
  /// Runs this program twice with a fresh folder for the driver's disk cache.
  static func measure(device: Int) throws -> StartReport {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("apus-start-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let backend = try CUDABackend(device: device)
    let cold = try child(device: device, cache: folder)
    let warm = try child(device: device, cache: folder)
    return StartReport(
      device: backend.launcher.device.properties.name,
      driver: backend.launcher.device.driver.version.description, cold: cold, warm: warm)
  }

  private static func child(device: Int, cache: URL) throws -> Process {
    let child = Foundation.Process()
    guard let executable = Bundle.main.executableURL else {
      throw ApusError.environment(
        EnvironmentError(
          operation: "apus devices --measure-start", code: 0,
          text: "the system does not say where this program is"))
    }
    child.executableURL = executable
    child.arguments = ["devices", "--measure-start-child", "--device", "\(device)"]
    var environment = ProcessInfo.processInfo.environment
    environment["CUDA_CACHE_PATH"] = cache.path
    environment["CUDA_CACHE_DISABLE"] = nil
    child.environment = environment
    let output = Pipe()
    child.standardOutput = output
    try child.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    child.waitUntilExit()
    guard child.terminationStatus == 0 else {
      throw ApusError.environment(
        EnvironmentError(
          operation: "apus devices --measure-start", code: Int(child.terminationStatus),
          text: "the measured process failed"))
    }
    return try JSONDecoder().decode(Process.self, from: data)
  }

  /// What one process measures.
  static func firstCalls(device ordinal: Int) throws -> Process {
    let clock = ContinuousClock()
    func milliseconds(_ body: () throws -> Void) rethrows -> Double {
      let elapsed = try clock.measure(body).components
      return Double(elapsed.seconds) * 1e3 + Double(elapsed.attoseconds) * 1e-15
    }
    var context: Context?
    let contextTime = try milliseconds {
      context = try Context.primary(of: Device(ordinal, of: Driver.load()))
    }
    var made: CUDABackend?
    let backendTime = try milliseconds { made = try CUDABackend(device: ordinal) }
    guard let backend = made else {
      return Process(contextMilliseconds: 0, backendMilliseconds: 0, firstCalls: [])
    }
    let stream = try Stream(in: backend.launcher.context)
    var calls: [Call] = []
    for operation in try StartOperation.all(on: backend) {
      var run: (ExecutionStream) throws -> Void = { _ in }
      let first = try milliseconds {
        run = try operation.prepare()
        try run(.synchronous)
      }
      let count = 1000
      let again = try milliseconds {
        for _ in 0..<count { try run(.device(handle: stream.handle)) }
      }
      try stream.synchronize()
      calls.append(
        Call(
          name: operation.name, firstMilliseconds: first,
          enqueueMicroseconds: again * 1e3 / Double(count)))
    }
    withExtendedLifetime(context) {}
    return Process(
      contextMilliseconds: contextTime, backendMilliseconds: backendTime, firstCalls: calls)
  }
}

/// An operator whose first call is measured, with tensors made beforehand.
private struct StartOperation {
  var name: String
  /// Plans; what comes back runs on a stream.
  var prepare: () throws -> (ExecutionStream) throws -> Void

  static func all(on backend: CUDABackend) throws -> [StartOperation] {
    func tensor(_ type: ScalarType, _ shape: [Int]) throws -> GPUTensor {
      try GPUTensor(type, shape, on: backend.launcher)
    }
    let shape = AttentionShape(qoHeadCount: 32, kvHeadCount: 8, headDimQK: 128)
    let types = AttentionTypes(q: .bf16)
    let v = try (0..<3).map { _ in try tensor(.bf16, [512, 32, 128]) }
    let s = try (0..<3).map { _ in try tensor(.f32, [512, 32]) }
    let q = try tensor(.bf16, [1024, 32, 128])
    let kv = try (0..<2).map { _ in try tensor(.bf16, [1024, 8, 128]) }
    let o = try tensor(.bf16, [1024, 32, 128])
    let pages = try (0..<2).map { _ in try tensor(.bf16, [1024, 16, 8, 128]) }
    let table = PageTable(
      pageSize: 16, indptr: RaggedIndptr(uniform: 8, batch: 128),
      indices: (0..<1024).map { Int32($0) }, lastPageLength: [Int32](repeating: 16, count: 128))
    let keep = (v, s, q, kv, o, pages)
    return [
      StartOperation(name: "merge") {
        let arguments = MergeArguments(
          .two(
            aV: v[0].view, aS: s[0].view, bV: v[1].view, bS: s[1].view, v: v[2].view,
            s: s[2].view))
        return { stream in
          try backend.merge(arguments, on: stream)
          withExtendedLifetime(keep) {}
        }
      },
      StartOperation(name: "prefill 1024") {
        let planned = try SinglePrefill.plan(
          shape: shape, types: types, qoLength: 1024, kvLength: 1024, on: backend)
        let arguments = AttentionArguments(
          q: .packed(q.view), kv: .separate(k: kv[0].view, v: kv[1].view), o: o.view)
        return { stream in
          try planned.run(arguments, on: stream)
          withExtendedLifetime(keep) {}
        }
      },
      StartOperation(name: "decode 128") {
        let planned = try BatchDecode.plan(shape: shape, types: types, pages: table, on: backend)
        let arguments = AttentionArguments(
          q: .packed(q.view), kv: .separate(k: pages[0].view, v: pages[1].view), o: o.view)
        return { stream in
          try planned.run(arguments, on: stream)
          withExtendedLifetime(keep) {}
        }
      },
    ]
  }
}

/// A tensor of zeros in device memory.
private final class GPUTensor {
  let view: TensorView
  private let buffer: DeviceBuffer

  init(_ type: ScalarType, _ shape: [Int], on launcher: CUDALauncher) throws {
    let byteCount = shape.reduce(type.byteCount, *)
    buffer = try DeviceBuffer(byteCount: byteCount, in: launcher.context)
    let stream = try Stream(in: launcher.context)
    try stream.fill(buffer.view, byte: 0)
    try stream.synchronize()
    view = TensorView(
      address: UInt(buffer.address), byteCount: byteCount, scalarType: type, shape: shape,
      strides: TensorView.denseStrides(shape), memory: launcher.memory)
  }
}

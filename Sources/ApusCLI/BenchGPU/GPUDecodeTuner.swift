internal import Apus
internal import ApusCUDA
internal import ApusCore
internal import ApusDSL
internal import ApusKernels
internal import ApusNumerics

/// Measures decode configurations beside the one that the selection chooses; the rules of the
/// selection are what it prints.
struct GPUDecodeTuner {
  /// Figures of one configuration on one shape.
  struct Result: Codable, Sendable {
    var tag: String
    var qType: String
    var kvType: String
    /// Name of the change, and the kernel that it leads to.
    var tuning: String
    var kernel: String
    var blockCount: Int
    var graph: GPUSamples
    /// Rate of the compulsory bytes over that of the read-only kernel.
    var ofRead: Double
    /// The choice's time over this one's: above 1 the change is faster.
    var gain: Double
    /// Greatest difference of an output from the choice's, over the greatest output.
    var difference: Double
  }

  /// What a file of results holds.
  struct Report: Codable, Sendable {
    var kind = "apus-gpu-decode-tuning"
    var schema = 1
    var date: String
    var commit: String?
    var device: GPUDeviceInfo
    var limits: GPULimits
    var results: [Result]
    /// Changes that no kernel or no room was found for.
    var skipped: [BenchSkip]
  }

  /// What a shape gave.
  struct Measured {
    /// The fastest first.
    var results: [Result] = []
    var skipped: [BenchSkip] = []
  }

  let session: GPUBenchSession
  /// Keep the changes whose name is among these; all if empty.
  let variants: [String]

  /// All candidates of a shape in one memory.
  func measure(_ shape: GPUDecodeSuite.Shape) throws -> Measured {
    // First, because it drops all tensors.
    let read = try session.limits().readBytesPerSecond ?? 0
    defer { session.dropTensors() }
    let inputs = try GPUDecodeSuite.inputs(shape, session)
    let target = session.backend.launcher.target
    let candidates = DecodeTuning.candidates(
      for: inputs.problem, target: target,
      multiprocessorCount: session.device.properties.multiprocessorCount
    )
    .filter { keeps($0.tuning) }
    var measured = Measured()
    let launcher = session.backend.launcher
    let refusals = try concurrentMap(candidates.map(\.plan.kernel)) {
      try Self.refusal(of: $0, launcher)
    }
    var expected: [Float] = []
    for ((tuning, plan), refusal) in zip(candidates, refusals) {
      if let refusal {
        measured.skipped.append(BenchSkip(name: "\(shape.tag) \(tuning)", reason: refusal))
        continue
      }
      let calls = try calls(plan, inputs)
      guard let first = calls.first else { continue }
      try session.clear(inputs.o)
      try first()
      let found = try session.floats(inputs.o, shape.qType)
      if expected.isEmpty { expected = found }
      let timing = try session.timer.graph(calls, caseSeconds: 0.03)
      guard let samples = GPUSamples(timing.seconds) else { continue }
      let rate = Double(shape.bytes) / samples.medianSeconds
      let chosen = measured.results.first?.graph.medianSeconds ?? samples.medianSeconds
      measured.results.append(
        Result(
          tag: shape.tag, qType: "\(shape.qType)", kvType: "\(shape.kvType)",
          tuning: tuning.name, kernel: plan.kernel.symbol, blockCount: plan.blockCount,
          graph: samples, ofRead: read > 0 ? rate / read : 0,
          gain: chosen / samples.medianSeconds,
          difference: Self.difference(found, expected)))
    }
    measured.results.sort { $0.graph.medianSeconds < $1.graph.medianSeconds }
    return measured
  }

  /// Compiles a kernel; why it cannot be, if the language or the device has no room for it.
  private static func refusal(
    of kernel: DecodeKernel, _ launcher: CUDALauncher
  ) throws -> String? {
    do {
      _ = try kernel.build(for: launcher.target)
      try launcher.prepare([kernel], operation: "apus bench --tune")
      return nil
    } catch let error as ElaborationError {
      return "\(error)"
    } catch let error as ApusError where error.isRefusal {
      return "\(error)"
    }
  }

  /// The choice is always measured: it is what the others are compared with.
  private func keeps(_ tuning: DecodeTuning) -> Bool {
    variants.isEmpty || tuning == .chosen || variants.contains(tuning.name)
  }

  /// One call for each input set.
  private func calls(_ plan: DecodePlan, _ inputs: GPUDecodeSuite.Inputs) throws -> [GPUCall] {
    let launcher = session.backend.launcher
    let lists = try launcher.upload(plan.metadata, operation: "apus bench --tune")
    let workspace = try launcher.allocate(
      byteCount: max(16, plan.workspaceByteCount), operation: "apus bench --tune")
    return inputs.arguments.map { arguments in
      let batch = LaunchBatch(
        DecodeLaunch.launches(plan, inputs.problem, arguments), lists: .resident(lists),
        workspace: workspace.address
      ) { [] }
      return { [session] in
        try withExtendedLifetime((lists, workspace)) {
          try launcher.run(batch, on: session.queue, operation: "apus bench --tune")
        }
      }
    }
  }

  private static func difference(_ found: [Float], _ expected: [Float]) -> Double {
    let largest = expected.reduce(Float(0)) { max($0, abs($1)) }
    var worst: Float = 0
    for (a, b) in zip(found, expected) {
      // NaN on either side is as wrong as it gets.
      worst = (a - b).isNaN ? .greatestFiniteMagnitude : max(worst, abs(a - b))
    }
    return largest > 0 ? Double(worst / largest) : Double(worst)
  }

  /// The results of all shapes as aligned text, and what was left out.
  static func table(_ results: [Result], _ skipped: [BenchSkip]) -> String {
    var table = TextTable([
      ("shape", .left), ("types", .left), ("µs", .right), ("of read", .right), ("gain", .right),
      ("difference", .right), ("change", .left), ("blocks", .right), ("kernel", .left),
    ])
    for result in results {
      table.add([
        result.tag, "\(result.qType)/\(result.kvType)",
        Format.fixed(result.graph.medianSeconds * 1e6, 2), Format.fixed(result.ofRead, 3),
        Format.fixed(result.gain, 3), Format.fixed(result.difference, 5), result.tuning,
        "\(result.blockCount)", result.kernel,
      ])
    }
    return ([table.text()] + skipped.map { "skipped: \($0.name): \($0.reason)" })
      .joined(separator: "\n")
  }
}

extension GPUDecodeSuite {
  /// The cells that the selection's rules hang on: one request, short rows, odd shapes.
  static var tunedShapes: [Shape] {
    var shapes: [Shape] = []
    for kv in [ElementType.bf16, .e4m3] {
      for (qoHeads, kvHeads) in [(32, 8), (32, 32), (64, 8)] {
        for length in [1024, 8192, 32768] {
          shapes.append(
            Shape(batch: 1, length: length, qoHeads: qoHeads, kvHeads: kvHeads, kvType: kv))
        }
      }
      for (batch, length, heads) in [
        (128, 1024, (32, 32)), (64, 1024, (32, 32)), (16, 1024, (32, 8)), (64, 1024, (32, 8)),
        (64, 1024, (64, 8)), (16, 8192, (64, 8)), (2, 1024, (32, 8)), (4, 2048, (32, 8)),
        (1, 2048, (32, 8)), (1, 4096, (32, 8)), (2, 4096, (32, 8)), (4, 1024, (32, 8)),
        (8, 1024, (32, 8)), (32, 1024, (32, 8)), (32, 8192, (32, 8)), (64, 8192, (32, 8)),
        (128, 1024, (32, 8)), (128, 8192, (32, 8)), (16, 1024, (32, 32)), (1, 1024, (8, 1)),
      ] {
        shapes.append(
          Shape(
            batch: batch, length: length, qoHeads: heads.0, kvHeads: heads.1, kvType: kv))
      }
      for length in [8192, 32768] {
        shapes.append(
          Shape(
            batch: 1, length: length, qoHeads: 32, kvHeads: 32, pageSize: 64, kvType: kv))
      }
    }
    return shapes + otherShapes
  }
}

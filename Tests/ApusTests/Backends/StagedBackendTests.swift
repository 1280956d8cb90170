import Apus
import ApusCUDA
import ApusCUDATestSupport
import ApusConformance
import ApusKernels
import Synchronization
import Testing

/// The conformance suite over the CUDA back end: on a driver in memory whose kernels the simulator
/// runs, and on a GPU where there is one.
@Suite struct StagedBackendTests {
  /// Why there is no GPU to test on; nil if there is one.
  static let noGPU: String? = {
    do throws(ApusError) {
      _ = try CUDABackend()
      return nil
    } catch {
      return error.description
    }
  }()

  func report(_ family: CaseFamily, count: Int) throws -> (report: SuiteReport, errors: [String]) {
    let machine = try SimulatedDriver()
    let kernels = KernelCounter()
    let backend = StagedBackend(machine.backend.observing(kernels.record))
    let report = Suite(
      backend: backend, model: .tensorCores,
      options: Suite.Options(
        cases: 0..<count, size: .small, family: family, seeksSupport: true,
        propertyRepetitions: 0, makesMalformedCalls: false), kernels: kernels
    ).run()
    return (report, machine.errors)
  }

  @Test(arguments: [CaseFamily.merge, .append, .rope, .packbits])
  func `operators over staged operands agree with the definition`(_ family: CaseFamily) throws {
    let (report, errors) = try report(family, count: 12)
    #expect(report.failures.isEmpty, "\(report)")
    #expect(report.passedCount == 12)
    #expect(!report.kernelCases.isEmpty)
    #expect(errors.isEmpty)
  }

  @Test func `a prefill with tensor maps goes through the driver`() throws {
    let machine = try SimulatedDriver()
    let backend = StagedBackend(machine.backend)
    let shape = AttentionShape(qoHeadCount: 2, kvHeadCount: 1, headDimQK: 64)
    let planned = try SinglePrefill.plan(
      shape: shape, types: AttentionTypes(q: .bf16), qoLength: 130, kvLength: 130, on: backend)
    let count = 130 * 64
    let q = try Tensor(
      (0..<2 * count).map { Float($0 % 17) / 16 - 0.5 }, .bf16, shape: [130, 2, 64])
    let k = try Tensor((0..<count).map { Float($0 % 13) / 16 - 0.4 }, .bf16, shape: [130, 1, 64])
    let v = try Tensor([Float](repeating: 0.75, count: count), .bf16, shape: [130, 1, 64])
    let o = try Tensor(zeros: .bf16, shape: [130, 2, 64])
    try planned.run(q: q, k: k, v: v, o: o)
    #expect(machine.errors.isEmpty)
    #expect(o.values == [Float](repeating: 0.75, count: 2 * count))
    #expect(machine.fake.calls.contains("cuTensorMapEncodeTiled"))
  }

  @Test(arguments: [(1, 64, 300), (130, 64, 130), (3, 24, 40)])
  func `K and V whose tokens or heads share one row are read as such`(
    _ queries: Int, _ dim: Int, _ keys: Int
  ) throws {
    let machine = try SimulatedDriver()
    let backend = StagedBackend(machine.backend)
    let shape = AttentionShape(qoHeadCount: 2, kvHeadCount: 2, headDimQK: dim)
    let planned = try SinglePrefill.plan(
      shape: shape, types: AttentionTypes(q: .bf16), qoLength: queries, kvLength: keys,
      on: backend)
    let q = try Tensor(
      (0..<queries * 2 * dim).map { Float($0 % 17) / 16 - 0.5 }, .bf16, shape: [queries, 2, dim])
    let row = try Tensor((0..<2 * dim).map { Float($0 % 31) / 8 }, .bf16, shape: [2, dim])
    let o = try Tensor(zeros: .bf16, shape: [queries, 2, dim])
    // Every token is the same row: o is that row, whatever the scores are.
    func shared(_ strides: [Int]) -> TensorView {
      TensorView(
        address: row.view.address, byteCount: row.view.byteCount, scalarType: .bf16,
        shape: [keys, 2, dim], strides: strides)
    }
    for strides in [[0, dim, 1], [0, 0, 1]] {
      let view = shared(strides)
      try planned.run(
        AttentionArguments(q: .packed(q.view), kv: .separate(k: view, v: view), o: o.view))
      let expected = (0..<queries).flatMap { _ in
        (0..<2).flatMap { head in
          (0..<dim).map { row.values[head * strides[1] + $0] }
        }
      }
      #expect(o.values == expected)
    }
    #expect(machine.errors.isEmpty)
    withExtendedLifetime(row) {}
  }

  @Test func `a planned run on a stream neither allocates nor waits nor reads back`() throws {
    let machine = try SimulatedDriver()
    let launcher = machine.launcher
    let stream = try Stream(in: launcher.context)
    let shape = AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 64)
    let planned = try SinglePrefill.plan(
      shape: shape, types: AttentionTypes(q: .bf16), qoLength: 130, kvLength: 130,
      on: machine.backend)
    let tensors = try (0..<8).map { _ in try DeviceTensor(.bf16, [130, 1, 64], on: launcher) }
    func arguments(_ first: Int) -> AttentionArguments {
      AttentionArguments(
        q: .packed(tensors[first].view),
        kv: .separate(k: tensors[first + 1].view, v: tensors[first + 2].view),
        o: tensors[first + 3].view)
    }
    // The first run with tensors encodes them, the second finds them encoded.
    for (first, encodes) in [(0, 4), (0, 0), (4, 4), (0, 0)] {
      machine.fake.forgetCalls()
      try planned.run(arguments(first), on: .device(handle: stream.handle))
      let calls = machine.fake.calls
      #expect(Set(calls).subtracting(CUDABackendTests.quiet).isEmpty)
      #expect(calls.count { $0 == "cuTensorMapEncodeTiled" } == encodes)
      #expect(calls.count { $0 == "cuLaunchKernelEx" } == 1)
    }
    withExtendedLifetime((tensors, stream)) {}
  }

  @Test func `a write beside the operands is found`() throws {
    let machine = try SimulatedDriver {
      $0.otherKernels = { symbol in
        FakeKernel(parameterByteCounts: [8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8]) { launch in
          // One byte behind the arena's last operand.
          for memory in launch.memory
          where memory.byteCount >= 1 << 20 && memory.byteCount < 2 << 20 {
            let end = UnsafeMutablePointer<UInt8>(bitPattern: UInt(memory.address))
            for offset in 0..<2000 where end?[offset] == 0xFF { end?[offset] = 7 }
          }
        }
      }
    }
    let backend = StagedBackend(machine.backend)
    let v = try (0..<3).map { _ in try Tensor(zeros: .f32, shape: [1, 1, 8]) }
    let s = try (0..<3).map { _ in try Tensor(zeros: .f32, shape: [1, 1]) }
    do throws(ApusError) {
      try backend.merge(
        MergeArguments(
          .two(
            aV: v[0].view, aS: s[0].view, bV: v[1].view, bS: s[1].view, v: v[2].view,
            s: s[2].view)), on: .synchronous)
      Issue.record("expected an error")
    } catch {
      #expect(error.description.contains("a kernel wrote beside its operands"))
    }
    withExtendedLifetime((v, s)) {}
  }

  @Test(
    .enabled(if: noGPU == nil, Comment(rawValue: noGPU ?? "")),
    arguments: [CaseFamily.prefill, .decode, .merge, .append, .rope, .packbits])
  func `the GPU agrees with the definition`(_ family: CaseFamily) throws {
    let kernels = KernelCounter()
    let backend = StagedBackend(try CUDABackend().observing(kernels.record))
    let report = Suite(
      backend: backend, model: .tensorCores,
      options: Suite.Options(
        cases: 0..<100, family: family, seeksSupport: true, propertyRepetitions: 0,
        makesMalformedCalls: false, workers: 4), kernels: kernels
    ).run()
    #expect(report.failures.isEmpty, "\(report)")
    #expect(report.skippedCount == 0)
  }
}

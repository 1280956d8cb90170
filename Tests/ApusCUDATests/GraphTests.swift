import ApusCUDA
import ApusCUDATestSupport
import Testing

@Suite struct GraphTests {
  @Test func `captured work runs at each launch and not before`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let stream = try Stream(in: context)
    let memory = try DeviceBuffer(byteCount: 4, in: context)
    let view = memory.view
    try context.copy([1] as [UInt32], to: view)
    let graph = try stream.capture { () throws(CUDAError) in try stream.fill(view, word: 7) }
    var found: [UInt32] = [0]
    try context.copy(from: view, to: &found)
    #expect(found == [1])
    #expect(try graph.nodeCount() == 1)
    let executable = try graph.instantiate()
    machine.fake.forgetCalls()
    try executable.launch(on: stream)
    #expect(
      machine.fake.calls
        == ["cuCtxGetCurrent", "cuCtxPushCurrent", "cuGraphLaunch", "cuCtxPopCurrent"])
    try context.copy(from: view, to: &found)
    #expect(found == [7])
  }

  @Test func `an error inside a capture ends it and frees what it recorded`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let stream = try Stream(in: context)
    let error = thrown { () throws(CUDAError) in
      _ = try stream.capture { () throws(CUDAError) in
        // The driver refuses to allocate during a capture.
        _ = try DeviceBuffer(byteCount: 16, in: context)
      }
    }
    #expect(error?.name == "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
    #expect(try !stream.isCapturing())
    #expect(!machine.fake.live.contains { $0.hasPrefix("graph") || $0 == "a capture" })
  }

  @Test func `the legacy default stream cannot be captured`() throws {
    let machine = try Machine()
    let stream = Stream.legacyDefault(of: try machine.context())
    let error = thrown { () throws(CUDAError) in _ = try stream.capture {} }
    #expect(error?.function == "cuStreamBeginCapture")
    #expect(error?.code == 900)
  }

  @Test func `parameters update and shapes do not`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let stream = try Stream(in: context)
    let memory = try DeviceBuffer(byteCount: 4, in: context)
    let view = memory.view
    let first = try stream.capture { () throws(CUDAError) in try stream.fill(view, word: 1) }
    let second = try stream.capture { () throws(CUDAError) in try stream.fill(view, word: 2) }
    let longer = try stream.capture { () throws(CUDAError) in
      try stream.fill(view, word: 3)
      try stream.fill(view, word: 4)
    }
    let executable = try first.instantiate()
    #expect(try executable.update(from: second) == .updated)
    #expect(try executable.update(from: longer) == .incompatible(reason: 2))
    try executable.launch(on: stream)
    var found: [UInt32] = [0]
    try context.copy(from: view, to: &found)
    #expect(found == [2])
  }

  @Test func `a graph on another device's stream is refused`() throws {
    let machine = try Machine()
    let stream = try Stream(in: machine.context(0))
    let other = try Stream(in: machine.context(1))
    let executable = try stream.capture {}.instantiate()
    var texts: [String] = []
    do throws(CUDAError) { try executable.launch(on: other) } catch {
      texts.append(error.description)
    }
    do throws(CUDAError) { try executable.upload(on: other) } catch {
      texts.append(error.description)
    }
    let rule =
      ": the stream must belong to the context of the graph, device 0; found a stream of device 1."
    #expect(texts == ["ExecutableGraph.launch\(rule)", "ExecutableGraph.upload\(rule)"])
  }
}

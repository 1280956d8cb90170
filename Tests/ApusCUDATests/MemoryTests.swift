import ApusCUDA
import ApusCUDATestSupport
import Testing

@Suite struct DeviceBufferTests {
  @Test func `memory is freed with the buffer`() throws {
    let machine = try Machine()
    let context = try machine.context()
    machine.fake.forgetCalls()
    try context.withCurrent("test") { () throws(CUDAError) in
      let buffer = try DeviceBuffer(byteCount: 256, in: context)
      _ = buffer.view
    }
    #expect(
      machine.fake.calls
        == [
          "cuCtxGetCurrent", "cuCtxPushCurrent", "cuCtxGetCurrent", "cuMemAlloc",
          "cuCtxGetCurrent", "cuMemFree", "cuCtxPopCurrent",
        ])
  }

  @Test func `an explicit free happens once`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let buffer = try DeviceBuffer(byteCount: 256, in: context)
    try buffer.free()
    let streamed = try DeviceBuffer(byteCount: 256, on: Stream(in: context))
    try streamed.free()
    #expect(machine.fake.calls.count { $0 == "cuMemFree" } == 1)
    #expect(machine.fake.calls.count { $0 == "cuMemFreeAsync" } == 1)
    #expect(machine.log.releaseErrors == [])
  }

  @Test func `stream-ordered memory keeps its stream until it is freed`() throws {
    let machine = try Machine()
    do {
      let context = try machine.context()
      let buffer = try DeviceBuffer(byteCount: 64, on: Stream(in: context))
      #expect(machine.fake.live.contains("stream of device 0"))
      _ = buffer.view
    }
    let calls = machine.fake.calls.filter { $0 == "cuMemFreeAsync" || $0 == "cuStreamDestroy" }
    #expect(calls == ["cuMemFreeAsync", "cuStreamDestroy"])
    #expect(machine.fake.live == [])
  }

  @Test func `nothing is allocated for 0 bytes`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let stream = try Stream(in: context)
    machine.fake.forgetCalls()
    let buffer = try DeviceBuffer(byteCount: 0, in: context)
    let streamed = try DeviceBuffer(byteCount: 0, on: stream)
    let pinned = try PinnedBuffer(byteCount: 0, in: context)
    #expect(buffer.address == 0 && streamed.address == 0 && pinned.bytes.isEmpty)
    try stream.fill(buffer.view, byte: 1)
    try stream.fill(buffer.view, word: 1)
    try stream.copy(from: buffer.view, to: streamed.view)
    try context.copy([UInt8](), to: buffer.view)
    #expect(machine.fake.calls == [])
  }

  @Test func `a negative size is refused`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let error = thrown { () throws(CUDAError) in
      _ = try DeviceBuffer(byteCount: -1, in: context)
    }
    #expect(error?.description == "DeviceBuffer.init: byteCount must not be negative; found -1.")
  }

  @Test func `too much memory is a typed error and leaves the context usable`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let error = thrown { () throws(CUDAError) in
      _ = try DeviceBuffer(byteCount: 2 << 30, in: context)
    }
    #expect(error?.name == "CUDA_ERROR_OUT_OF_MEMORY")
    #expect(error?.function == "cuMemAlloc")
    #expect(
      error?.description
        == "DeviceBuffer.init: cuMemAlloc must succeed; found CUDA_ERROR_OUT_OF_MEMORY (2: words "
        + "of the fake driver). Free device memory, or use a smaller problem or workspace.")
    _ = try DeviceBuffer(byteCount: 16, in: context)
  }

  @Test func `a slice must lie inside`() throws {
    let view = DeviceView(address: 1000, byteCount: 100)
    #expect(try view.slice(at: 40, byteCount: 60) == DeviceView(address: 1040, byteCount: 60))
    #expect(try view.slice(at: 100, byteCount: 0).byteCount == 0)
    for (offset, count) in [(-1, 1), (0, 101), (101, 0), (50, 51), (0, -1), (1, Int.max)] {
      let error = thrown { () throws(CUDAError) in
        _ = try view.slice(at: offset, byteCount: count)
      }
      #expect(
        error?.description
          == "DeviceView.slice: the part must lie inside the view's 100 bytes; found \(count) "
          + "bytes at offset \(offset).")
    }
    #expect(DeviceView(address: 255, byteCount: -4).description == "0xff + 0 bytes")
  }
}

@Suite struct CopyTests {
  @Test func `bytes arrive`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let buffer = try DeviceBuffer(byteCount: 12, in: context)
    try context.copy([1, 2, 3] as [UInt32], to: buffer.view)
    let stream = try Stream(in: context)
    try stream.fill(buffer.view.slice(at: 4, byteCount: 4), word: 0x0102_0304)
    try stream.fill(buffer.view.slice(at: 8, byteCount: 2), byte: 9)
    var found: [UInt32] = [0, 0, 0]
    try context.copy(from: buffer.view, to: &found)
    #expect(found == [1, 0x0102_0304, 0x0000_0909])
  }

  @Test func `sizes must agree`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let stream = try Stream(in: context)
    let buffer = try DeviceBuffer(byteCount: 8, in: context)
    let (view, part) = (buffer.view, try buffer.view.slice(at: 0, byteCount: 4))
    let pinned = try PinnedBuffer(byteCount: 12, in: context)
    let bytes = pinned.bytes
    var values: [UInt8] = [1]
    let text =
      ": source and destination must have the same number of bytes; found "
    machine.fake.forgetCalls()
    let errors = [
      thrown { () throws(CUDAError) in try stream.copy(from: view, to: part) },
      thrown { () throws(CUDAError) in try stream.copy(from: view, to: bytes) },
      thrown { () throws(CUDAError) in
        try stream.copy(from: UnsafeRawBufferPointer(bytes), to: view)
      },
      thrown { () throws(CUDAError) in
        try stream.copy(from: part, in: context, to: view, in: context)
      },
      thrown { () throws(CUDAError) in try context.copy(values, to: view) },
      thrown { () throws(CUDAError) in try context.copy(from: view, to: &values) },
    ]
    #expect(
      errors.map { $0?.description }
        == [
          "Stream.copy\(text)8 and 4.", "Stream.copy\(text)8 and 12.",
          "Stream.copy\(text)12 and 8.", "Stream.copy\(text)4 and 8.",
          "Context.copy\(text)1 and 8.", "Context.copy\(text)8 and 1.",
        ])
    #expect(machine.fake.calls == [])
  }

  @Test func `words need alignment`() throws {
    let machine = try Machine()
    let stream = try Stream(in: machine.context())
    for view in [
      DeviceView(address: 256, byteCount: 6), DeviceView(address: 258, byteCount: 8),
    ] {
      let error = thrown { () throws(CUDAError) in try stream.fill(view, word: 0) }
      #expect(
        error?.description
          == "Stream.fill: address and byteCount must be multiples of 4; found \(view).")
    }
  }
}

@Suite struct StreamTests {
  @Test func `an own stream is destroyed with its last copy`() throws {
    let machine = try Machine()
    let context = try machine.context()
    var copies: [Stream] = []
    do {
      let stream = try Stream(in: context)
      copies = [stream, stream]
    }
    #expect(!machine.fake.calls.contains("cuStreamDestroy"))
    copies.removeLast()
    #expect(!machine.fake.calls.contains("cuStreamDestroy"))
    copies.removeAll()
    #expect(machine.fake.calls.count { $0 == "cuStreamDestroy" } == 1)
  }

  @Test func `a borrowed stream is not destroyed`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let owner = try Stream(in: context)
    do { _ = try Stream(borrowing: owner.handle, in: context) }
    #expect(!machine.fake.calls.contains("cuStreamDestroy"))
    #expect(try owner.isIdle())
  }

  @Test func `a stream of another device is refused`() throws {
    let machine = try Machine()
    let (first, second) = (try machine.context(0), try machine.context(1))
    let stream = try Stream(in: first)
    let borrowed = thrown { () throws(CUDAError) in
      _ = try Stream(borrowing: stream.handle, in: second)
    }
    #expect(
      borrowed?.description
        == "Stream.init: the borrowed stream must belong to the context of device 1; found a "
        + "stream of another context.")
    let event = try Event(in: second)
    var recorded: CUDAError?
    do throws(CUDAError) { try event.record(on: stream) } catch { recorded = error }
    #expect(
      recorded?.description
        == "Event.record: the stream must belong to the context of the event, device 1; found a "
        + "stream of device 0.")
  }

  @Test func `default streams need no check`() throws {
    let machine = try Machine()
    let context = try machine.context()
    machine.fake.forgetCalls()
    #expect(Stream.legacyDefault(of: context).handle == 0)
    #expect(Stream.perThreadDefault(of: context).handle == 2)
    #expect(try Stream(borrowing: 0, in: context).handle == 0)
    #expect(machine.fake.calls == [])
  }

  @Test func `work that is not done is no error`() throws {
    // Calls of set-up are counted once, to make the next query fail with NOT_READY.
    func scenario(_ machine: Machine) throws -> (stream: Bool, event: Bool) {
      let context = try machine.context()
      let stream = try Stream(in: context)
      let event = try Event(in: context)
      return (try stream.isIdle(), try event.isComplete())
    }
    let dry = try Machine()
    #expect(try scenario(dry) == (true, true))
    let calls = dry.fake.calls
    for name in ["cuStreamQuery", "cuEventQuery"] {
      let index = try #require(calls.firstIndex(of: name))
      let machine = try Machine(injection: .init(index: index, status: 600))
      #expect(try scenario(machine) == (name == "cuEventQuery", name == "cuStreamQuery"))
    }
  }
}

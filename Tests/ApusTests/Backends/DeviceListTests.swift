import Apus
import ApusCUDA
import ApusCUDATestSupport
import ApusTestSupport
import Testing

/// Lists of appends and rotations that lie in the memory of the back end.
@Suite struct DeviceListTests {
  private static let heads = 2
  private static let dim = 16

  /// What a run by lists on the device must not ask of the driver.
  private static func isForbidden(_ call: String) -> Bool {
    ["Mem", "Synchronize", "Event", "Query", "Module"].contains { call.contains($0) }
  }

  private static func bytes<Element: BitwiseCopyable>(_ list: [Element]) -> [UInt8] {
    list.withUnsafeBytes { [UInt8]($0) }
  }

  /// Memory of the fake device.
  private struct Machine {
    let driver: SimulatedDriver
    let backend: CUDABackend
    let stream: Stream

    init() throws {
      driver = try SimulatedDriver()
      backend = driver.backend
      stream = try Stream(in: driver.launcher.context)
    }

    var handle: ExecutionStream { .device(handle: stream.handle) }

    func tensor(_ list: [Int32], _ shape: [Int]? = nil) throws -> DeviceTensor {
      let tensor = try DeviceTensor(.i32, shape ?? [list.count], on: driver.launcher)
      try write(list, tensor)
      return tensor
    }

    /// Caches of zeros, four pages of two tokens.
    func caches() throws -> [DeviceTensor] {
      let shape = [4, 2, DeviceListTests.heads, DeviceListTests.dim]
      return try (0..<2).map { _ in
        try DeviceTensor(
          .f32, shape, on: driver.launcher,
          values: [Float](repeating: 0, count: shape.reduce(1, *)))
      }
    }

    func write<Element: BitwiseCopyable>(_ list: [Element], _ tensor: DeviceTensor) throws {
      let bytes = DeviceListTests.bytes(list)
      try driver.launcher.context.copy(
        bytes, to: DeviceView(address: UInt64(tensor.view.address), byteCount: bytes.count))
    }

    func normal(_ shape: [Int], seed: UInt64) throws -> DeviceTensor {
      var generator = SplitMix64(seed: seed)
      return try DeviceTensor(
        .f32, shape, on: driver.launcher,
        values: (0..<shape.reduce(1, *)).map { _ in Float.random(in: -2...2, using: &generator) })
    }

    /// Calls of the driver during `body` that wait, copy, allocate or load.
    func forbiddenCalls(_ body: () throws -> Void) rethrows -> [String] {
      let before = driver.fake.calls.count
      try body()
      return driver.fake.calls[before...].filter(DeviceListTests.isForbidden)
    }
  }

  private func append(
    _ machine: Machine, _ lists: AppendLists, _ rows: DeviceTensor, _ caches: [DeviceTensor]
  ) throws {
    let problem = AppendProblem(
      kvHeadCount: Self.heads, headDimK: Self.dim, sourceType: .f32, cacheType: .f32, lists: lists)
    try machine.backend.append(
      problem,
      AppendArguments(
        keys: rows.view, values: rows.view, cache: .separate(k: caches[0].view, v: caches[1].view)),
      on: machine.handle)
  }

  /// What an append of three tokens must leave in a cache of four pages of two tokens.
  private func expected(_ rows: [Float], _ places: [(page: Int, slot: Int)?]) -> [Float] {
    let width = Self.heads * Self.dim
    var result = [Float](repeating: 0, count: 4 * 2 * width)
    for (token, place) in places.enumerated() {
      guard let place else { continue }
      let start = (place.page * 2 + place.slot) * width
      result.replaceSubrange(
        start..<start + width, with: rows[token * width..<(token + 1) * width])
    }
    return result
  }

  @Test(arguments: [false, true])
  func `an append by lists on the device neither waits nor copies nor allocates`(
    usesTable: Bool
  ) throws {
    let machine = try Machine()
    let rows = try machine.normal([3, Self.heads, Self.dim], seed: 1)
    let caches = try machine.caches()
    let requests = try machine.tensor([0, 1, -1])
    let positions = try machine.tensor([2, 1, 0])
    // Request 0 has pages 3 and 1, request 1 has page 2.
    let tables =
      try usesTable
      ? [machine.tensor([3, 1, 2, -1], [2, 2])]
      : [machine.tensor([0, 2, 3]), machine.tensor([3, 1, 2])]
    let lists = AppendLists(
      pageSize: 2,
      pages: usesTable
        ? .blockTable(tables[0].view) : .csr(indptr: tables[0].view, indices: tables[1].view),
      batchIndices: requests.view, positions: positions.view)
    // Compiles.
    try append(machine, lists, rows, caches)
    let values = try rows.values(on: machine.driver.launcher)
    for cache in caches {
      #expect(
        try cache.values(on: machine.driver.launcher)
          == expected(values, [(1, 0), (2, 1), nil]))
    }
    let calls = try machine.forbiddenCalls { try append(machine, lists, rows, caches) }
    #expect(calls == [])

    // A captured append reads at each replay what the lists hold then.
    var captured: [String] = []
    let graph = try machine.stream.capture { () throws(CUDAError) in
      do {
        captured = try machine.forbiddenCalls { try append(machine, lists, rows, caches) }
      } catch {
        Issue.record(error)
      }
    }.instantiate()
    #expect(captured == [])
    try machine.write([Int32](arrayLiteral: 1, 0, 0), requests)
    try machine.write([Int32](arrayLiteral: 0, 0, 1), positions)
    for cache in caches {
      try machine.write([Float](repeating: 0, count: 4 * 2 * Self.heads * Self.dim), cache)
    }
    try graph.launch(on: machine.stream)
    for cache in caches {
      #expect(
        try cache.values(on: machine.driver.launcher)
          == expected(values, [(2, 0), (3, 0), (3, 1)]))
    }
    #expect(machine.driver.errors.isEmpty)
    withExtendedLifetime(tables) {}
  }

  @Test(arguments: [ScalarType.i32, .i64], [false, true])
  func `a rotation by positions on the device neither waits nor copies nor allocates`(
    type: ScalarType, usesTable: Bool
  ) throws {
    let machine = try Machine()
    let launcher = machine.driver.launcher
    let (rows, heads, dim) = (5, 2, 32)
    let q = try machine.normal([rows, heads, dim], seed: 2)
    let k = try machine.normal([rows, 1, dim], seed: 3)
    let table = try machine.normal([40, dim], seed: 4)
    let source: RotarySource =
      usesTable
      ? .cosSinCache(table.view, pairing: .half) : .frequencies(RotaryEmbedding(pairing: .half))
    let outputs = try [heads, 1].map { try DeviceTensor(.f32, [rows, $0, dim], on: launcher) }
    let positions = try DeviceTensor(type, [rows], on: launcher)
    func place(_ values: [Int]) throws {
      if type == .i32 {
        try machine.write(values.map { Int32($0) }, positions)
      } else {
        try machine.write(values.map { Int64($0) }, positions)
      }
    }
    func rotated() throws -> [[Float]] { try outputs.map { try $0.values(on: launcher) } }
    func wanted(_ values: [Int]) throws -> [[Float]] {
      let wanted = try [heads, 1].map { try DeviceTensor(.f32, [rows, $0, dim], on: launcher) }
      try machine.backend.rotate(
        RotaryArguments(
          q: q.view, k: k.view, qOut: wanted[0].view, kOut: wanted[1].view, positions: values,
          source: source), on: .synchronous)
      return try wanted.map { try $0.values(on: launcher) }
    }
    let arguments = RotaryArguments(
      q: q.view, k: k.view, qOut: outputs[0].view, kOut: outputs[1].view,
      positions: positions.view, source: source)
    let first = [3, 0, 39, 7, 7]
    try place(first)
    // Compiles, and places the embedding's table.
    try machine.backend.rotate(arguments, on: machine.handle)
    #expect(try rotated() == wanted(first))
    let calls = try machine.forbiddenCalls {
      try machine.backend.rotate(arguments, on: machine.handle)
    }
    #expect(calls == [])

    let graph = try machine.stream.capture { () throws(CUDAError) in
      do throws(ApusError) {
        try machine.backend.rotate(arguments, on: machine.handle)
      } catch {
        Issue.record(error)
      }
    }.instantiate()
    let second = [0, 1, 2, 38, 11]
    try place(second)
    try graph.launch(on: machine.stream)
    #expect(try rotated() == wanted(second))
    #expect(machine.driver.errors.isEmpty)
  }

  /// A host tensor of integers.
  private func list<Element: BitwiseCopyable>(
    _ values: [Element], _ type: ScalarType, _ shape: [Int]? = nil
  ) throws -> Tensor {
    let tensor = try Tensor(zeroScalars: type, shape: shape ?? [values.count])
    let bytes = Self.bytes(values)
    tensor.withMutableBytes { $0.copyBytes(from: bytes) }
    return tensor
  }

  @Test func `the CPU reads lists, the simulator follows them, and both write the same`() throws {
    let backends: [any Backend] = [try CPUBackend(threadCount: 1), SimulatorBackend()]
    var generator = SplitMix64(seed: 5)
    let width = Self.heads * Self.dim
    let rows = try Tensor(
      (0..<3 * width).map { _ in Float.random(in: -2...2, using: &generator) }, .bf16,
      shape: [3, Self.heads, Self.dim])
    let requests = try list([1, 0, -1] as [Int32], .i32)
    let positions = try list([1, 2, 0] as [Int32], .i32)
    let indptr = try list([0, 2, 3] as [Int32], .i32)
    let indices = try list([3, 1, 2] as [Int32], .i32)
    // Rows of three entries, of which two count.
    let blocks = try list([3, 1, 9, 2, -1, 9] as [Int32], .i32, [2, 3])
    let narrow = TensorView(
      address: blocks.view.address, byteCount: blocks.byteCount, scalarType: .i32, shape: [2, 2],
      strides: [3, 1])
    var caches: [[Float]] = []
    for backend in backends {
      for pages in [
        AppendLists.Pages.csr(indptr: indptr.view, indices: indices.view), .blockTable(narrow),
      ] {
        let (k, v) = try (0..<2).map { _ in
          try Tensor(zeros: .e4m3, shape: [4, 2, Self.heads, Self.dim])
        }.pair
        try Append.run(
          AppendProblem(
            kvHeadCount: Self.heads, headDimK: Self.dim, sourceType: .bf16, cacheType: .e4m3,
            lists: AppendLists(
              pageSize: 2, pages: pages, batchIndices: requests.view, positions: positions.view)),
          AppendArguments(
            keys: rows.view, values: rows.view, cache: .separate(k: k.view, v: v.view)),
          on: backend)
        caches.append(k.values + v.values)
      }
    }
    let wanted = expected(rows.values, [(2, 1), (1, 0), nil]).map { $0 == 0 ? 0 : 1 }
    #expect(caches[0].prefix(wanted.count).map { $0 == 0 ? 0 : 1 } == wanted)
    for cache in caches { #expect(cache == caches[0]) }
    withExtendedLifetime((requests, positions, indptr, indices, blocks, rows)) {}
  }

  @Test func `the CPU rotates by positions of either width as by values`() throws {
    let backend = try CPUBackend(threadCount: 1)
    var generator = SplitMix64(seed: 6)
    let q = try Tensor(
      (0..<4 * 16).map { _ in Float.random(in: -2...2, using: &generator) }, shape: [4, 1, 16])
    func rotated(_ change: (RotaryArguments) -> RotaryArguments) throws -> [Float] {
      let out = try Tensor(zeros: .f32, shape: [4, 1, 16])
      let other = try Tensor(zeros: .f32, shape: [4, 1, 16])
      try Rotary.run(
        change(
          RotaryArguments(
            q: q.view, k: q.view, qOut: out.view, kOut: other.view, positions: [5, 0, 100, 7],
            source: .frequencies(RotaryEmbedding(pairing: .half)))), on: backend)
      return out.values
    }
    let wanted = try rotated { $0 }
    let narrow = try list([5, 0, 100, 7] as [Int32], .i32)
    let wide = try list([5, 0, 100, 7] as [Int64], .i64)
    for positions in [narrow, wide] {
      let found = try rotated { given in
        var changed = given
        changed.positions = []
        changed.positionTensor = positions.view
        return changed
      }
      #expect(found == wanted)
    }
    let error = #expect(throws: ApusError.self) {
      _ = try rotated { given in
        var changed = given
        changed.positionTensor = wide.view
        return changed
      }
    }
    #expect("\(error as Any)".contains("positions must be a tensor or values; found both"))
  }

  @Test func `lists of wrong type, shape or memory are refused`() throws {
    let machine = try Machine()
    let rows = try machine.normal([3, Self.heads, Self.dim], seed: 1)
    let caches = try machine.caches()
    let three = try machine.tensor([0, 0, 0])
    let two = try machine.tensor([0, 1])
    let none = try machine.tensor([], [0])
    let wide = try DeviceTensor(.i64, [3], on: machine.driver.launcher)
    let host = try list([0, 0, 0] as [Int32], .i32)
    let good = AppendLists(
      pageSize: 2, pages: .csr(indptr: two.view, indices: three.view), batchIndices: three.view,
      positions: three.view)
    let cases: [(message: String, change: (inout AppendLists) -> Void)] = [
      ("positions must have type i32; found i64", { $0.positions = wide.view }),
      ("positions must have shape [3]; found [2]", { $0.positions = two.view }),
      ("positions must live in cuda:0 memory; found host", { $0.positions = host.view }),
      ("pageSize must be at least 1; found 0", { $0.pageSize = 0 }),
      (
        "pageIndptr must hold batch + 1 offsets; found [0]",
        { $0.pages = .csr(indptr: none.view, indices: three.view) }
      ),
      ("blockTable must have shape [any, any]; found [3]", { $0.pages = .blockTable(three.view) }),
      (
        "keys must have shape [2, 2, 16]",
        {
          $0.batchIndices = two.view; $0.positions = two.view
        }
      ),
    ]
    for (message, change) in cases {
      var lists = good
      change(&lists)
      let error = #expect(throws: ApusError.self) {
        try append(machine, lists, rows, caches)
      }
      #expect(error?.description.contains(message) == true, "\(error?.description ?? "none")")
    }
    withExtendedLifetime(host) {}
  }
}

extension [Tensor] {
  fileprivate var pair: (Tensor, Tensor) { (self[0], self[1]) }
}

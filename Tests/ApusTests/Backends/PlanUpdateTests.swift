import Apus
import ApusCUDA
import ApusCUDATestSupport
import Testing

/// Plans with a capacity on every back end: updates, graphs, errors.
@Suite struct PlanUpdateTests {
  /// Two KV heads of four query heads each over pages of 16 tokens.
  static let shape = AttentionShape(qoHeadCount: 8, kvHeadCount: 2, headDimQK: 64)
  static let types = AttentionTypes(q: .bf16)
  static let capacity = PlanCapacity(
    batch: 3, keysPerRequest: 96, keyRows: 12, cachePages: 20)
  /// Lengths of batches within the capacity.
  static let batches = [[40, 0, 90], [96, 96], [], [1], [0, 0, 0], [17, 16, 15]]

  /// Pages of a batch, taken from the cache in an order of its own.
  static func table(_ lengths: [Int], turn: Int = 0) -> PageTable {
    let counts = lengths.map { ($0 + 15) / 16 }
    let total = counts.reduce(0, +)
    return PageTable(
      pageSize: 16, indptr: RaggedIndptr(lengths: counts),
      indices: (0..<total).map { Int32(($0 * 7 + turn * 3) % 20) },
      lastPageLength: lengths.map { $0 == 0 ? 0 : Int32(($0 - 1) % 16 + 1) })
  }

  static func values(_ count: Int, _ factor: Int) -> [Float] {
    (0..<count).map { Float(($0 * factor) % 97) / 97 - 0.5 }
  }

  /// q, k, v, o and lse on a simulated GPU.
  struct Operands {
    let q, k, v, o, lse: DeviceTensor

    init(_ launcher: CUDALauncher) throws {
      q = try DeviceTensor(.bf16, [3, 8, 64], on: launcher, values: values(3 * 512, 31))
      k = try DeviceTensor(.bf16, [20, 16, 2, 64], on: launcher, values: values(40960, 37))
      v = try DeviceTensor(.bf16, [20, 16, 2, 64], on: launcher, values: values(40960, 41))
      o = try DeviceTensor(.bf16, [3, 8, 64], on: launcher, values: values(3 * 512, 1))
      lse = try DeviceTensor(.f32, [3, 8], on: launcher, values: values(24, 1))
    }

    var arguments: AttentionArguments {
      AttentionArguments(
        q: .packed(q.view), kv: .separate(k: k.view, v: v.view), o: o.view, lse: lse.view)
    }

    /// o and lse of the first rows.
    func outcome(_ rows: Int, _ launcher: CUDALauncher) throws -> [Float] {
      Array(try o.values(on: launcher).prefix(rows * 512))
        + Array(try lse.values(on: launcher).prefix(rows * 8))
    }
  }

  static func plan(_ lengths: [Int], on backend: any Backend) throws(ApusError) -> PlannedAttention
  {
    try BatchDecode.plan(
      shape: shape, types: types, pages: table(lengths), capacity: capacity, on: backend)
  }

  /// Captures a run, replays it after each update, and compares with a plan made for the batch.
  @Test func `a captured run replays with each batch that the plan is updated to`() throws {
    let machine = try SimulatedDriver { $0.multiprocessorCount = 9 }
    let launcher = machine.launcher
    let operands = try Operands(launcher)
    let stream = try Stream(in: launcher.context)
    let handle = ExecutionStream.device(handle: stream.handle)
    let planned = try Self.plan([5], on: machine.backend)
    try planned.run(operands.arguments, on: handle)
    let graph = try stream.capture { () throws(CUDAError) in
      do throws(ApusError) {
        try planned.run(operands.arguments, on: handle)
      } catch {
        Issue.record(error)
      }
    }.instantiate()
    for (turn, lengths) in Self.batches.enumerated() {
      let table = Self.table(lengths, turn: turn)
      machine.fake.forgetCalls()
      try planned.update(pages: table, on: handle)
      let calls = Set(machine.fake.calls)
      let allowed = CUDABackendTests.staging.subtracting(["cuLaunchKernelEx", "cuStreamWaitEvent"])
      #expect(calls.subtracting(allowed) == [], "\(lengths)")
      #expect(machine.fake.calls.count { $0 == "cuMemcpyHtoDAsync" } == 1)
      try graph.launch(on: stream)
      let replayed = try operands.outcome(lengths.count, launcher)
      let fresh = try Operands(launcher)
      let other = try BatchDecode.plan(
        shape: Self.shape, types: Self.types, pages: table, capacity: Self.capacity,
        on: machine.backend)
      try other.run(fresh.arguments, on: handle)
      #expect(try fresh.outcome(lengths.count, launcher) == replayed, "\(lengths)")
      // Rows behind the batch stay as they were.
      if lengths.isEmpty { continue }
      #expect(replayed.allSatisfy { !$0.isNaN })
    }
    #expect(machine.errors.isEmpty, "\(machine.errors.first ?? "")")
    withExtendedLifetime(planned) {}
  }

  @Test func `rows behind the batch are not written`() throws {
    let machine = try SimulatedDriver { $0.multiprocessorCount = 9 }
    let operands = try Operands(machine.launcher)
    let before = try operands.outcome(3, machine.launcher)
    let planned = try Self.plan([5, 6, 7], on: machine.backend)
    try planned.update(pages: Self.table([30]))
    try planned.run(operands.arguments)
    let after = try operands.outcome(3, machine.launcher)
    #expect(after[512..<1536] == before[512..<1536])
    #expect(after[1544..<1560] == before[1544..<1560])
    #expect(after[..<512] != before[..<512])
    #expect(machine.errors.isEmpty)
  }

  @Test func `more updates than staging blocks are in flight in order`() throws {
    let machine = try SimulatedDriver { $0.multiprocessorCount = 9 }
    let operands = try Operands(machine.launcher)
    let stream = try Stream(in: machine.launcher.context)
    let handle = ExecutionStream.device(handle: stream.handle)
    let planned = try Self.plan([5], on: machine.backend)
    for turn in 0..<20 {
      try planned.update(pages: Self.table([turn, 40]), on: handle)
    }
    try planned.run(operands.arguments, on: handle)
    let result = try operands.outcome(2, machine.launcher)
    let fresh = try Operands(machine.launcher)
    try Self.plan([19, 40], on: machine.backend).run(fresh.arguments, on: handle)
    #expect(try fresh.outcome(2, machine.launcher) == result)
  }

  /// The CPU's plan of the same batch gives the same bits.
  @Test func `a CPU plan is updated`() throws {
    let cpu = try CPUBackend(threadCount: 1)
    func tensor(_ shape: [Int], _ factor: Int) throws -> Tensor {
      try Tensor(Self.values(shape.reduce(1, *), factor), .bf16, shape: shape)
    }
    let q = try tensor([3, 8, 64], 31)
    let (k, v) = (try tensor([20, 16, 2, 64], 37), try tensor([20, 16, 2, 64], 41))
    let planned = try Self.plan([5], on: cpu)
    for (turn, lengths) in Self.batches.enumerated() {
      let pages = Self.table(lengths, turn: turn)
      try planned.update(pages: pages)
      let o = try tensor([3, 8, 64], 1)
      try planned.run(q: q, k: k, v: v, o: o)
      let expected = try tensor([3, 8, 64], 1)
      try BatchDecode.plan(shape: Self.shape, types: Self.types, pages: pages, on: cpu)
        .run(q: q, k: k, v: v, o: expected)
      #expect(
        o.withBytes { Array($0) } == expected.withBytes { Array($0) }, "\(lengths)")
    }
  }

  // MARK: - Errors

  /// The message of a refused call.
  static func message(_ body: () throws(ApusError) -> Void) -> String {
    do throws(ApusError) {
      try body()
      return "no error"
    } catch {
      return error.description
    }
  }

  @Test func `what lies outside of the capacity is refused and changes nothing`() throws {
    let machine = try SimulatedDriver { $0.multiprocessorCount = 9 }
    for backend in [machine.backend, try CPUBackend(threadCount: 1)] as [any Backend] {
      let planned = try Self.plan([5], on: backend)
      machine.fake.forgetCalls()
      func refused(_ table: PageTable, queries: Int? = nil) -> String {
        Self.message { () throws(ApusError) in
          try planned.update(pages: table, queriesPerRequest: queries)
        }
      }
      #expect(
        refused(Self.table([1, 1, 1, 1])).contains(
          "the batch must be within the plan's capacity, 3; found 4"))
      #expect(
        refused(Self.table([97])).contains(
          "keys of a request must be within the capacity, 96; found 97 at request 0"))
      #expect(
        refused(Self.table([96, 96, 16])).contains(
          "the pages in use must be within the capacity, 12; found 13"))
      #expect(
        refused(Self.table([8]), queries: 2).contains(
          "query rows of a request must be within the capacity, 1; found 2 at request 0"))
      let beyond = PageTable(
        pageSize: 16, indptr: RaggedIndptr([0, 1]), indices: [20], lastPageLength: [1])
      #expect(
        refused(beyond).contains(
          "page indices must be below the capacity's 20 pages; found 20"))
      let negative = PageTable(
        pageSize: 16, indptr: RaggedIndptr([0, 1]), indices: [-1], lastPageLength: [1])
      #expect(refused(negative).contains("page indices in use must be at least 0"))
      let otherSize = PageTable(
        pageSize: 32, indptr: RaggedIndptr([0, 1]), indices: [1], lastPageLength: [1])
      #expect(refused(otherSize).contains("page size and maxLength must be the plan's"))
      var other = planned.problem
      other.mask = AttentionMask(isCausal: true, windowLeft: 3)
      other.qoIndptr = RaggedIndptr([0])
      other.geometry = .paged(Self.table([]))
      #expect(
        Self.message { () throws(ApusError) in try planned.update(other) }
          .contains("mask must be the plan's: an update changes lists alone"))
      #expect(
        Self.message { () throws(ApusError) in try planned.update(lengths: [3]) }
          .contains("lengths must belong to a padded cache"))
      #expect(!machine.fake.calls.contains("cuMemcpyHtoDAsync"))
    }
  }

  @Test func `a plan without a capacity, a capture and bad capacities are refused`() throws {
    let machine = try SimulatedDriver { $0.multiprocessorCount = 9 }
    let cpu = try CPUBackend(threadCount: 1)
    for backend in [machine.backend, SimulatorBackend(), cpu] as [any Backend] {
      let planned = try BatchDecode.plan(
        shape: Self.shape, types: Self.types, pages: Self.table([5]), on: backend)
      #expect(
        Self.message { () throws(ApusError) in try planned.update(pages: Self.table([5])) }
          .contains("the plan must have a capacity; found a plan of one batch."))
    }
    let stream = try Stream(in: machine.launcher.context)
    let planned = try Self.plan([5], on: machine.backend)
    try stream.beginCapture(mode: .global)
    let captured = Self.message { () throws(ApusError) in
      try planned.update(pages: Self.table([5]), on: .device(handle: stream.handle))
    }
    _ = try stream.endCapture()
    #expect(captured.contains("the stream must not be under capture"))
    func capacity(_ capacity: PlanCapacity, _ mask: AttentionMask = .causal) -> String {
      Self.message { () throws(ApusError) in
        _ = try BatchDecode.plan(
          shape: Self.shape, types: Self.types, pages: Self.table([5]), mask: mask,
          capacity: capacity, on: machine.backend)
      }
    }
    #expect(
      capacity(PlanCapacity(batch: -1, keysPerRequest: 5)).contains(
        "capacity.batch must be in 0…65536; found -1"))
    #expect(
      capacity(PlanCapacity(batch: 1, keysPerRequest: 4)).contains(
        "keys of a request must be within the capacity, 4; found 5"))
    #expect(
      capacity(PlanCapacity(batch: 1, queriesPerRequest: 65, keysPerRequest: 5)).contains(
        "a capacity for decode: query tokens × group must be at most 128; found 65 × 4"))
    let bits = CustomMask(
      bytes: [255], byteIndptr: RaggedIndptr([0, 1]), bitOrder: .little)
    #expect(
      capacity(PlanCapacity(batch: 1, keysPerRequest: 5), .custom(bits)).contains(
        "a plan with a capacity must have no custom mask"))
  }

  @Test func `runs must bring tensors of the capacity`() throws {
    let machine = try SimulatedDriver { $0.multiprocessorCount = 9 }
    let operands = try Operands(machine.launcher)
    let planned = try Self.plan([5], on: machine.backend)
    var arguments = operands.arguments
    let small = try DeviceTensor(.bf16, [1, 8, 64], on: machine.launcher)
    arguments.o = small.view
    #expect(
      Self.message { () throws(ApusError) in try planned.run(arguments) }
        .contains("o must hold the rows of qoIndptr; found 1 of 3"))
    let cache = try DeviceTensor(.bf16, [19, 16, 2, 64], on: machine.launcher)
    arguments = operands.arguments
    arguments.kv = .separate(k: cache.view, v: operands.v.view)
    #expect(
      Self.message { () throws(ApusError) in try planned.run(arguments) }
        .contains("page indices must be below the page count of k; found index 19 of 19 pages"))
  }
}

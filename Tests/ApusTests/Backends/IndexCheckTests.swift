import Apus
import ApusCUDA
import ApusCUDATestSupport
import Testing

/// The mode that finds bad indices in device memory: each is named, and nothing beside the operands is
/// touched, which the simulator behind both back ends would report.
@Suite struct IndexCheckTests {
  private static let dim = 16
  /// Tokens of the call, pages of the cache, tokens of a page.
  private static let (tokens, pages, pageSize) = (3, 4, 2)

  /// Lists of three tokens of two requests, with one value changed.
  struct Lists: CustomStringConvertible, Sendable {
    let description: String
    var requests: [Int32] = [0, 1, -1]
    var positions: [Int32] = [2, 1, 0]
    /// Request 0 has pages 3 and 1, request 1 has page 2; nil for a block table.
    var indptr: [Int32]? = [0, 2, 3]
    var entries: [Int32] = [3, 1, 2]
    /// What must be found, and the tokens that are written all the same.
    var error: IndexError?
    var written = [0, 1]
  }

  private static func error(
    _ list: IndexError.List, _ value: Int, token: Int, request: Int, position: Int, page: Int
  ) -> IndexError {
    IndexError(
      operation: "Append.run", list: list, value: value, token: token, request: request,
      position: position, page: page, count: 1)
  }

  static let cases: [Lists] = [
    Lists(description: "good lists"),
    Lists(description: "good table", indptr: nil, entries: [3, 1, 2, -1]),
    Lists(description: "a negative position", positions: [2, -1, 0], written: [0]),
    Lists(
      description: "a request too many", requests: [0, 2, -1],
      error: error(.batchIndices, 2, token: 1, request: 2, position: 1, page: 0), written: [0]),
    Lists(
      description: "a request below −1", requests: [-2, 1, -1],
      error: error(.batchIndices, -2, token: 0, request: -2, position: 2, page: 1), written: [1]),
    Lists(
      description: "a position behind the pages", positions: [2, 2, 0],
      error: error(.positions, 2, token: 1, request: 1, position: 2, page: 1), written: [0]),
    Lists(
      description: "a position far behind the pages", positions: [.max, 1, 0],
      error: error(
        .positions, Int(Int32.max), token: 0, request: 0, position: Int(Int32.max),
        page: Int(Int32.max) / 2), written: [1]),
    Lists(
      description: "a page of another cache", entries: [3, 4, 2],
      error: error(.pages, 4, token: 0, request: 0, position: 2, page: 1), written: [1]),
    Lists(
      description: "a negative page", entries: [3, 1, -7],
      error: error(.pages, -7, token: 1, request: 1, position: 1, page: 0), written: [0]),
    Lists(description: "page −1", entries: [3, -1, 2], written: [1]),
    Lists(
      description: "offsets beyond the pages", indptr: [0, 2, 9],
      error: error(.pageIndptr, 9, token: 1, request: 1, position: 1, page: 0), written: [0]),
    Lists(
      description: "offsets that descend", indptr: [3, 2, 3],
      error: error(.pageIndptr, 3, token: 0, request: 0, position: 2, page: 1), written: [1]),
    Lists(
      description: "a negative offset", indptr: [-1, 2, 3],
      error: error(.pageIndptr, -1, token: 0, request: 0, position: 2, page: 1), written: [1]),
    Lists(
      description: "a position behind the table", positions: [4, 1, 0], indptr: nil,
      entries: [3, 1, 2, -1],
      error: error(.positions, 4, token: 0, request: 0, position: 4, page: 2), written: [1]),
    Lists(
      description: "a page beside the cache in a table", indptr: nil, entries: [3, 9, 2, -1],
      error: error(.pages, 9, token: 0, request: 0, position: 2, page: 1), written: [1]),
  ]

  /// Where the good lists put tokens: page and slot.
  private static let places = [(1, 0), (2, 1)]

  private static func lists(_ value: Lists, _ views: [TensorView]) -> AppendLists {
    AppendLists(
      pageSize: pageSize,
      pages: value.indptr == nil
        ? .blockTable(views[3]) : .csr(indptr: views[2], indices: views[3]),
      batchIndices: views[0], positions: views[1])
  }

  /// Appends rows of ones, as K/V or as the parts of a latent row.
  private static func problem(_ lists: AppendLists, isLatent: Bool) -> AppendProblem {
    isLatent
      ? AppendProblem(
        latent: LatentShape(ckv: dim, kpe: dim), sourceType: .f32, cacheType: .f32, lists: lists)
      : AppendProblem(
        kvHeadCount: 1, headDimK: dim, sourceType: .f32, cacheType: .f32, lists: lists)
  }

  /// A fake device with the operands of one case.
  private struct Machine {
    let driver: SimulatedDriver
    let stream: Stream
    let backend: CUDABackend
    let lists: [DeviceTensor]
    let rows: DeviceTensor
    let caches: [DeviceTensor]

    init(_ value: Lists, checksIndices: Bool = true, isLatent: Bool) throws {
      driver = try SimulatedDriver(options: CUDAOptions(checksIndices: checksIndices))
      stream = try Stream(in: driver.launcher.context)
      backend = driver.backend
      let launcher = driver.launcher
      lists = try [value.requests, value.positions, value.indptr ?? [0], value.entries].enumerated()
        .map { index, list in
          let shape = index == 3 && value.indptr == nil ? [2, list.count / 2] : [list.count]
          let tensor = try DeviceTensor(.i32, shape, on: launcher)
          try Self.write(list, tensor, launcher)
          return tensor
        }
      let head = isLatent ? [] : [1]
      rows = try DeviceTensor(
        .f32, [IndexCheckTests.tokens] + head + [IndexCheckTests.dim], on: launcher,
        values: [Float](repeating: 1, count: IndexCheckTests.tokens * IndexCheckTests.dim))
      let shape =
        [IndexCheckTests.pages, IndexCheckTests.pageSize] + head + [IndexCheckTests.dim]
      caches = try (0..<2).map { _ in
        try DeviceTensor(
          .f32, shape, on: launcher, values: [Float](repeating: 0, count: shape.reduce(1, *)))
      }
    }

    static func write(
      _ list: [Int32], _ tensor: DeviceTensor, _ launcher: CUDALauncher
    ) throws {
      let bytes = list.withUnsafeBytes { [UInt8]($0) }
      try launcher.context.copy(
        bytes, to: DeviceView(address: UInt64(tensor.view.address), byteCount: bytes.count))
    }

    func append(
      _ value: Lists, isLatent: Bool, on stream: ExecutionStream
    ) throws(ApusError) {
      let (k, v) = (caches[0].view, caches[1].view)
      try backend.append(
        IndexCheckTests.problem(
          IndexCheckTests.lists(value, lists.map(\.view)), isLatent: isLatent),
        AppendArguments(
          keys: rows.view, values: rows.view,
          cache: isLatent ? .latent(ckv: k, kpe: v) : .separate(k: k, v: v)), on: stream)
    }

    /// Which slots of both caches hold rows of ones.
    func written() throws -> [Set<Int>] {
      try caches.map { cache in
        let values = try cache.values(on: driver.launcher)
        return Set(values.indices.filter { values[$0] == 1 }.map { $0 / IndexCheckTests.dim })
      }
    }
  }

  @Test(arguments: cases, [false, true])
  func `a bad index is named by the call, and only its token is left out`(
    _ value: Lists, _ isLatent: Bool
  ) throws {
    for isAsynchronous in [false, true] {
      let machine = try Machine(value, isLatent: isLatent)
      let stream: ExecutionStream =
        isAsynchronous ? .device(handle: machine.stream.handle) : .synchronous
      var found: IndexError?
      do throws(ApusError) {
        try machine.append(value, isLatent: isLatent, on: stream)
      } catch {
        guard case .index(let error) = error else { throw error }
        found = error
      }
      #expect(found == value.error, "\(value)")
      let slots = Set(
        value.written.map { Self.places[$0].0 * Self.pageSize + Self.places[$0].1 })
      #expect(try machine.written() == [slots, slots], "\(value)")
      #expect(machine.driver.errors.isEmpty, "\(value)")
      // The report has emptied the record.
      try machine.backend.checkIndices(on: stream)
    }
  }

  @Test func `replays of a captured append are asked for`() throws {
    let value = Lists(description: "good lists")
    let machine = try Machine(value, isLatent: false)
    let stream = ExecutionStream.device(handle: machine.stream.handle)
    // Compiles, and makes the record.
    try machine.append(value, isLatent: false, on: stream)
    let graph = try machine.stream.capture { () throws(CUDAError) in
      do throws(ApusError) {
        try machine.append(value, isLatent: false, on: stream)
      } catch {
        Issue.record(error)
      }
    }.instantiate()
    try Machine.write([3, 8, 6], machine.lists[3], machine.driver.launcher)
    try graph.launch(on: machine.stream)
    let error = #expect(throws: ApusError.self) { try machine.backend.checkIndices(on: stream) }
    guard case .index(let found)? = error else { return }
    #expect(found.list == .pages && found.count == 2)
    #expect(found.value == (found.token == 0 ? 8 : 6))
    try machine.backend.checkIndices(on: stream)
    #expect(machine.driver.errors.isEmpty)
  }

  @Test func `without the mode nothing waits and the simulator sees the access`() throws {
    let value = Lists(description: "a page beside the cache", entries: [3, 1 << 20, 2])
    let machine = try Machine(value, checksIndices: false, isLatent: false)
    try machine.append(value, isLatent: false, on: .device(handle: machine.stream.handle))
    #expect(!machine.driver.errors.isEmpty)
    try machine.backend.checkIndices()
  }

  @Test(arguments: [false, true])
  func `the simulator checks lists in host memory`(_ isBad: Bool) throws {
    let backend = SimulatorBackend(checksIndices: true)
    func list(_ values: [Int32], _ shape: [Int]) throws -> Tensor {
      let tensor = try Tensor(zeroScalars: .i32, shape: shape)
      tensor.withMutableBytes { bytes in
        for (index, value) in values.enumerated() {
          bytes.storeBytes(of: value, toByteOffset: 4 * index, as: Int32.self)
        }
      }
      return tensor
    }
    let requests = try list([0, 0, 0], [3])
    let positions = try list([0, 1, isBad ? 9 : 2], [3])
    let table = try list([3, 1], [1, 2])
    let rows = try Tensor(zeros: .f32, shape: [3, 1, Self.dim])
    let caches = try (0..<2).map { _ in try Tensor(zeros: .f32, shape: [4, 2, 1, Self.dim]) }
    let lists = AppendLists(
      pageSize: 2, pages: .blockTable(table.view), batchIndices: requests.view,
      positions: positions.view)
    let run = {
      try backend.append(
        Self.problem(lists, isLatent: false),
        AppendArguments(
          keys: rows.view, values: rows.view,
          cache: .separate(k: caches[0].view, v: caches[1].view)), on: .synchronous)
    }
    guard isBad else { return try run() }
    let error = #expect(throws: ApusError.self) { try run() }
    #expect(
      error?.description
        == "Append.run: positions must be within the pages of their requests; found 9 at token 2, "
        + "request 0, position 9.")
  }

  @Test func `errors say how many there are`() {
    let error = IndexError(
      operation: "Append.run", list: .pages, value: 900, token: 5, request: 1, position: 48,
      page: 3,
      count: 2)
    #expect(
      error.description
        == "Append.run: page indices must be −1 or below the page count of the cache; found 900 at "
        + "token 5, request 1, position 48, page 3 of the request. It is one of 2 such tokens.")
    #expect(IndexError(record: [0, 4, 5, 1, 48, 3, 900, 0], operation: "Append.run") == nil)
    #expect(IndexError(record: [2, 4, 5, 1, 48, 3, 900, 0], operation: "Append.run") == error)
  }
}

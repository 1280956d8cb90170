import ApusCore
import ApusNumerics
import ApusTestSupport
import Testing

/// What a plan may be updated to, and the lists that checks walk over.
@Suite struct PlanCapacityTests {
  static func problem(_ geometry: KVGeometry) -> AttentionProblem {
    AttentionProblem(
      shape: AttentionShape(qoHeadCount: 4, kvHeadCount: 2, headDimQK: 64),
      types: AttentionTypes(q: .bf16),
      qoIndptr: RaggedIndptr(uniform: 1, batch: geometry.batch), geometry: geometry)
  }

  static let pages = PageTable(pageSize: 8, blocks: [], pagesPerRequest: 0, lengths: [])

  @Test func `full requests are what a capacity holds by itself`() {
    let capacity = PlanCapacity(batch: 3, keysPerRequest: 20)
    #expect(capacity.keyRows(of: .paged(Self.pages)) == 9)
    #expect(capacity.keyCount(of: .paged(Self.pages)) == 60)
    #expect(capacity.keyRows(of: .ragged(RaggedIndptr([0]))) == 60)
    #expect(capacity.keyCount(of: .padded(maxLength: 20, lengths: [])) == 60)
    let less = PlanCapacity(batch: 3, keysPerRequest: 20, keyRows: 4)
    #expect(less.keyCount(of: .paged(Self.pages)) == 32)
    #expect(less.keyCount(of: .ragged(RaggedIndptr([0]))) == 4)
  }

  @Test func `an envelope asks for the tensors of the capacity`() throws {
    let capacity = PlanCapacity(
      batch: 3, queriesPerRequest: 2, keysPerRequest: 20, keyRows: 40, cachePages: 11)
    for geometry in [
      KVGeometry.paged(Self.pages), .ragged(RaggedIndptr([0])), .padded(maxLength: 30, lengths: []),
    ] {
      let envelope = capacity.envelope(of: Self.problem(geometry))
      try envelope.validate(operation: "test")
      #expect(envelope.batch == 3)
      #expect(envelope.qoIndptr.end == 6)
      switch envelope.geometry {
      case .paged(let table): #expect(table.greatestPage == 10)
      case .ragged(let indptr): #expect(indptr.end == 40)
      case .padded(let length, let lengths): #expect(length == 30 && lengths.count == 3)
      }
    }
    let nothing = PlanCapacity(batch: 0, keysPerRequest: 0, cachePages: 5)
    try nothing.envelope(of: Self.problem(.paged(Self.pages))).validate(operation: "test")
  }

  @Test func `a problem at the capacity's edge is within it, one beyond is not`() throws {
    let capacity = PlanCapacity(batch: 2, keysPerRequest: 20, keyRows: 4)
    let planned = Self.problem(.paged(Self.pages))
    func check(_ lengths: [Int]) -> String? {
      let table = PageTable(
        pageSize: 8, blocks: [Int32](repeating: 1, count: 4 * lengths.count), pagesPerRequest: 4,
        lengths: lengths)
      do throws(ArgumentError) {
        try capacity.validate(
          Self.problem(.paged(table)), updating: planned, operation: "test")
        return nil
      } catch {
        return error.description
      }
    }
    #expect(check([]) == nil)
    #expect(check([16, 16]) == nil)
    #expect(check([20, 8]) == nil)
    #expect(check([20, 9])?.contains("within the capacity, 4; found 5") == true)
    #expect(check([21])?.contains("within the capacity, 20; found 21 at request 0") == true)
    #expect(check([1, 1, 1])?.contains("within the plan's capacity, 2; found 3") == true)
  }

  @Test func `lengths of all requests are those of each`() {
    var random = SplitMix64(seed: 5)
    for _ in 0..<50 {
      let lengths = (0..<Int.random(in: 0...9, using: &random)).map { _ in
        Int.random(in: 0...70, using: &random)
      }
      let width = 10
      let blocks = (0..<width * lengths.count).map { _ in Int32.random(in: 0...99, using: &random) }
      let table = PageTable(
        pageSize: 8, blocks: blocks, pagesPerRequest: width, lengths: lengths)
      for table in [table, table.compressed] {
        #expect(table.lengths == lengths)
        #expect(table.lengths == (0..<table.batch).map { table.length($0) })
        #expect(table.usedPageCount == (0..<table.batch).reduce(0) { $0 + table.pageCount($1) })
        var used: [Int32] = []
        table.forEachUsedRun {
          used += $0
          return true
        }
        let expected = (0..<table.batch).flatMap { r in
          (0..<table.pageCount(r)).map { Int32(table.page(r, $0)) }
        }
        #expect(used == expected)
        #expect(table.greatestPage == Int(expected.max() ?? -1))
        #expect(KVGeometry.paged(table).lengths == lengths)
      }
    }
  }

  @Test func `a negative index in use is named, one that is not is ignored`() {
    func violations(_ blocks: [Int32]) -> [Violation] {
      var validator = Validator("test")
      validator.requirePageTable(
        PageTable(pageSize: 8, blocks: blocks, pagesPerRequest: 2, lengths: [9, 3]))
      return validator.violations
    }
    #expect(violations([1, 2, 3, -1]).isEmpty)
    #expect(violations([1, -5, 3, -1]).map(\.found) == ["-5 at request 0, page 1"])
  }
}

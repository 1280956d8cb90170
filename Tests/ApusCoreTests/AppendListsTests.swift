import ApusCore
import ApusNumerics
import Testing

@Suite struct AppendListsTests {
  /// Calls `body` with an i32 view of the values.
  private func withView<Result>(
    _ values: [Int32], _ shape: [Int]? = nil, _ body: (TensorView) throws -> Result
  ) rethrows -> Result {
    try values.withUnsafeBytes {
      try body(
        TensorView(
          address: UInt(bitPattern: $0.baseAddress), byteCount: $0.count, scalarType: .i32,
          shape: shape ?? [values.count], strides: TensorView.denseStrides(shape ?? [values.count]))
      )
    }
  }

  private func problem(_ lists: AppendLists) -> AppendProblem {
    AppendProblem(
      kvHeadCount: 1, headDimK: 8, sourceType: .bf16, cacheType: .bf16, lists: lists)
  }

  @Test func `lists in host memory are read into lists of Swift`() throws {
    try withView([0, 1, -1]) { requests in
      try withView([3, 0, 9]) { positions in
        let read = try withView([0, 2, 3]) { indptr in
          try withView([4, 1, 2]) { indices in
            try problem(
              AppendLists(
                pageSize: 2, pages: .csr(indptr: indptr, indices: indices),
                batchIndices: requests, positions: positions)
            ).readingLists(operation: "append")
          }
        }
        #expect(read.lists == nil && read.tokenCount == 3)
        #expect(read.batchIndices == [0, 1, -1] && read.positions == [3, 0, 9])
        #expect(
          read.table
            == PageTable(
              pageSize: 2, indptr: RaggedIndptr([0, 2, 3]), indices: [4, 1, 2],
              lastPageLength: [2, 2]))
        let table = try withView([4, 1, 2, -1], [2, 2]) { blocks in
          try problem(
            AppendLists(
              pageSize: 2, pages: .blockTable(blocks), batchIndices: requests,
              positions: positions)
          ).readingLists(operation: "append").table
        }
        #expect(
          table
            == PageTable(pageSize: 2, blocks: [4, 1, 2, -1], pagesPerRequest: 2, lengths: [4, 2]))
      }
    }
    let plain = AppendProblem(
      kvHeadCount: 1, headDimK: 8, sourceType: .bf16, cacheType: .bf16, table: .sample,
      batchIndices: [], positions: [])
    #expect(try plain.readingLists(operation: "append") == plain)
  }

  @Test func `lists that cannot be read are refused before they are`() {
    let good = AppendLists(
      pageSize: 2, pages: .csr(indptr: .sample(.i32, [3]), indices: .sample(.i32, [4])),
      batchIndices: .sample(.i32, [2]), positions: .sample(.i32, [2]))
    func refused(_ change: (inout AppendLists) -> Void) -> String {
      var lists = good
      change(&lists)
      return refusal { _ = try problem(lists).readingLists(operation: "append") }
    }
    #expect(
      refused { $0.positions = .sample(.i64, [2]) }
        == "append: positions must have type i32; found i64.")
    #expect(
      refused { $0.batchIndices = .sample(.i32, [3]) }
        == "append: positions must have shape [3]; found [2].")
    #expect(
      refused { $0.pages = .csr(indptr: .sample(.i32, [0]), indices: .sample(.i32, [4])) }
        == "append: pageIndptr must hold batch + 1 offsets; found [0].")
    #expect(
      refused { $0.pages = .csr(indptr: .sample(.i32, [3]), indices: .sample(.i32, [1 << 27])) }
        == "append: pageIndices must hold at most 67108864 integers; found [134217728].")
    #expect(
      refused { $0.pageSize = 0 } == "append: pageSize must be at least 1; found 0.")
    #expect(
      refused { $0.pages = .blockTable(.sample(.i32, [3])) }
        == "append: blockTable must have shape [any, any]; found [3].")
  }

  @Test func `a problem has lists of one form`() {
    var both = problem(
      AppendLists(
        pageSize: 2, pages: .blockTable(.sample(.i32, [1, 1])), batchIndices: .sample(.i32, [1]),
        positions: .sample(.i32, [1])))
    let arguments = AppendArguments(
      keys: .sample(.bf16, [1, 1, 8]), values: .sample(.bf16, [1, 1, 8]),
      cache: .separate(k: .sample(.bf16, [1, 2, 1, 8]), v: .sample(.bf16, [1, 2, 1, 8])))
    func resolved() -> String {
      refusal { _ = try both.resolve(arguments, memory: .host, operation: "append") }
    }
    #expect(resolved() == "accepted")
    both.positions = [0]
    #expect(resolved() == "append: lists must be tensors or values; found both.")
  }
}

import ApusNumerics
import ApusTestSupport
import CApusSIMD
import Testing

/// Calls that walk several heads of each token.
struct HeadWalkTests {
  static let heads = 3
  static let dims = [1, 16, 40, 64, 100, 128]
  static let tokenCounts = [1, 3, 4, 5, 8, 9, 16, 17, 37]

  /// Tokens with all heads one after the other, each in a block of exactly its size.
  struct Tokens {
    let rows: StoredRows
    let bytes: Int
    /// Row pointers of the first head, then those to request from, which are read by no kernel.
    let list: [UnsafeRawPointer?]

    init(_ type: ElementType, count: Int, dim: Int, using generator: inout SplitMix64) {
      rows = StoredRows(type, count: count, dim: HeadWalkTests.heads * dim, using: &generator)
      bytes = dim * type.byteCount
      let addresses = rows.blocks.map { Optional(UnsafeRawPointer($0.start)) }
      list = addresses + (0..<Int(CAPUS_FOLLOWING)).map { addresses[$0 % count] }
    }

    func head(_ head: Int) -> [UnsafeRawPointer?] {
      rows.blocks.map { UnsafeRawPointer($0.start + head * bytes) }
    }

    func walk(_ reach: Int) -> capus_walk {
      capus_walk(heads: Int32(HeadWalkTests.heads), head_bytes: bytes, reach: Int32(reach))
    }
  }

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `a walk has the bits of a call for each head`(_ table: KernelTable, _ type: ElementType) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(701)
    withEvery("dim", in: Self.dims) { dim in
      withEvery("tokens", in: Self.tokenCounts) { count in
        let tokens = Tokens(type, count: count, dim: dim, using: &generator)
        for rows in [1, 2, 3, 4, 7, 8, 16] {
          let all = Self.heads * rows
          let q = Matrix(rows: all, columns: dim, using: &generator)
          let p = Matrix(rows: all, columns: count, using: &generator)
          let before = Matrix(rows: all, columns: dim, using: &generator)
          let (s, t) = (
            Matrix(rows: all, columns: count) { _, _ in 7 },
            Matrix(rows: all, columns: count) { _, _ in 7 }
          )
          let (o, u) = (
            Matrix(rows: all, columns: dim) { before[$0, $1] },
            Matrix(rows: all, columns: dim) { before[$0, $1] }
          )
          var walk = tokens.walk(rows % 3 * Self.heads + 1)
          type.entry(of: kernels.scores)(
            q.start, q.stride, Int32(rows), tokens.list, Int32(count), Int32(dim), s.start,
            s.stride, 0, &walk)
          type.entry(of: kernels.weighted_sum)(
            p.start, p.stride, Int32(rows), tokens.list, Int32(count), Int32(dim), o.start,
            o.stride, &walk)
          for head in 0..<Self.heads {
            let first = head * rows
            type.entry(of: kernels.scores)(
              q.start + first * q.stride, q.stride, Int32(rows), tokens.head(head), Int32(count),
              Int32(dim), t.start + first * t.stride, t.stride, 0, nil)
            type.entry(of: kernels.weighted_sum)(
              p.start + first * p.stride, p.stride, Int32(rows), tokens.head(head), Int32(count),
              Int32(dim), u.start + first * u.stride, u.stride, nil)
          }
          Self.expectSame(s, t, "scores of \(rows) rows")
          Self.expectSame(o, u, "sums of \(rows) rows")
        }
      }
    }
  }

  @Test(arguments: DotKernelTests.types)
  func `a walk over pairs has the bits of a call for each head`(_ type: ElementType) {
    guard let dot = DotKernelTests.kernels else { return }
    var generator = seeded(702)
    withEvery("dim", in: Self.dims) { dim in
      withEvery("tokens", in: Self.tokenCounts) { count in
        let tokens = Tokens(type, count: count, dim: dim, using: &generator)
        for rows in [1, 2, 3, 4, 7, 8, 16] {
          let all = Self.heads * rows
          let (q, ldq) = DotKernelTests.packed(
            dot, type, DotKernelTests.matrix(all, dim, using: &generator))
          let (p, ldp) = DotKernelTests.weights(
            dot, DotKernelTests.matrix(all, count, using: &generator))
          defer { q.deallocate() }
          defer { p.deallocate() }
          let before = Matrix(rows: all, columns: dim, using: &generator)
          let (s, t) = (
            Matrix(rows: all, columns: count) { _, _ in 7 },
            Matrix(rows: all, columns: count) { _, _ in 7 }
          )
          let (o, u) = (
            Matrix(rows: all, columns: dim) { before[$0, $1] },
            Matrix(rows: all, columns: dim) { before[$0, $1] }
          )
          var walk = tokens.walk(rows % 3 * Self.heads + 1)
          type.entry(of: dot.scores)(
            q, ldq, Int32(rows), tokens.list, Int32(count), Int32(dim), s.start, s.stride, 0, &walk)
          type.entry(of: dot.weighted_sum)(
            p, ldp, Int32(rows), tokens.list, Int32(count), Int32(dim), o.start, o.stride, &walk)
          for head in 0..<Self.heads {
            let first = head * rows
            type.entry(of: dot.scores)(
              q + first * ldq, ldq, Int32(rows), tokens.head(head), Int32(count), Int32(dim),
              t.start + first * t.stride, t.stride, 0, nil)
            type.entry(of: dot.weighted_sum)(
              p + first * ldp, ldp, Int32(rows), tokens.head(head), Int32(count), Int32(dim),
              u.start + first * u.stride, u.stride, nil)
          }
          Self.expectSame(s, t, "scores of \(rows) rows")
          Self.expectSame(o, u, "sums of \(rows) rows")
        }
      }
    }
  }

  private static func expectSame(_ a: Matrix, _ b: Matrix, _ what: String) {
    var mismatches = Mismatches()
    for row in 0..<a.rows {
      for column in 0..<a.columns {
        mismatches.check(
          a[row, column].bitPattern == b[row, column].bitPattern,
          "\(what), row \(row) column \(column): \(a[row, column]), not \(b[row, column])")
      }
    }
    mismatches.expectNone()
    expect(a.gapsAreIntact, "\(what): wrote between rows")
  }
}

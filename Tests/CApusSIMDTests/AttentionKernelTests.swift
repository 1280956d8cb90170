import ApusNumerics
import ApusTestSupport
import CApusSIMD
import Testing

struct AttentionKernelTests {
  static let dims = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129]
  static let rowCounts = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16]
  static let tokenCounts = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33]

  // MARK: - scores

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `scores are within the bound of a dot product`(_ table: KernelTable, _ type: ElementType) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(101)
    withEvery("dim", in: Self.dims) { dim in
      let (rows, tokens) = (16, 33)
      let q = Matrix(rows: rows, columns: dim, using: &generator)
      let keys = StoredRows(type, count: tokens, dim: dim, using: &generator)
      for accumulate in [0, 1] {
        let before = Matrix(rows: rows, columns: tokens, using: &generator)
        let out = Matrix(rows: rows, columns: tokens) { before[$0, $1] }
        keys.withPointers {
          type.entry(of: kernels.scores)(
            q.start, q.stride, Int32(rows), $0, Int32(tokens), Int32(dim), out.start, out.stride,
            Int32(accumulate), nil)
        }
        var mismatches = Mismatches()
        for row in 0..<rows {
          for token in 0..<tokens {
            var sum = accumulate == 0 ? 0 : Double(before[row, token])
            var magnitude = abs(sum)
            for column in 0..<dim {
              let product = Double(q[row, column]) * keys.values[token][column]
              sum += product
              magnitude += abs(product)
            }
            let error = abs(Double(out[row, token]) - sum)
            mismatches.check(
              error <= gamma(dim + accumulate) * magnitude,
              "row \(row) token \(token): \(out[row, token]), not \(sum)")
          }
        }
        mismatches.expectNone()
        expect(out.gapsAreIntact, "wrote between rows")
      }
    }
  }

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `scores have the same bits for any number of rows and tokens`(
    _ table: KernelTable, _ type: ElementType
  ) {
    guard let kernels = table.kernels else { return }
    let scores = type.entry(of: kernels.scores)
    var generator = seeded(102)
    withEvery("dim", in: [1, 17, 40, 100]) { dim in
      let q = Matrix(rows: 16, columns: dim, using: &generator)
      let keys = StoredRows(type, count: 33, dim: dim, using: &generator)
      let whole = Matrix(rows: 16, columns: 33) { _, _ in 0 }
      keys.withPointers { k in
        scores(q.start, q.stride, 16, k, 33, Int32(dim), whole.start, whole.stride, 0, nil)
        withEvery("rows", in: Self.rowCounts) { rows in
          withEvery("tokens", in: Self.tokenCounts) { tokens in
            let part = Matrix(rows: rows, columns: tokens) { _, _ in 7 }
            // The last rows and tokens, so that each one also sits at other places of a block.
            let firstRow = 16 - rows
            let firstToken = 33 - tokens
            scores(
              q.start + firstRow * q.stride, q.stride, Int32(rows), k + firstToken, Int32(tokens),
              Int32(dim), part.start, part.stride, 0, nil)
            for row in 0..<rows {
              for token in 0..<tokens {
                expectEqual(
                  part[row, token].bitPattern,
                  whole[firstRow + row, firstToken + token].bitPattern)
              }
            }
            expect(part.gapsAreIntact, "wrote between rows")
          }
        }
      }
    }
  }

  // MARK: - weighted_sum

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `weighted sums are within the bound of a sum of products`(
    _ table: KernelTable, _ type: ElementType
  ) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(103)
    withEvery("dim", in: Self.dims) { dim in
      let rows = 16
      let values = StoredRows(type, count: 33, dim: dim, using: &generator)
      withEvery("tokens", in: [0, 1, 2, 15, 16, 17, 33]) { tokens in
        let p = Matrix(rows: rows, columns: tokens, using: &generator)
        let before = Matrix(rows: rows, columns: dim, using: &generator)
        let out = Matrix(rows: rows, columns: dim) { before[$0, $1] }
        values.withPointers {
          type.entry(of: kernels.weighted_sum)(
            p.start, p.stride, Int32(rows), $0, Int32(tokens), Int32(dim), out.start,
            out.stride, nil)
        }
        var mismatches = Mismatches()
        for row in 0..<rows {
          for column in 0..<dim {
            var sum = Double(before[row, column])
            var magnitude = abs(sum)
            for token in 0..<tokens {
              let product = Double(p[row, token]) * values.values[token][column]
              sum += product
              magnitude += abs(product)
            }
            let error = abs(Double(out[row, column]) - sum)
            mismatches.check(
              error <= gamma(tokens + 1) * magnitude,
              "row \(row) column \(column): \(out[row, column]), not \(sum)")
          }
        }
        if dim > 0 { mismatches.expectNone() }
        expect(out.gapsAreIntact, "wrote between rows")
      }
    }
  }

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `weighted sums have the same bits for any number of rows`(
    _ table: KernelTable, _ type: ElementType
  ) {
    guard let kernels = table.kernels else { return }
    let weightedSum = type.entry(of: kernels.weighted_sum)
    var generator = seeded(104)
    withEvery("dim", in: [1, 17, 40, 100, 129]) { dim in
      let p = Matrix(rows: 16, columns: 21, using: &generator)
      let values = StoredRows(type, count: 21, dim: dim, using: &generator)
      values.withPointers { v in
        let whole = Matrix(rows: 16, columns: dim) { row, _ in Float(row) }
        weightedSum(p.start, p.stride, 16, v, 21, Int32(dim), whole.start, whole.stride, nil)
        withEvery("rows", in: Self.rowCounts) { rows in
          let first = 16 - rows
          let part = Matrix(rows: rows, columns: dim) { row, _ in Float(first + row) }
          weightedSum(
            p.start + first * p.stride, p.stride, Int32(rows), v, 21, Int32(dim), part.start,
            part.stride, nil)
          for row in 0..<rows {
            for column in 0..<dim {
              expectEqual(part[row, column].bitPattern, whole[first + row, column].bitPattern)
            }
          }
          expect(part.gapsAreIntact, "wrote between rows")
        }
      }
    }
  }

  // MARK: - NaN

  @Test(arguments: KernelTable.all, [ElementType.e4m3, .e5m2, .f16, .bf16, .f32])
  func `a NaN in one element reaches exactly its score and its column`(
    _ table: KernelTable, _ type: ElementType
  ) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(105)
    let (dim, tokens, rows) = (37, 9, 5)
    let stored = StoredRows(type, count: tokens, dim: dim, using: &generator)
    let q = Matrix(rows: rows, columns: dim, using: &generator)
    let p = Matrix(rows: rows, columns: tokens, using: &generator)
    withEvery("column", in: [0, 15, 16, 31, 32, 36]) { column in
      let kept = type.load(stored.blocks[4].start, at: column)
      withEvery("sign", in: [Float.nan, -Float.nan]) { nan in
        type.store(nan, to: stored.blocks[4].start, at: column)
        let s = Matrix(rows: rows, columns: tokens) { _, _ in 0 }
        let o = Matrix(rows: rows, columns: dim) { _, _ in 0 }
        stored.withPointers {
          type.entry(of: kernels.scores)(
            q.start, q.stride, Int32(rows), $0, Int32(tokens), Int32(dim), s.start, s.stride, 0,
            nil)
          type.entry(of: kernels.weighted_sum)(
            p.start, p.stride, Int32(rows), $0, Int32(tokens), Int32(dim), o.start, o.stride,
            nil)
        }
        for row in 0..<rows {
          for token in 0..<tokens { expectEqual(s[row, token].isNaN, token == 4) }
          for index in 0..<dim { expectEqual(o[row, index].isNaN, index == column) }
        }
      }
      type.store(kept, to: stored.blocks[4].start, at: column)
    }
  }
}

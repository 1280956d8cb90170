import ApusNumerics
import ApusTestSupport
import CApusSIMD
import Testing

struct GemmKernelTests {
  static let rowCounts = [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13]
  static let columnCounts = [
    0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80,
  ]

  @Test(arguments: KernelTable.all)
  func `gemm is within the bound of a dot product`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(201)
    let (rows, columns) = (13, 80)
    withEvery("depth", in: [0, 1, 2, 7, 64, 129]) { depth in
      let a = Matrix(rows: rows, columns: depth, using: &generator)
      let b = Matrix(rows: depth, columns: columns, using: &generator)
      withEvery("accumulate", in: [0, 1]) { accumulate in
        let before = Matrix(rows: rows, columns: columns, using: &generator)
        let c = Matrix(rows: rows, columns: columns) { before[$0, $1] }
        kernels.gemm(
          a.start, a.stride, Int32(rows), b.start, b.stride, Int32(columns), Int32(depth), c.start,
          c.stride, Int32(accumulate))
        var mismatches = Mismatches()
        for row in 0..<rows {
          for column in 0..<columns {
            var sum = accumulate == 0 ? 0 : Double(before[row, column])
            var magnitude = abs(sum)
            for k in 0..<depth {
              let product = Double(a[row, k]) * Double(b[k, column])
              sum += product
              magnitude += abs(product)
            }
            let error = abs(Double(c[row, column]) - sum)
            mismatches.check(
              error <= gamma(depth + accumulate) * magnitude,
              "row \(row) column \(column): \(c[row, column]), not \(sum)")
          }
        }
        mismatches.expectNone()
        expect(c.gapsAreIntact, "wrote between rows")
      }
    }
  }

  /// With the test above this covers every size: the parts are within the bound as well.
  @Test(arguments: KernelTable.all)
  func `gemm has the same bits for any number of rows and columns`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(202)
    let depth = 19
    let a = Matrix(rows: 13, columns: depth, using: &generator)
    let whole = Matrix(rows: 13, columns: 80) { _, _ in 0 }
    let wide = Matrix(rows: depth, columns: 80, using: &generator)
    kernels.gemm(
      a.start, a.stride, 13, wide.start, wide.stride, 80, Int32(depth), whole.start, whole.stride,
      0)
    withEvery("rows", in: Self.rowCounts) { rows in
      withEvery("columns", in: Self.columnCounts) { columns in
        // A matrix of its own: its rows end where the columns do.
        let b = Matrix(rows: depth, columns: columns) { wide[$0, 80 - columns + $1] }
        let first = 13 - rows
        let c = Matrix(rows: rows, columns: columns) { _, _ in 7 }
        kernels.gemm(
          a.start + first * a.stride, a.stride, Int32(rows), b.start, b.stride, Int32(columns),
          Int32(depth), c.start, c.stride, 0)
        for row in 0..<rows {
          for column in 0..<columns {
            expectEqual(
              c[row, column].bitPattern, whole[first + row, 80 - columns + column].bitPattern)
          }
        }
        expect(c.gapsAreIntact, "wrote between rows")
      }
    }
  }

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `pack_transposed widens, transposes and pads with zeros`(
    _ table: KernelTable, _ type: ElementType
  ) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(203)
    withEvery("dim", in: [0, 1, 3, 4, 5, 8, 15, 16, 17, 33, 64]) { dim in
      withEvery("tokens", in: [0, 1, 3, 4, 5, 8, 15, 16, 17, 33]) { tokens in
        let stored = StoredRows(type, count: tokens, dim: dim, using: &generator)
        withEvery("padding", in: [0, 1, 16]) { padding in
          let packed = Matrix(rows: dim, columns: tokens + padding) { _, _ in -1 }
          stored.withPointers {
            type.entry(of: kernels.pack_transposed)(
              $0, Int32(tokens), Int32(tokens + padding), Int32(dim), packed.start, packed.stride)
          }
          for row in 0..<dim {
            for column in 0..<(tokens + padding) {
              let expected = column < tokens ? stored.values[column][row] : 0
              expectEqual(Double(packed[row, column]), expected)
            }
          }
          expect(packed.gapsAreIntact, "wrote between rows")
        }
      }
    }
  }
}

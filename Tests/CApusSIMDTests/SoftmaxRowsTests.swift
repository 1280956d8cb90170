import ApusNumerics
import ApusTestSupport
import CApusSIMD
import Testing

struct SoftmaxRowsTests {
  static let lengths = [0, 1, 7, 15, 16, 17, 31, 33, 64, 65]

  /// With the factor 1 the step of one row is softmax_step's; any other factor is one product before.
  @Test(arguments: KernelTable.all)
  func `rows step as softmax_step does, wherever they stand`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(601)
    withEvery("length", in: Self.lengths) { length in
      let rows = 11
      let scores = Matrix(rows: rows, columns: length) { row, column in
        row == 3 || column % 6 == 5 ? -.infinity : Float.random(in: -30..<30, using: &generator)
      }
      let factors = (0..<rows).map { $0 % 2 == 0 ? Float(1) : 0.37 }
      let before = (0..<rows).map { $0 % 3 == 0 ? -Float.infinity : Float($0) }
      let sums = before.map { $0 == -.infinity ? Float(0) : 2.5 }
      func run(_ range: Range<Int>) -> (p: Matrix, m: [Float], l: [Float], alpha: [Float]) {
        let p = Matrix(rows: range.count, columns: length) { scores[range.lowerBound + $0, $1] }
        var m = Array(before[range])
        var l = Array(sums[range])
        var alpha = [Float](repeating: -1, count: range.count)
        kernels.softmax_rows(
          p.start, p.stride, Int32(range.count), Int32(length), Array(factors[range]), &m, &l,
          &alpha)
        expect(p.gapsAreIntact, "wrote between rows")
        return (p, m, l, alpha)
      }
      let all = run(0..<rows)
      for row in 0..<rows {
        for range in [row..<row + 1, row..<min(row + 5, rows), max(row - 3, 0)..<row + 1] {
          let part = run(range)
          let index = row - range.lowerBound
          expectEqual(part.m[index].bitPattern, all.m[row].bitPattern)
          expectEqual(part.l[index].bitPattern, all.l[row].bitPattern)
          expectEqual(part.alpha[index].bitPattern, all.alpha[row].bitPattern)
          for column in 0..<length {
            expectEqual(part.p[index, column].bitPattern, all.p[row, column].bitPattern)
          }
        }
        let single = Matrix(rows: 1, columns: length) { scores[row, $1] * factors[row] }
        var (m, l) = (before[row], sums[row])
        let alpha = kernels.softmax_step(single.start, Int32(length), &m, &l)
        expectEqual(all.m[row], m)
        expectEqual(all.alpha[row], alpha)
        for column in 0..<length { expectEqual(all.p[row, column], single[0, column]) }
        expect(
          abs(Double(all.l[row]) - Double(l)) <= 2 * gamma(length + 2) * Double(l),
          "l \(all.l[row]), not \(l)")
      }
    }
  }
}

import ApusIR
import Testing

@Suite struct FragmentLayoutTests {
  static let layouts: [(String, FragmentLayout)] =
    [
      ("D f32", .mmaAccumulator(.f32)), ("D f16", .mmaAccumulator(.f16)),
      ("D n=256", .wgmmaAccumulator(n: 256, .f32)), ("D f16 n=24", .wgmmaAccumulator(n: 24, .f16)),
    ]
    + [(Op.MatrixElement.f16, 8), (.bf16, 16), (.tf32, 4), (.tf32, 8), (.e4m3, 32)].flatMap {
      [("A \($0) k=\($1)", FragmentLayout.a($0, k: $1)), ("B \($0) k=\($1)", .b($0, k: $1))]
    }

  @Test(arguments: layouts)
  func `every element lives in exactly one place`(name: String, layout: FragmentLayout) {
    var seen = Set<FragmentLayout.Position>()
    for lane in 0..<warpSize {
      for register in 0..<layout.registerCount {
        for element in 0..<layout.elementsPerRegister {
          let position = layout.position(lane: lane, register: register, element: element)
          #expect((0..<layout.rows).contains(position.row), "\(name)")
          #expect((0..<layout.columns).contains(position.column), "\(name)")
          seen.insert(position)
        }
      }
    }
    #expect(seen.count == layout.rows * layout.columns, "\(name)")
  }

  @Test func `register counts are those of the shapes`() {
    for (element, k) in [(Op.MatrixElement.f16, 8), (.bf16, 16), (.tf32, 8), (.e5m2, 32)] {
      let shape = Op.MMAShape(element, k: k)
      #expect(FragmentLayout.a(element, k: k).registerCount == shape.aCount)
      #expect(FragmentLayout.b(element, k: k).registerCount == shape.bCount)
    }
    for n in stride(from: 8, through: 256, by: 8) {
      for accumulator in Op.AccumulatorType.allCases {
        #expect(
          FragmentLayout.wgmmaAccumulator(n: n, accumulator).registerCount
            == Op.WGMMAShape(n: n, .f16, accumulator: accumulator).accumulatorCount)
      }
    }
  }

  /// The fact that lets P feed the second product without any exchange of lanes.
  @Test func `neighbouring accumulators pack into the next product's A registers`() {
    let s = FragmentLayout.wgmmaAccumulator(n: 64, .f32)
    let a = FragmentLayout.a(.bf16, k: 16)
    for lane in 0..<warpSize {
      for step in 0..<4 {
        for register in 0..<4 {
          for element in 0..<2 {
            let from = s.position(lane: lane, register: 8 * step + 2 * register + element)
            let to = a.position(lane: lane, register: register, element: element)
            #expect(from.row == to.row)
            #expect(from.column == 16 * step + to.column)
          }
        }
      }
    }
  }

  @Test func `places are those of the manual's figures`() {
    typealias Position = FragmentLayout.Position
    #expect(
      FragmentLayout.mmaAccumulator(.f32).position(lane: 5, register: 3)
        == Position(row: 9, column: 3))
    #expect(
      FragmentLayout.a(.e4m3, k: 32).position(lane: 6, register: 2, element: 3)
        == Position(row: 1, column: 27))
    #expect(
      FragmentLayout.b(.f16, k: 16).position(lane: 13, register: 1, element: 0)
        == Position(row: 10, column: 3))
  }
}

import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct TensorCoreTests {
  /// D = A·B + D of one warp with fragments loaded register by register.
  @Test func `mma of every type equals the scalar product`() {
    for (seed, shape) in [
      (1, Op.MMAShape(.f16)), (2, Op.MMAShape(.bf16)), (3, Op.MMAShape(.bf16, k: 8)),
      (4, Op.MMAShape(.tf32)), (5, Op.MMAShape(.tf32, k: 4)), (6, Op.MMAShape(.e4m3)),
      (7, Op.MMAShape(.e5m2, .e4m3)), (8, Op.MMAShape(.f16, accumulator: .f16)),
    ] as [(UInt64, Op.MMAShape)] {
      check(shape, seed: seed)
    }
  }

  private func check(_ shape: Op.MMAShape, seed: UInt64) {
    var random = SplitMix64(seed: seed)
    // Small integers: every product and sum is exact in every format.
    let a = (0..<16 * shape.k).map { _ in Float(Int.random(in: -4...4, using: &random)) }
    let b = (0..<8 * shape.k).map { _ in Float(Int.random(in: -4...4, using: &random)) }
    let d = (0..<128).map { _ in Float(Int.random(in: -8...8, using: &random)) }
    let layouts = [
      FragmentLayout.mmaAccumulator(shape.accumulator), .a(shape.a, k: shape.k),
      .b(shape.b, k: shape.k),
    ]
    func code(_ x: Float, _ element: Op.MatrixElement) -> UInt32 {
      switch element {
      case .f16: UInt32(Half(x).bitPattern)
      case .bf16: UInt32(BFloat16(x).bitPattern)
      case .tf32: x.bitPattern
      case .e4m3: UInt32(Float8E4M3(x).bitPattern)
      case .e5m2: UInt32(Float8E5M2(x).bitPattern)
      }
    }
    let isWide = shape.accumulator == .f32
    func words(_ matrix: [Float], _ layout: FragmentLayout, _ encode: (Float) -> UInt32) -> [UInt32]
    {
      let width = 32 / layout.elementsPerRegister
      return (0..<32 * layout.registerCount).map { word in
        (0..<layout.elementsPerRegister).reduce(0) { bits, element in
          let at = layout.position(
            lane: word / layout.registerCount, register: word % layout.registerCount,
            element: element)
          return bits | encode(matrix[at.row * layout.columns + at.column])
            << UInt32(element * width % 32)
        }
      }
    }
    let encodeD: (Float) -> UInt32 = { isWide ? $0.bitPattern : UInt32(Half($0).bitPattern) }
    let inputs = [
      words(d, layouts[0], encodeD), words(a, layouts[1]) { code($0, shape.a) },
      words(b, layouts[2]) { code($0, shape.b) },
    ]
    let kernel = makeKernel { builder in
      let lane = builder.lane()
      func fragment(_ builder: inout IRBuilder, _ layout: FragmentLayout) -> [Operand] {
        let base = builder.pointer("in")
        return (0..<layout.registerCount).map { register in
          let index = builder.get(
            .arithmetic(.mad),
            [lane, .u32(UInt32(layout.registerCount)), .u32(UInt32(register))])
          return builder.load(.global, builder.element(base, index, stride: 4))
        }
      }
      let dType = shape.accumulator.valueType
      let old = fragment(&builder, layouts[0])
      let variables = old.map { word in
        let typed = builder.get(.movement(.bitcast), [word], dType)
        return builder.variable(dType, initial: typed, at: line(1))
      }
      let operands = fragment(&builder, layouts[1]) + fragment(&builder, layouts[2])
      builder.accumulate(.mma(shape), into: variables, operands, at: line(20))
      let out = builder.pointer("out")
      for (register, variable) in variables.enumerated() {
        let index = builder.get(
          .arithmetic(.mad), [lane, .u32(UInt32(variables.count)), .u32(UInt32(register))])
        builder.store(.global, builder.element(out, index, stride: 4), .value(variable))
      }
    }
    let product = (0..<128).map { place -> Float in
      let (row, column) = (place / 8, place % 8)
      return (0..<shape.k).reduce(d[place]) {
        $0 + a[row * shape.k + $1] * b[$1 * 8 + column]
      }
    }
    let (report, output) = run(kernel, inputs: inputs, outputWords: inputs[0].count)
    expect(report.errors.isEmpty, "\(shape) seed \(seed): \(report.errors)")
    expectEqual(output, words(product, layouts[0], encodeD), "\(shape) seed \(seed)")
  }

  @Test func `ldmatrix and stmatrix are inverse, and transposing twice is the identity`() {
    for isTransposed in [false, true] {
      for count in [1, 2, 4] {
        let words = (0..<UInt32(32 * count)).map { (place: UInt32) -> UInt32 in
          let low = 2 * place
          return low | (low + 1) << 16
        }
        let kernel = makeKernel { b in
          let (source, out) = (b.pointer("in"), b.pointer("out"))
          let tile = b.shared("tile", byteCount: 128 * count)
          let copy = b.shared("copy", byteCount: 128 * count)
          let lane = b.lane()
          for part in 0..<count {
            let index = b.get(.arithmetic(.add), [lane, .u32(UInt32(32 * part))])
            b.store(
              .shared, b.word(tile, index), b.load(.global, b.element(source, index, stride: 4)))
          }
          let row = b.get(.arithmetic(.mul), [lane, .u32(16)])
          let access = Op.MatrixAccess(count: count, isTransposed: isTransposed)
          let fragments = b.emit(
            .tensorCore(.ldmatrix(access)), [b.get(.arithmetic(.add), [tile, row])],
            results: Array(repeating: .u32, count: count), at: line(5))
          b.perform(
            .tensorCore(.stmatrix(access)),
            [b.get(.arithmetic(.add), [copy, row])] + fragments.map(Operand.value), at: 6)
          for part in 0..<count {
            let index = b.get(.arithmetic(.add), [lane, .u32(UInt32(32 * part))])
            let both = b.get(
              .arithmetic(.sub), [b.load(.shared, b.word(copy, index)), .u32(0)])
            b.store(.global, b.element(out, index, stride: 4), both)
            // The fragment itself, behind the copies.
            let place = b.get(.arithmetic(.add), [index, .u32(UInt32(32 * count))])
            b.store(.global, b.element(out, place, stride: 4), .value(fragments[part]))
          }
        }
        let (report, output) = run(kernel, inputs: [words], outputWords: 64 * count)
        expect(report.errors.isEmpty, "\(report.errors)")
        expectEqual(Array(output[..<(32 * count)]), words, "count \(count) \(isTransposed)")
        let fragment = (0..<32 * count).map { place -> UInt32 in
          let (lane, matrix) = (place % 32, place / 32)
          func element(_ row: Int, _ column: Int) -> UInt32 {
            UInt32(64 * matrix + (isTransposed ? 8 * column + row : 8 * row + column))
          }
          let (row, column) = (lane / 4, lane % 4 * 2)
          return element(row, column) | element(row, column + 1) << 16
        }
        expectEqual(Array(output[(32 * count)...]), fragment, "count \(count) \(isTransposed)")
      }
    }
  }
}

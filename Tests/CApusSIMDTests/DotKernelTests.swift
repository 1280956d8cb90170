import ApusNumerics
import ApusTestSupport
import CApusSIMD
import Testing

/// The kernels over bfloat16 pairs.
struct DotKernelTests {
  static let types = [ElementType.bf16, .e4m3, .e5m2]
  static let dims = [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 95, 96, 128, 130, 192, 257]

  static var kernels: capus_dot_kernels? {
    guard let table = capus_kernels_for(CAPUS_ISA_AVX512BF16)?.pointee.dot else {
      print("SKIP avx512bf16: not in this binary or not on this CPU")
      return nil
    }
    return table.pointee
  }

  /// An f32 matrix whose values bfloat16 holds.
  static func matrix(_ rows: Int, _ columns: Int, using generator: inout SplitMix64) -> Matrix {
    let result = Matrix(rows: rows, columns: columns, using: &generator)
    for row in 0..<rows {
      for column in 0..<columns {
        result[row, column] = Float(bitPattern: result[row, column].bitPattern & 0xFFFF_0000)
      }
    }
    return result
  }

  /// Rows as pack_rows stores them, in a block of exactly their size.
  static func packed(
    _ dot: capus_dot_kernels, _ type: ElementType, _ rows: Matrix, parts: Int = 1
  ) -> (codes: UnsafeMutablePointer<UInt16>, stride: Int) {
    let stride = (rows.columns + 63) / 64 * 64
    let codes = UnsafeMutablePointer<UInt16>.allocate(capacity: parts * rows.rows * stride + 1)
    type.entry(of: dot.pack_rows)(
      rows.start, rows.stride, Int32(rows.rows), Int32(rows.columns), Int32(parts), codes, stride)
    return (codes, stride)
  }

  /// Weights with a zero behind an odd number, in a block of exactly their size.
  static func weights(
    _ dot: capus_dot_kernels, _ rows: Matrix
  ) -> (codes: UnsafeMutablePointer<UInt16>, stride: Int) {
    let stride = (rows.columns + 1) / 2 * 2
    let codes = UnsafeMutablePointer<UInt16>.allocate(capacity: rows.rows * stride + 1)
    codes.update(repeating: 0, count: rows.rows * stride + 1)
    for row in 0..<rows.rows {
      dot.round(rows.start + row * rows.stride, codes + row * stride, rows.columns)
    }
    return (codes, stride)
  }

  @Test(arguments: types)
  func `scores are within the bound of a dot product`(_ type: ElementType) {
    guard let dot = Self.kernels else { return }
    var generator = seeded(501)
    withEvery("dim", in: Self.dims) { dim in
      let (rows, tokens) = (15, 37)
      let q = Self.matrix(rows, dim, using: &generator)
      let (codes, stride) = Self.packed(dot, type, q)
      defer { codes.deallocate() }
      let keys = StoredRows(type, count: tokens, dim: dim, using: &generator)
      for accumulate in [0, 1] {
        let before = Matrix(rows: rows, columns: tokens, using: &generator)
        let out = Matrix(rows: rows, columns: tokens) { before[$0, $1] }
        keys.withPointers {
          type.entry(of: dot.scores)(
            codes, stride, Int32(rows), $0, Int32(tokens), Int32(dim), out.start, out.stride,
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
            mismatches.check(
              abs(Double(out[row, token]) - sum) <= gamma(dim + accumulate) * magnitude,
              "row \(row) token \(token): \(out[row, token]), not \(sum)")
          }
        }
        mismatches.expectNone()
        expect(out.gapsAreIntact, "wrote between rows")
      }
    }
  }

  @Test(arguments: types)
  func `scores have the same bits for any number of rows and tokens`(_ type: ElementType) {
    guard let dot = Self.kernels else { return }
    let scores = type.entry(of: dot.scores)
    var generator = seeded(502)
    withEvery("dim", in: [1, 40, 64, 100, 128]) { dim in
      let q = Self.matrix(16, dim, using: &generator)
      let (codes, stride) = Self.packed(dot, type, q)
      defer { codes.deallocate() }
      let keys = StoredRows(type, count: 33, dim: dim, using: &generator)
      let whole = Matrix(rows: 16, columns: 33) { _, _ in 0 }
      keys.withPointers { k in
        scores(codes, stride, 16, k, 33, Int32(dim), whole.start, whole.stride, 0, nil)
        withEvery("rows", in: AttentionKernelTests.rowCounts) { rows in
          withEvery("tokens", in: AttentionKernelTests.tokenCounts) { tokens in
            let part = Matrix(rows: rows, columns: tokens) { _, _ in 7 }
            let (firstRow, firstToken) = (16 - rows, 33 - tokens)
            scores(
              codes + firstRow * stride, stride, Int32(rows), k + firstToken, Int32(tokens),
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

  @Test(arguments: types)
  func `weighted sums are within the bound and the same for any number of rows`(
    _ type: ElementType
  ) {
    guard let dot = Self.kernels else { return }
    let weightedSum = type.entry(of: dot.weighted_sum)
    var generator = seeded(503)
    withEvery("dim", in: Self.dims) { dim in
      let rows = 11
      let values = StoredRows(type, count: 33, dim: dim, using: &generator)
      withEvery("tokens", in: [1, 2, 3, 16, 17, 33]) { tokens in
        let p = Self.matrix(rows, tokens, using: &generator)
        let (codes, stride) = Self.weights(dot, p)
        defer { codes.deallocate() }
        let before = Matrix(rows: rows, columns: dim, using: &generator)
        let out = Matrix(rows: rows, columns: dim) { before[$0, $1] }
        values.withPointers {
          weightedSum(
            codes, stride, Int32(rows), $0, Int32(tokens), Int32(dim), out.start, out.stride, nil)
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
            mismatches.check(
              abs(Double(out[row, column]) - sum) <= gamma(tokens + 1) * magnitude,
              "row \(row) column \(column): \(out[row, column]), not \(sum)")
          }
        }
        mismatches.expectNone()
        expect(out.gapsAreIntact, "wrote between rows")
        withEvery("rows", in: [1, 2, 3, 4, 7]) { count in
          let first = rows - count
          let part = Matrix(rows: count, columns: dim) { before[first + $0, $1] }
          values.withPointers {
            weightedSum(
              codes + first * stride, stride, Int32(count), $0, Int32(tokens), Int32(dim),
              part.start, part.stride, nil)
          }
          for row in 0..<count {
            for column in 0..<dim {
              expectEqual(part[row, column].bitPattern, out[first + row, column].bitPattern)
            }
          }
        }
      }
    }
  }

  /// Weight 1 on one token gives the value itself: every code of the 8-bit types, each at every place
  /// of a vector, and as the first and the second of a pair.
  @Test(arguments: types)
  func `every code is widened exactly, and NaN stays in its column`(_ type: ElementType) {
    guard let dot = Self.kernels else { return }
    let codes = type.byteCount == 1 ? 256 : 65536
    withEvery("shift", in: [0, 1, 17, 40]) { shift in
      let block = Block(byteCount: codes * type.byteCount)
      for index in 0..<codes {
        let code = (index + shift) % codes
        if type.byteCount == 1 {
          block.start.storeBytes(of: UInt8(code), toByteOffset: index, as: UInt8.self)
        } else {
          block.start.storeBytes(of: UInt16(code), toByteOffset: 2 * index, as: UInt16.self)
        }
      }
      let one = UInt16(0x3F80)
      for weights in [[one, 0], [0, one]] {
        // The other row of the pair is finite: 0 times it is 0.
        let other = Block(byteCount: codes * type.byteCount)
        other.start.initializeMemory(as: UInt8.self, repeating: 0, count: codes * type.byteCount)
        let rows = weights[0] == one ? [block.start, other.start] : [other.start, block.start]
        let out = Matrix(rows: 1, columns: codes) { _, _ in 0 }
        let pointers = rows.map { Optional(UnsafeRawPointer($0)) }
        type.entry(of: dot.weighted_sum)(
          weights, 2, 1, pointers, 2, Int32(codes), out.start, out.stride, nil)
        var mismatches = Mismatches()
        for index in 0..<codes {
          let exact = type.load(block.start, at: index)
          // Subnormal operands count as zero.
          let expected = exact.isSubnormal ? 0 : exact
          mismatches.check(
            expected.isNaN ? out[0, index].isNaN : out[0, index] == expected,
            "code at \(index): \(out[0, index]), not \(expected)")
        }
        mismatches.expectNone()
      }
    }
  }

  @Test(arguments: types)
  func `a NaN in one element reaches exactly its score`(_ type: ElementType) {
    guard let dot = Self.kernels else { return }
    var generator = seeded(504)
    let (dim, tokens, rows) = (101, 19, 5)
    let stored = StoredRows(type, count: tokens, dim: dim, using: &generator)
    let (codes, stride) = Self.packed(dot, type, Self.matrix(rows, dim, using: &generator))
    defer { codes.deallocate() }
    withEvery("column", in: [0, 15, 16, 31, 63, 64, 100]) { column in
      let kept = type.load(stored.blocks[4].start, at: column)
      type.store(Float.nan, to: stored.blocks[4].start, at: column)
      let s = Matrix(rows: rows, columns: tokens) { _, _ in 0 }
      stored.withPointers {
        type.entry(of: dot.scores)(
          codes, stride, Int32(rows), $0, Int32(tokens), Int32(dim), s.start, s.stride, 0, nil)
      }
      for row in 0..<rows {
        for token in 0..<tokens { expectEqual(s[row, token].isNaN, token == 4) }
      }
      type.store(kept, to: stored.blocks[4].start, at: column)
    }
  }

  @Test func `three parts of a row add up to it and stay zero beyond`() {
    guard let dot = Self.kernels else { return }
    var generator = seeded(505)
    withEvery("dim", in: Self.dims) { dim in
      let rows = Matrix(rows: 3, columns: dim, using: &generator)
      let (codes, stride) = Self.packed(dot, .bf16, rows, parts: 3)
      defer { codes.deallocate() }
      func value(_ part: Int, _ row: Int, _ column: Int) -> Float {
        Float(bitPattern: UInt32(codes[(part * 3 + row) * stride + column]) << 16)
      }
      for row in 0..<3 {
        for column in 0..<stride {
          let sum = (0..<3).reduce(0.0) { $0 + Double(value($1, row, column)) }
          expectEqual(sum, column < dim ? Double(rows[row, column]) : 0)
        }
      }
    }
  }

  // MARK: - Panels

  @Test(arguments: types)
  func `gemm over packed keys gives the scores`(_ type: ElementType) {
    guard let dot = Self.kernels else { return }
    var generator = seeded(506)
    withEvery("dim", in: [1, 2, 31, 32, 33, 64, 129]) { dim in
      withEvery("tokens", in: [1, 15, 16, 17, 33, 64, 65]) { tokens in
        let rows = 13
        let q = Self.matrix(rows, dim, using: &generator)
        let (codes, stride) = Self.packed(dot, .bf16, q)
        defer { codes.deallocate() }
        let keys = StoredRows(type, count: tokens, dim: dim, using: &generator)
        let width = (tokens + 15) / 16 * 16
        let pairs = (dim + 1) / 2
        let panel = UnsafeMutablePointer<UInt32>.allocate(capacity: pairs * width)
        defer { panel.deallocate() }
        keys.withPointers {
          type.entry(of: dot.pack_keys)($0, Int32(tokens), Int32(dim), panel, width)
        }
        let out = Matrix(rows: rows, columns: tokens) { _, _ in 7 }
        dot.gemm(
          codes, stride, Int32(rows), panel, width, Int32(tokens), Int32(pairs), out.start,
          out.stride, 0)
        var mismatches = Mismatches()
        for row in 0..<rows {
          for token in 0..<tokens {
            var (sum, magnitude) = (0.0, 0.0)
            for column in 0..<dim {
              let product = Double(q[row, column]) * keys.values[token][column]
              sum += product
              magnitude += abs(product)
            }
            mismatches.check(
              abs(Double(out[row, token]) - sum) <= gamma(dim + 1) * magnitude,
              "row \(row) token \(token): \(out[row, token]), not \(sum)")
          }
        }
        mismatches.expectNone()
        expect(out.gapsAreIntact, "wrote between rows")
      }
    }
  }

  @Test(arguments: types)
  func `gemm over packed values gives the weighted sums`(_ type: ElementType) {
    guard let dot = Self.kernels else { return }
    var generator = seeded(507)
    withEvery("dim", in: [1, 15, 16, 31, 32, 48, 64, 100, 129]) { dim in
      withEvery("tokens", in: [1, 2, 7, 64]) { tokens in
        let rows = 13
        let p = Self.matrix(rows, tokens, using: &generator)
        let (codes, stride) = Self.weights(dot, p)
        defer { codes.deallocate() }
        let values = StoredRows(type, count: tokens, dim: dim, using: &generator)
        let pairs = (tokens + 1) / 2
        let panel = UnsafeMutablePointer<UInt32>.allocate(capacity: pairs * dim)
        defer { panel.deallocate() }
        values.withPointers {
          type.entry(of: dot.pack_values)($0, Int32(tokens), Int32(dim), panel, dim)
        }
        let before = Matrix(rows: rows, columns: dim, using: &generator)
        let out = Matrix(rows: rows, columns: dim) { before[$0, $1] }
        dot.gemm(
          codes, stride, Int32(rows), panel, dim, Int32(dim), Int32(pairs), out.start, out.stride, 1
        )
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
            mismatches.check(
              abs(Double(out[row, column]) - sum) <= gamma(tokens + 2) * magnitude,
              "row \(row) column \(column): \(out[row, column]), not \(sum)")
          }
        }
        mismatches.expectNone()
        expect(out.gapsAreIntact, "wrote between rows")
      }
    }
  }

  @Test func `round is bfloat16's rounding with subnormals as zero`() {
    guard let dot = Self.kernels else { return }
    let inputs = ConversionKernelTests.narrowingInputs(.bf16)
    withEvery("length", in: [1, 15, 16, 17, inputs.count]) { length in
      let codes = UnsafeMutablePointer<UInt16>.allocate(capacity: length)
      defer { codes.deallocate() }
      inputs.withUnsafeBufferPointer { dot.round($0.baseAddress, codes, length) }
      let expected = Block(byteCount: 2)
      for (index, input) in inputs.prefix(length).enumerated() {
        let found = Float(bitPattern: UInt32(codes[index]) << 16)
        if input.isNaN {
          expect(found.isNaN, "NaN became \(found)")
        } else if input.magnitude < .leastNormalMagnitude {
          expectEqual(found, 0)
        } else {
          ElementType.bf16.store(input, to: expected.start, at: 0, overflow: .nonSaturating)
          expectEqual(found, ElementType.bf16.load(expected.start, at: 0))
        }
      }
    }
  }

  @Test func `the probe counts what it runs`() {
    guard let dot = Self.kernels else { return }
    var sink: Float = 0.5
    #expect(dot.probe(0, &sink) == 0)
    let once = dot.probe(1, &sink)
    #expect(once >= 4 * 16 * 12)
    #expect(dot.probe(1000, &sink) == 1000 * once)
  }
}

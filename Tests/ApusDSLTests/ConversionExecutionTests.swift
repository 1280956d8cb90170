import ApusDSL
import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct ConversionExecutionTests {
  /// Converts pairs of binary32 (through binary16 if asked) to FP8, 2 codes in a half word.
  private func codes(
    _ format: Op.FP8Format, _ values: [Float], throughHalf: Bool, target: Target
  ) throws -> [UInt8] {
    let kernel = try Sketch(
      launch: LaunchBounds(threads: 32), target: target,
      emit: { block in
        let x = block.pointer("x", to: F32.self)
        let y = block.pointer("y", to: U16.self)
        let count = block.parameter("count", U32.self)
        block.loop(from: block.threadIndex, to: count, step: 32) { i in
          let pair = block.load(x[i << 1], count: 2)
          let codes =
            throughHalf
            ? pair[0].converted(to: F16x2.self, high: pair[1]).converted(to: format)
            : pair[0].converted(to: format, high: pair[1])
          block.store(codes, to: y[i])
        }
      }
    ).build()
    var memory = GlobalMemory()
    let xs = memory.bind("x", elements: values)
    let ys = memory.bindOutput("y", byteCount: values.count)
    let report = Simulator(kernel).run(
      grid: GridSize(1),
      arguments: [.pointer(xs), .pointer(ys), .scalar(.u32(UInt32(values.count / 2)))],
      memory: &memory)
    #expect(report.errors == [])
    return memory.elements(at: ys, as: UInt8.self)
  }

  /// Every FP8 value, the middles between neighbours and their neighbours, infinities, NaN, and
  /// random patterns; an even count.
  private func samples(_ format: Op.FP8Format, seed: UInt64) -> [Float] {
    var random = SplitMix64(seed: seed)
    var values: [Float] = [0, -0, .infinity, -.infinity, .nan, 0x1p-149, .greatestFiniteMagnitude]
    let decode: (UInt8) -> Float = {
      format == .e4m3 ? Float8E4M3(bitPattern: $0).float : Float8E5M2(bitPattern: $0).float
    }
    for code in UInt8(0)..<0x7F {
      let (low, high) = (decode(code), decode(code + 1))
      guard low.isFinite, high.isFinite else { continue }
      let middle = (low + high) / 2
      values += [low, -low, middle, -middle, middle.nextUp, middle.nextDown, -middle.nextUp]
    }
    values += (0..<2000).map { _ in Float(bitPattern: UInt32.random(in: 0 ... .max, using: &random))
    }
    values += (0..<2000).map { _ in Float.random(in: -1...1, using: &random) }
    return values.count % 2 == 0 ? values : values + [1]
  }

  @Test(arguments: Op.FP8Format.allCases, [Target.sm80, .sm90a])
  func `FP8 codes are the nearest on every target`(_ format: Op.FP8Format, _ target: Target) throws
  {
    let seed: UInt64 = 5
    let values = samples(format, seed: seed)
    for throughHalf in [false, true] {
      let found = try codes(format, values, throughHalf: throughHalf, target: target)
      for (value, code) in zip(values, found) {
        let exact = throughHalf ? Half(value).float : value
        let (expected, isNaN) =
          format == .e4m3
          ? (Float8E4M3(exact, overflow: .saturate).bitPattern, code & 0x7F == 0x7F)
          : (Float8E5M2(exact, overflow: .saturate).bitPattern, code & 0x7F > 0x7C)
        #expect(
          exact.isNaN ? isNaN : code == expected,
          "seed \(seed), \(value), through half \(throughHalf): \(code), not \(expected)")
      }
    }
  }

  @Test func `narrow elements are extended by loads and cut by stores`() throws {
    let kernel = try Sketch(
      launch: LaunchBounds(threads: 32),
      emit: { block in
        let x = block.pointer("x", to: U8.self)
        let y = block.pointer("y", to: U32.self)
        let z = block.pointer("z", to: U8.self)
        let i = block.threadIndex
        let unsigned = block.load(x[i << 2], count: 4).map(\.word)
        let signed = block.load(x.cast(to: S8.self)[i << 2], count: 4).map(\.word)
        let halves = block.load(x.cast(to: S16.self)[i << 1], count: 2).map(\.word)
        let words = block.load(x.cast(to: U16Word.self)[i << 1], count: 2).map(\.word)
        let sums = [
          unsigned[0] + unsigned[3], (signed[1] + signed[2]).bitcast(to: U32.self),
          (halves[0] + halves[1]).bitcast(to: U32.self), words[0] + words[1],
        ]
        block.store(sums, to: y[i << 2])
        block.store(sums.map(\.byte), to: z[i << 2])
      }
    ).build()
    var memory = GlobalMemory()
    let bytes = (0..<128).map { UInt8(truncatingIfNeeded: 37 * $0 + 200) }
    let xs = memory.bind("x", elements: bytes)
    let ys = memory.bindOutput("y", byteCount: 512)
    let zs = memory.bindOutput("z", byteCount: 128)
    let report = Simulator(kernel).run(
      grid: GridSize(1), arguments: [.pointer(xs), .pointer(ys), .pointer(zs)], memory: &memory)
    #expect(report.errors == [])
    let y = memory.elements(at: ys, as: UInt32.self)
    let z = memory.elements(at: zs, as: UInt8.self)
    for i in 0..<32 {
      let own = Array(bytes[4 * i..<4 * i + 4])
      func half(_ j: Int) -> UInt16 { UInt16(own[2 * j]) | UInt16(own[2 * j + 1]) << 8 }
      func signed<T: SignedInteger>(_ a: T, _ b: T) -> UInt32 {
        UInt32(bitPattern: Int32(a) + Int32(b))
      }
      let expected = [
        UInt32(own[0]) + UInt32(own[3]),
        signed(Int8(bitPattern: own[1]), Int8(bitPattern: own[2])),
        signed(Int16(bitPattern: half(0)), Int16(bitPattern: half(1))),
        UInt32(half(0)) + UInt32(half(1)),
      ]
      #expect(Array(y[4 * i..<4 * i + 4]) == expected, "thread \(i)")
      #expect(
        Array(z[4 * i..<4 * i + 4]) == expected.map { UInt8(truncatingIfNeeded: $0) },
        "thread \(i)")
    }
  }
}

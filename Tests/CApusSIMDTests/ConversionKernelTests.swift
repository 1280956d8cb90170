import ApusNumerics
import ApusTestSupport
import CApusSIMD
import Testing

struct ConversionKernelTests {
  /// Every length around the vector widths, so that every code meets vector and tail.
  static let lengths = Array(0...35) + [63, 64, 65]

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `widens every code exactly`(_ table: KernelTable, _ type: ElementType) {
    guard let kernels = table.kernels else { return }
    let widen = type.entry(of: kernels.widen)
    let bits = min(type.byteCount * 8, 16)
    let count = 1 << bits
    let source = Block(byteCount: count * type.byteCount)
    for code in 0..<count {
      switch type.byteCount {
      case 1: source.start.storeBytes(of: UInt8(code), toByteOffset: code, as: UInt8.self)
      case 2: source.start.storeBytes(of: UInt16(code), toByteOffset: 2 * code, as: UInt16.self)
      default:
        // f32 has too many codes: those whose lower half is an odd constant.
        let word = UInt32(code) << 16 | 0x55AB
        source.start.storeBytes(of: word, toByteOffset: 4 * code, as: UInt32.self)
      }
    }
    let found = Matrix(rows: 1, columns: count) { _, _ in -1 }
    widen(source.start, found.start, count)
    var mismatches = Mismatches()
    for code in 0..<count {
      let expected = type.load(source.start, at: code)
      mismatches.check(
        Self.same(found[0, code], expected), "code \(code): \(found[0, code]), not \(expected)")
    }
    mismatches.expectNone()
  }

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `widens any length and no further`(_ table: KernelTable, _ type: ElementType) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(11)
    withEvery("length", in: Self.lengths) { length in
      let rows = StoredRows(type, count: 1, dim: length, using: &generator)
      let found = Matrix(rows: 2, columns: length) { _, _ in -1 }
      type.entry(of: kernels.widen)(rows.blocks[0].start, found.start, length)
      for index in 0..<length { expectEqual(Double(found[0, index]), rows.values[0][index]) }
      for index in 0..<length { expectEqual(found[1, index], -1) }
      expect(found.gapsAreIntact, "wrote beyond the end")
    }
  }

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `narrows as the format defines, bit for bit`(_ table: KernelTable, _ type: ElementType) {
    guard let kernels = table.kernels else { return }
    let inputs = Self.narrowingInputs(type)
    for rule in OverflowRule.allCases {
      let found = Block(byteCount: inputs.count * type.byteCount)
      inputs.withUnsafeBufferPointer {
        type.entry(of: kernels.narrow)(
          $0.baseAddress, found.start, $0.count, rule == .saturate ? 1 : 0)
      }
      let expected = Block(byteCount: inputs.count * type.byteCount)
      var mismatches = Mismatches()
      for (index, input) in inputs.enumerated() {
        type.store(input, to: expected.start, at: index, overflow: rule)
        let codes = (0..<type.byteCount).map { found.start.loadByte(index * type.byteCount + $0) }
        let right = (0..<type.byteCount).map {
          expected.start.loadByte(index * type.byteCount + $0)
        }
        mismatches.check(codes == right, "\(rule) \(input): \(codes), not \(right)")
      }
      mismatches.expectNone()
    }
  }

  /// Independent of ApusNumerics' rounding: the nearest of all values of the format, by search.
  @Test(arguments: KernelTable.all, [ElementType.f16, .bf16, .e4m3, .e5m2])
  func `narrows to the nearest value of the format`(_ table: KernelTable, _ type: ElementType) {
    guard let kernels = table.kernels else { return }
    let magnitudes = Self.magnitudes(type)
    let inputs = Self.narrowingInputs(type).filter {
      $0.isFinite && $0.magnitude <= type.greatestFiniteMagnitude
    }
    let block = Block(byteCount: inputs.count * type.byteCount)
    inputs.withUnsafeBufferPointer {
      type.entry(of: kernels.narrow)($0.baseAddress, block.start, $0.count, 0)
    }
    var mismatches = Mismatches()
    for (index, input) in inputs.enumerated() {
      let found = Double(type.load(block.start, at: index))
      let error = abs(found - Double(input))
      let above = magnitudes.partitionIndex { $0 >= abs(found) }
      let neighbours = [above - 1, above + 1].filter(magnitudes.indices.contains)
      let nearest = neighbours.map { abs(magnitudes[$0] - Double(input.magnitude)) }.min() ?? 0
      // A tie goes to the even code, and codes rise with the magnitudes.
      let isRight = error < nearest || (error == nearest && above % 2 == 0)
      mismatches.check(isRight && found.sign == Double(input).sign, "\(input): \(found)")
    }
    mismatches.expectNone()
  }

  @Test(arguments: KernelTable.all, ElementType.allCases)
  func `narrows any length and no further`(_ table: KernelTable, _ type: ElementType) {
    guard let kernels = table.kernels else { return }
    withEvery("length", in: Self.lengths) { length in
      let source = Matrix(rows: 1, columns: length) { _, column in Float(column % 8) }
      let bytes = length * type.byteCount
      let found = Block(byteCount: bytes + 8)
      found.start.initializeMemory(as: UInt8.self, repeating: 0xA5, count: bytes + 8)
      type.entry(of: kernels.narrow)(source.start, found.start, length, 1)
      for index in 0..<length { expectEqual(type.load(found.start, at: index), Float(index % 8)) }
      for index in bytes..<(bytes + 8) { expectEqual(found.start.loadByte(index), 0xA5) }
    }
  }

  // MARK: - Inputs

  static func same(_ found: Float, _ expected: Float) -> Bool {
    expected.isNaN ? found.isNaN : found.bitPattern == expected.bitPattern
  }

  /// Finite non-negative values of a format in the order of their codes.
  static func magnitudes(_ type: ElementType) -> [Double] {
    let codes = 1 << (type.byteCount * 8 - 1)
    let block = Block(byteCount: 2)
    return (0..<codes).map { code in
      block.start.storeBytes(of: UInt16(code).littleEndian, as: UInt16.self)
      return Double(type.load(block.start, at: 0))
    }.filter(\.isFinite)
  }

  /// Every value, every midpoint and both f32 neighbours of each, special values and random bits,
  /// all with both signs.
  static func narrowingInputs(_ type: ElementType) -> [Float] {
    var inputs: [Float] = [
      0, .infinity, .nan, Float(bitPattern: 0x7FC0_0001), .greatestFiniteMagnitude,
      .leastNonzeroMagnitude, .leastNormalMagnitude, type.greatestFiniteMagnitude,
      type.greatestFiniteMagnitude.nextUp,
    ]
    if type != .f32 {
      let values = magnitudes(type)
      let step = max(values.count / 2048, 1)
      for index in Swift.stride(from: 0, to: values.count - 1, by: step) {
        let middle = Float((values[index] + values[index + 1]) / 2)
        inputs += [Float(values[index]), middle, middle.nextUp, middle.nextDown]
      }
      let last = values[values.count - 1]
      let overflow = Float(last + (last - values[values.count - 2]) / 2)
      inputs += [overflow, overflow.nextUp, overflow.nextDown, 2 * overflow]
    }
    var generator = seeded(23)
    inputs += (0..<4000).map { _ in
      Float(bitPattern: UInt32.random(in: 0...(.max), using: &generator))
    }
    // Quiet: Swift may quiet a signalling NaN on its way.
    inputs = inputs.map { $0.isSignalingNaN ? .nan : $0 }
    return inputs + inputs.map { -$0 }
  }
}

extension UnsafeMutableRawPointer {
  func loadByte(_ offset: Int) -> UInt8 { load(fromByteOffset: offset, as: UInt8.self) }
}

extension Array {
  /// First index at which `predicate` holds, for a predicate that stays true once it is.
  func partitionIndex(_ predicate: (Element) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if predicate(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

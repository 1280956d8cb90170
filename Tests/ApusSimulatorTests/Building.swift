import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

/// Line `line` of a pretended source file.
func line(_ line: Int) -> ApusIR.SourceLocation {
  ApusIR.SourceLocation(fileID: "Tests/K.swift", line: line)
}

extension Operand {
  static func u32(_ value: UInt32) -> Operand { .constant(.u32(value)) }
  static func f32(_ value: Float) -> Operand { .constant(.f32(value)) }
}

extension IRBuilder {
  /// An op with one result.
  mutating func get(
    _ op: Op, _ operands: [Operand] = [], _ type: ValueType = .u32, at place: Int = 1
  ) -> Operand {
    .value(value(op, operands, type: type, at: line(place)))
  }

  /// An op without results.
  mutating func perform(_ op: Op, _ operands: [Operand] = [], at place: Int = 1) {
    emit(op, operands, at: line(place))
  }

  mutating func thread() -> Operand { get(.special(.threadIndex(.x))) }
  mutating func lane() -> Operand { get(.special(.laneIndex)) }

  mutating func pointer(_ name: String) -> Operand {
    let id = addParameter(name: name, kind: .pointer(alignment: 16))
    return get(.memory(.parameter(id, offset: 0)), [], .u64)
  }

  /// base + index · stride, as a global address.
  mutating func element(_ base: Operand, _ index: Operand, stride: UInt32) -> Operand {
    get(.arithmetic(.madWide), [index, .u32(stride), base], .u64)
  }

  /// An array in shared memory: the address of its first byte.
  mutating func shared(_ name: String, byteCount: Int, alignment: Int = 16) -> Operand {
    let id = addShared(name: name, byteCount: byteCount, alignment: alignment)
    return get(.memory(.sharedAddress(id, offset: 0)))
  }

  /// base + 4 · index, as a shared address.
  mutating func word(_ base: Operand, _ index: Operand) -> Operand {
    get(.arithmetic(.mad), [index, .u32(4), base])
  }

  mutating func store(_ space: Op.MemorySpace, _ address: Operand, _ x: Operand, at place: Int = 1)
  {
    perform(.memory(.st(Op.MemoryAccess(space, .b32))), [address, x], at: place)
  }

  mutating func load(_ space: Op.MemorySpace, _ address: Operand, at place: Int = 1) -> Operand {
    get(.memory(.ld(Op.MemoryAccess(space, .b32))), [address], .u32, at: place)
  }

  mutating func compare(_ relation: Op.Comparison, _ a: Operand, _ b: Operand) -> Operand {
    get(.bits(.setp(relation)), [a, b], .pred)
  }

  mutating func when(
    _ condition: Operand, at place: Int = 1, _ body: (inout IRBuilder) -> Void,
    otherwise: ((inout IRBuilder) -> Void)? = nil
  ) {
    var regions = [region(body)]
    if let otherwise { regions.append(region(otherwise)) }
    emit(.control(.if(.divergent)), [condition], regions: regions, at: line(place))
  }

  mutating func loop(at place: Int = 1, _ body: (inout IRBuilder) -> Void) {
    let inner = region(body)
    emit(.control(.loop(.automatic)), regions: [inner], at: line(place))
  }

  /// A barrier of the whole block.
  mutating func blockBarrier(threads: Int) -> NamedBarrierID {
    addBarrier(name: "all", firstID: 0, threads: threads)
  }
}

/// A kernel that `body` fills.
func makeKernel(
  threads: Int = 32, cluster: Int = 1, _ body: (inout IRBuilder) -> Void
) -> KernelIR {
  var builder = IRBuilder(
    symbol: "k", launch: LaunchBounds(threads: threads, clusterSize: cluster))
  body(&builder)
  return builder.finish()
}

/// Runs a kernel whose parameters are all pointers; the last buffer is the output.
func run(
  _ kernel: KernelIR, inputs: [[UInt32]] = [], outputWords: Int? = nil, blocks: Int = 1,
  seed: UInt64 = 1, instructionLimit: Int = 1_000_000
) -> (report: SimulationReport, output: [UInt32]) {
  var memory = GlobalMemory()
  var arguments = inputs.enumerated().map { index, words in
    KernelArgument.pointer(memory.bind("in\(index)", elements: words))
  }
  var output: UInt64 = 0
  if let outputWords {
    output = memory.bindOutput("out", byteCount: 4 * outputWords)
    arguments.append(.pointer(output))
  }
  let options = SimulationOptions(seed: seed, instructionLimit: instructionLimit)
  let report = Simulator(kernel, options: options).run(
    grid: GridSize(blocks), arguments: arguments, memory: &memory)
  return (report, memory.elements(at: output, as: UInt32.self))
}

/// Applies one op to columns of patterns, one per operand, 32 rows per warp; returns one column
/// of patterns per result.
func evaluate(
  _ op: Op, _ columns: [(type: ValueType, bits: [UInt64])], results: [ValueType],
  sourceLocation: Testing.SourceLocation = #_sourceLocation
) -> [[UInt64]] {
  let rows = columns[0].bits.count
  var memory = GlobalMemory()
  var arguments: [KernelArgument] = []
  var outputs: [UInt64] = []
  let kernel = makeKernel(threads: rows) { b in
    let tid = b.thread()
    var operands: [Operand] = []
    for column in columns {
      let base = b.pointer("in")
      let address = b.element(base, tid, stride: 8)
      let wide = b.get(.memory(.ld(Op.MemoryAccess(.global, .b64))), [address], .u64)
      arguments.append(.pointer(memory.bind("in", elements: column.bits)))
      operands.append(b.narrow(wide, column.type))
    }
    let values = b.emit(op, operands, results: results, at: line(7))
    for (value, type) in zip(values, results) {
      let base = b.pointer("out")
      let address = b.element(base, tid, stride: 8)
      b.perform(
        .memory(.st(Op.MemoryAccess(.global, .b64))), [address, b.widen(.value(value), type)])
      let output = memory.bindOutput("out", byteCount: 8 * rows)
      arguments.append(.pointer(output))
      outputs.append(output)
    }
  }
  let report = Simulator(kernel).run(grid: GridSize(1), arguments: arguments, memory: &memory)
  #expect(report.errors == [], sourceLocation: sourceLocation)
  return outputs.map { memory.elements(at: $0, as: UInt64.self) }
}

extension IRBuilder {
  /// The low bits of a u64 as another type.
  fileprivate mutating func narrow(_ wide: Operand, _ type: ValueType) -> Operand {
    switch type.bitWidth {
    case 64: return get(.movement(.bitcast), [wide], type)
    case 32:
      let word = get(.conversion(.integer), [wide], .u32)
      return get(.movement(.bitcast), [word], type)
    case 16:
      let half = get(.conversion(.integer), [wide], .u16)
      return get(.movement(.bitcast), [half], type)
    default: return compare(.ne, wide, .constant(.u64(0)))
    }
  }

  /// A pattern as u64.
  fileprivate mutating func widen(_ x: Operand, _ type: ValueType) -> Operand {
    switch type.bitWidth {
    case 64: return get(.movement(.bitcast), [x], .u64)
    case 32:
      return get(.conversion(.integer), [get(.movement(.bitcast), [x], .u32)], .u64)
    case 16: return get(.conversion(.integer), [get(.movement(.bitcast), [x], .u16)], .u64)
    default: return get(.movement(.select), [x, .constant(.u64(1)), .constant(.u64(0))], .u64)
    }
  }
}

/// Patterns of a type: the telling ones first, then random ones.
func patterns(_ type: ValueType, count: Int, _ random: inout SplitMix64) -> [UInt64] {
  let telling: [UInt64] =
    switch type {
    case .f32: [0, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 1, 0x7F7F_FFFF]
    case .f16: [0, 0x8000, 0x3C00, 0xBC00, 0x7C00, 0xFC00, 1, 0x7BFF]
    case .bf16: [0, 0x8000, 0x3F80, 0xBF80, 0x7F80, 0xFF80, 1, 0x7F7F]
    default: [0, 1, 2, 31, 32, 0x7FFF_FFFF, 0x8000_0000, .max]
    }
  let mask = type.bitWidth == 64 ? UInt64.max : 1 << UInt64(type.bitWidth) - 1
  let all = telling + (0..<count).map { _ in random.next() >> (random.next() % 4 * 8) }
  return all.shuffled(using: &random).prefix(count).map { $0 & mask }
}

import ApusIR

/// A kernel named `k` that `body` fills.
func makeKernel(
  threads: Int = 128, minBlocks: Int = 1, cluster: Int = 1, _ body: (inout IRBuilder) -> Void
) -> KernelIR {
  var builder = IRBuilder(
    symbol: "k",
    launch: LaunchBounds(
      threads: threads, minBlocksPerMultiprocessor: minBlocks, clusterSize: cluster))
  body(&builder)
  return builder.finish()
}

/// Line `line` of a pretended source file.
func line(_ line: Int) -> SourceLocation { SourceLocation(fileID: "Tests/K.swift", line: line) }

extension Operand {
  static func u32(_ value: UInt32) -> Operand { .constant(.u32(value)) }
  static func f32(_ value: Float) -> Operand { .constant(.f32(value)) }
  static func pred(_ value: Bool) -> Operand { .constant(.pred(value)) }
}

extension IRBuilder {
  /// The thread index.
  mutating func thread(_ place: Int = 1) -> Operand {
    .value(
      value(.special(.threadIndex(.x)), type: .u32, name: "tid", at: line(place)))
  }

  /// A binary op on operands of one type.
  mutating func binary(
    _ op: Op, _ a: Operand, _ b: Operand, name: String = "", at place: Int = 1
  ) -> Operand {
    .value(value(op, [a, b], type: type(of: a), name: name, at: line(place)))
  }

  /// A global pointer parameter, read.
  mutating func pointer(_ name: String, at place: Int = 1) -> Operand {
    let id = addParameter(name: name, kind: .pointer(alignment: 16))
    return .value(
      value(.memory(.parameter(id, offset: 0)), type: .u64, name: name, at: line(place)))
  }

  /// The address of an allocation.
  mutating func address(_ id: SharedID, at place: Int = 1) -> Operand {
    .value(value(.memory(.sharedAddress(id, offset: 0)), type: .u32, at: line(place)))
  }

  /// A node without results.
  mutating func perform(_ op: Op, _ operands: [Operand] = [], at place: Int = 1) {
    emit(op, operands, at: line(place))
  }

  /// A store, so that a value counts as used.
  mutating func use(_ value: Operand, at place: Int = 99) {
    perform(.memory(.st(Op.MemoryAccess(.global, .b32))), [.constant(.u64(0)), value], at: place)
  }

  /// n accumulator variables.
  mutating func accumulators(_ count: Int, at place: Int = 1) -> [ValueID] {
    (0..<count).map { _ in variable(.f32, initial: .f32(0), name: "d", at: line(place)) }
  }

  /// One m64n8k16 product of shared operands.
  mutating func product(_ d: [ValueID], at place: Int) {
    accumulate(
      .wgmma(Op.WGMMAShape(n: 8, .bf16)), into: d,
      [.constant(.u64(0)), .constant(.u64(0)), .pred(true)], at: line(place))
  }
}

/// Text without locations.
func text(_ kernel: KernelIR) -> String { TextPrinter(showsLocations: false).print(kernel) }

/// The lines of a kernel's body without locations.
func bodyText(_ kernel: KernelIR) -> [String] {
  let lines = text(kernel).split(separator: "\n").map(String.init)
  guard let start = lines.firstIndex(of: "{") else { return [] }
  return lines[(start + 1)...].dropLast().map { String($0.dropFirst(2)) }
}

/// Descriptions of what the verifier finds.
func findings(_ kernel: KernelIR, target: Target = .sm90a) -> [String] {
  Verifier.verify(kernel, target: target).map(\.description)
}

import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusReference
import ApusSimulator
import ApusTestSupport
import Testing

/// One dense prefill on the simulator beside the float64 definition.
///
/// Every tensor lies between rows of NaN, K and V have slots of NaN behind their last key, and the
/// output is NaN where nothing may be written.
struct PrefillCase {
  var configuration: DensePrefillConfiguration
  var qoLength = 128
  var kvLength = 128
  var batch = 1
  var qoHeads = 1
  var kvHeads = 1
  var layout = KVLayout.nhd
  var isRagged = false
  var multiprocessors = 2
  var convention = LSEConvention.base2
  var scale: Float?
  /// Changes the values before anything runs: (tensor, row, head, column, value) → value.
  var values: (Operand, Int, Int, Int, Float) -> Float = { $4 }
  var seed: UInt64 = 1

  enum Operand { case q, k, v }

  /// Rows of NaN before and behind each tensor.
  static let margin = 3
  /// Slots of NaN behind the keys of each request.
  static let slack = 5

  struct Outcome {
    let errors: [SimulationError]
    let problem: AttentionProblem
    let o: [Float]
    let lse: [Float]?
    let strayWrites: Int
    let counter: UInt32
    let instructionCount: Int
  }

  var problem: AttentionProblem {
    let c = configuration
    return AttentionProblem(
      shape: AttentionShape(qoHeadCount: qoHeads, kvHeadCount: kvHeads, headDimQK: c.headDim),
      types: AttentionTypes(q: c.element),
      qoIndptr: RaggedIndptr((0...batch).map { Self.margin + $0 * qoLength }),
      geometry: isRagged
        ? .ragged(RaggedIndptr((0...batch).map { Self.margin + $0 * kvLength }))
        : .padded(
          maxLength: kvLength + Self.slack, lengths: Array(repeating: kvLength, count: batch)),
      layout: layout, mask: c.isCausal ? .causal : .none,
      modification: ScoreModification(softmaxScale: scale), lseConvention: convention)
  }

  // MARK: - Memory

  /// Bits of a 16-bit tensor of NaN.
  private func blank(_ count: Int) -> [UInt16] { Array(repeating: 0x7FFF, count: count) }

  /// The nearest value; infinities stay, where conversions to storage saturate.
  private func bits(_ value: Float) -> UInt16 {
    if value.isInfinite {
      return (configuration.element == .f16 ? 0x7C00 : 0x7F80) | (value < 0 ? 0x8000 : 0)
    }
    return configuration.element == .f16 ? Half(value).bitPattern : BFloat16(value).bitPattern
  }

  private func float(_ bits: UInt16) -> Float {
    configuration.element == .f16
      ? Float(Half(bitPattern: bits)) : Float(BFloat16(bitPattern: bits))
  }

  private var queryShape: [Int] {
    [batch * qoLength + 2 * Self.margin, qoHeads, configuration.headDim]
  }

  private var cacheShape: [Int] {
    let tokens = isRagged ? batch * kvLength + 2 * Self.margin : kvLength + Self.slack
    let inner = layout == .nhd ? [tokens, kvHeads] : [kvHeads, tokens]
    return (isRagged ? [] : [batch]) + inner + [configuration.headDim]
  }

  /// Elements of the tensor: random where the problem reads, NaN elsewhere.
  private func fill(_ operand: Operand, _ random: inout SplitMix64) -> [UInt16] {
    let d = configuration.headDim
    let (length, heads) = operand == .q ? (qoLength, qoHeads) : (kvLength, kvHeads)
    let shape = operand == .q ? queryShape : cacheShape
    let strides = TensorView.denseStrides(shape)
    var result = blank(shape.reduce(1, *))
    for request in 0..<batch {
      for row in 0..<length {
        for head in 0..<heads {
          let flat = Self.margin + request * length + row
          let place: Int
          if operand == .q {
            place = flat * strides[0] + head * strides[1]
          } else {
            let token = isRagged ? flat : row
            let axes = isRagged ? strides : Array(strides.dropFirst())
            place =
              (isRagged ? 0 : request * strides[0])
              + (layout == .nhd
                ? token * axes[0] + head * axes[1] : head * axes[0] + token * axes[1])
          }
          for column in 0..<d {
            let value = Float.random(in: -1...1, using: &random)
            result[place + column] = bits(values(operand, row, head, column, value))
          }
        }
      }
    }
    return result
  }

  private func view(_ address: UInt, _ shape: [Int], _ type: ScalarType) -> TensorView {
    TensorView(
      address: address, byteCount: shape.reduce(type.byteCount, *), scalarType: type, shape: shape,
      strides: TensorView.denseStrides(shape))
  }

  private func arguments(
    q: UInt, k: UInt, v: UInt, o: UInt, lse: UInt?
  ) -> AttentionArguments {
    let type = ScalarType(configuration.element)
    return AttentionArguments(
      q: .packed(view(q, queryShape, type)),
      kv: .separate(k: view(k, cacheShape, type), v: view(v, cacheShape, type)),
      o: view(o, queryShape, type),
      lse: lse.map { view($0, Array(queryShape.dropLast()), .f32) })
  }

  // MARK: - Runs

  /// What the definition and the naive computation give.
  struct Expectation {
    let exact: AttentionResult
    let naive: (o: [Float], lse: [Float])
  }

  private func inputs() -> (q: [UInt16], k: [UInt16], v: [UInt16]) {
    var random = SplitMix64(seed: seed)
    return (fill(.q, &random), fill(.k, &random), fill(.v, &random))
  }

  /// The definition's results.
  func expectation() throws -> Expectation {
    var (q, k, v) = inputs()
    var o = blank(q.count)
    let problem = problem
    let (exact, naive) = try q.withUnsafeMutableBytes { q in
      try k.withUnsafeMutableBytes { k in
        try v.withUnsafeMutableBytes { v in
          try o.withUnsafeMutableBytes { o in
            func address(_ bytes: UnsafeMutableRawBufferPointer) -> UInt {
              UInt(bitPattern: bytes.baseAddress)
            }
            let arguments = arguments(
              q: address(q), k: address(k), v: address(v), o: address(o), lse: nil)
            return (
              try Reference.attention(problem, arguments),
              try Reference.naiveAttention(problem, arguments, pType: configuration.element)
            )
          }
        }
      }
    }
    return Expectation(exact: exact, naive: naive)
  }

  /// The kernel's results.
  ///
  /// - Parameters:
  ///   - kernel: another kernel with the same parameters.
  ///   - schedule: seed of the interleaving.
  func simulate(_ kernel: KernelIR? = nil, schedule: UInt64? = nil) throws -> Outcome {
    let (q, k, v) = inputs()
    var memory = GlobalMemory()
    let addresses = [("q", q), ("k", k), ("v", v)].map { memory.bind($0, elements: $1) }
    let o = memory.bind("o", elements: blank(q.count), isWritable: true)
    let rows = queryShape[0] * qoHeads
    let lse = memory.bind(
      "lse", elements: Array(repeating: Float.nan, count: rows), isWritable: true)
    let counter = memory.bind(
      "counter", elements: [UInt32](repeating: 0, count: 4), isWritable: true)
    let arguments = arguments(
      q: UInt(addresses[0]), k: UInt(addresses[1]), v: UInt(addresses[2]), o: UInt(o),
      lse: configuration.writesLSE ? UInt(lse) : nil)
    let problem = problem
    #expect(DensePrefill.refusal(of: problem) == nil)
    #expect(DensePrefill.refusal(of: problem, arguments) == nil)
    let launch = try #require(
      DensePrefill.launch(
        problem, arguments, configuration: configuration, multiprocessorCount: multiprocessors,
        counter: .pointer(counter)))
    let kernel = try kernel ?? launch.kernel.build()
    #expect(kernel.parameters.count == launch.values.count)
    let report = Simulator(
      kernel,
      options: SimulationOptions(
        seed: schedule ?? seed, instructionLimit: 1 << 20,
        residentBlocks: max(multiprocessors, configuration.clusterSize))
    ).run(
      grid: GridSize(launch.grid.x), arguments: launch.values.map(\.simulated), memory: &memory)

    let stored = memory.elements(at: o, as: UInt16.self)
    let storedLSE = memory.elements(at: lse, as: Float.self)
    let used = Self.margin * qoHeads..<(queryShape[0] - Self.margin) * qoHeads
    var stray = 0
    for row in 0..<rows where !used.contains(row) {
      if !storedLSE[row].isNaN { stray += 1 }
      let d = configuration.headDim
      stray += stored[row * d..<(row + 1) * d].count { $0 != 0x7FFF }
    }
    return Outcome(
      errors: report.errors, problem: problem, o: stored.map(float),
      lse: configuration.writesLSE ? storedLSE : nil, strayWrites: stray,
      counter: memory.elements(at: counter, as: UInt32.self)[0],
      instructionCount: report.instructionCount)
  }
}

extension LaunchValue {
  /// As the simulator takes it.
  var simulated: KernelArgument {
    switch self {
    case .u32(let value): .scalar(.u32(value))
    case .s32(let value): .scalar(.s32(value))
    case .u64(let value): .scalar(.u64(value))
    case .f32(let value): .scalar(.f32(value))
    case .pointer(let address): .pointer(address)
    case .metadata(let offset), .workspace(let offset): .pointer(UInt64(offset))
    case .tensorMap(let map):
      .tensorMap(
        TensorMapDescription(
          address: map.address, elementByteCount: map.element.byteCount, sizes: map.sizes,
          strides: map.byteStrides, box: map.box, swizzle: map.swizzle))
    }
  }
}

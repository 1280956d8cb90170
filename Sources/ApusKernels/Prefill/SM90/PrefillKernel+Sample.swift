internal import ApusCore
internal import ApusIR
internal import ApusNumerics

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

extension PrefillKernel: SampledKernel {
  /// Two query heads of one KV head, a partial tile of queries and two tiles of keys, the second of
  /// which is partial.
  public func sample(seed: UInt64) -> KernelSample {
    let sample = PrefillSample(configuration, seed: seed)
    return KernelSample(
      summary: "\(sample.qoLength) queries, \(sample.kvLength) keys, 2 heads of "
        + "\(configuration.headDim)",
      buffers: sample.buffers, launches: sample.launches, check: sample.check)
  }
}

/// The numbers of a sample, and the definition in float64.
private struct PrefillSample: Sendable {
  let configuration: DensePrefillConfiguration
  let qoLength = 40
  let kvLength: Int
  let heads = 2
  let q: [Float]
  let k: [Float]
  let v: [Float]

  init(_ configuration: DensePrefillConfiguration, seed: UInt64) {
    self.configuration = configuration
    kvLength = configuration.tileKV + 21
    var state = seed
    // splitmix64, cut to eighths: exact in both types.
    func next() -> Float {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
      return Float(Int((z ^ z >> 31) % 17) - 8) / 8
    }
    let d = configuration.headDim
    q = (0..<qoLength * heads * d).map { _ in next() }
    k = (0..<kvLength * d).map { _ in next() }
    v = (0..<kvLength * d).map { _ in next() }
  }

  private var problem: AttentionProblem {
    AttentionProblem(
      shape: AttentionShape(
        qoHeadCount: heads, kvHeadCount: 1, headDimQK: configuration.headDim),
      types: AttentionTypes(q: configuration.element),
      qoIndptr: RaggedIndptr([0, qoLength]), geometry: .ragged(RaggedIndptr([0, kvLength])),
      mask: configuration.isCausal ? .causal : .none)
  }

  var buffers: [KernelSample.Buffer] {
    func stored(_ name: String, _ values: [Float]) -> KernelSample.Buffer {
      .input(
        name,
        values.map {
          configuration.element == .f16 ? Half($0).bitPattern : BFloat16($0).bitPattern
        })
    }
    return [
      stored("q", q), stored("k", k), stored("v", v), .output("o", byteCount: 2 * q.count),
      .output("lse", byteCount: 4 * qoLength * heads),
      .updated("counter", [UInt32](repeating: 0, count: DensePrefill.workspaceByteCount / 4)),
    ]
  }

  func launches(_ addresses: [UInt64]) -> [KernelLaunch] {
    func view(_ buffer: Int, _ type: ScalarType, _ shape: [Int]) -> TensorView {
      TensorView(
        address: UInt(addresses[buffer]), byteCount: shape.reduce(type.byteCount, *),
        scalarType: type, shape: shape, strides: TensorView.denseStrides(shape))
    }
    let type = ScalarType(configuration.element)
    let d = configuration.headDim
    let arguments = AttentionArguments(
      q: .packed(view(0, type, [qoLength, heads, d])),
      kv: .separate(
        k: view(1, type, [kvLength, 1, d]), v: view(2, type, [kvLength, 1, d])),
      o: view(3, type, [qoLength, heads, d]),
      lse: configuration.writesLSE ? view(4, .f32, [qoLength, heads]) : nil)
    let launch = DensePrefill.launch(
      problem, arguments, configuration: configuration, multiprocessorCount: 2,
      counter: .pointer(addresses[5]))
    return launch.map { [$0] } ?? []
  }

  func check(_ contents: [[UInt8]]) -> [String] {
    var problems: [String] = []
    let o = KernelSample.elements(of: contents[3], as: UInt16.self).map {
      configuration.element == .f16
        ? Float(Half(bitPattern: $0)) : Float(BFloat16(bitPattern: $0))
    }
    let lse = KernelSample.elements(of: contents[4], as: Float.self)
    let d = configuration.headDim
    // Weights and o are rounded once each to the element's type, l and the scores to f32.
    let u = Double(configuration.element.unitRoundoff)
    for row in 0..<qoLength * heads {
      let expected = definition(row: row)
      for column in 0..<d {
        let found = Double(o[row * d + column])
        let bound = 2 * u * expected.magnitude[column] + u * expected.o[column].magnitude
        if !((found - expected.o[column]).magnitude <= bound), problems.count < 8 {
          problems.append(
            "o[\(row), \(column)] must be \(expected.o[column]) ± \(bound); found \(found)")
        }
      }
      if configuration.writesLSE, !((Double(lse[row]) - expected.lse).magnitude <= 0x1p-14),
        problems.count < 8
      {
        problems.append("lse[\(row)] must be \(expected.lse); found \(lse[row])")
      }
    }
    if contents[5].contains(where: { $0 != 0 }) { problems.append("the counter must be 0 again") }
    return problems
  }

  /// o, Σ p·|v| and lse of a row of all heads.
  private func definition(row: Int) -> (o: [Double], magnitude: [Double], lse: Double) {
    let d = configuration.headDim
    let query = row / heads
    let visible =
      configuration.isCausal ? min(kvLength, kvLength - qoLength + query + 1) : kvLength
    let scale = Double(problem.softmaxScale) * 1.442695040888963407
    let scores = (0..<visible).map { key in
      scale * (0..<d).reduce(0.0) { $0 + Double(q[row * d + $1]) * Double(k[key * d + $1]) }
    }
    let largest = scores.max() ?? 0
    let weights = scores.map { exp2($0 - largest) }
    let sum = weights.reduce(0, +)
    var o = [Double](repeating: 0, count: d)
    var magnitude = o
    for (key, weight) in weights.enumerated() {
      for column in 0..<d {
        let term = weight / sum * Double(v[key * d + column])
        o[column] += term
        magnitude[column] += term.magnitude
      }
    }
    return (o, magnitude, largest + log2(sum))
  }
}

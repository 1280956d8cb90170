internal import ApusCore
internal import ApusIR
internal import ApusNumerics

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
    var numbers = SampleNumbers(seed: seed)
    let d = configuration.headDim
    q = numbers.values(qoLength * heads * d)
    k = numbers.values(kvLength * d)
    v = numbers.values(kvLength * d)
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
    let type = configuration.element
    return [
      SampleNumbers.input("q", q, as: type), SampleNumbers.input("k", k, as: type),
      SampleNumbers.input("v", v, as: type), .output("o", byteCount: 2 * q.count),
      .output("lse", byteCount: 4 * qoLength * heads),
      .updated("counter", [UInt32](repeating: 0, count: DensePrefill.workspaceByteCount / 4)),
    ]
  }

  func launches(_ addresses: [UInt64]) -> [KernelLaunch] {
    func view(_ buffer: Int, _ type: ScalarType, _ shape: [Int]) -> TensorView {
      .sample(addresses[buffer], type, shape)
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
    let o = SampleNumbers.values(of: contents[3], as: configuration.element)
    let lse = SampleNumbers.values(of: contents[4], as: .f32)
    let d = configuration.headDim
    // Weights and o are rounded once each to the element's type, l and the scores to f32.
    let u = configuration.element.unitRoundoff
    var findings = SampleFindings()
    for row in 0..<qoLength * heads {
      let expected = definition(row: row)
      for column in 0..<d {
        findings.require(
          "o[\(row), \(column)]", o[row * d + column], is: expected.o[column],
          within: 2 * u * expected.magnitude[column] + u * expected.o[column].magnitude)
      }
      if configuration.writesLSE {
        findings.require("lse[\(row)]", lse[row], is: expected.lse, within: 0x1p-14)
      }
    }
    findings.require(contents[5].allSatisfy { $0 == 0 }, "the counter must be 0 again")
    return findings.lines
  }

  /// The definition of a row of all heads.
  private func definition(row: Int) -> SampleSoftmax {
    let d = configuration.headDim
    let query = row / heads
    let visible =
      configuration.isCausal ? min(kvLength, kvLength - qoLength + query + 1) : kvLength
    let scale = Double(problem.softmaxScale) * 1.442695040888963407
    let scores = (0..<visible).map { key in
      scale * (0..<d).reduce(0.0) { $0 + Double(q[row * d + $1]) * Double(k[key * d + $1]) }
    }
    return SampleSoftmax(scores: scores, width: d) { key in
      v[key * d..<(key + 1) * d].map(Double.init)
    }
  }
}

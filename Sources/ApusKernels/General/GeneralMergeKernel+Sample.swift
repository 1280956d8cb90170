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

extension GeneralMergeKernel: SampledKernel {
  /// Partial states of three splits, one of them empty in every other row, all in the first row.
  public func sample(seed: UInt64) -> KernelSample {
    let sample = GeneralMergeSample(self, seed: seed)
    return KernelSample(
      summary: "6 packed rows of 2 heads of \(sample.dim), 3 splits", buffers: sample.buffers,
      launches: sample.launches, check: sample.check)
  }
}

/// The numbers of a sample, and the definition in float64.
private struct GeneralMergeSample: Sendable {
  let kernel: GeneralMergeKernel
  /// One row of lanes is a partial one.
  let dim: Int
  private let splits = 3
  private let tileRows = 4
  private let shape: AttentionShape
  /// By slot, KV head and row of the tile: of two tiles the second has two rows.
  private let partialO: [Float]
  private let partialM, partialL: [Float]
  private let sinks, vScale, oScale: [Float]

  init(_ kernel: GeneralMergeKernel, seed: UInt64) {
    self.kernel = kernel
    dim = 32 * kernel.rounds - 24
    shape = AttentionShape(qoHeadCount: 6, kvHeadCount: 2, headDimQK: dim)
    var numbers = SampleNumbers(seed: seed)
    let cells = 2 * splits * 2 * tileRows
    let (splits, tileRows) = (splits, tileRows)
    let isEmpty = (0..<cells).map { cell in
      let (slot, row) = (cell / (2 * tileRows), cell % tileRows)
      return slot < splits && row == 0 || slot % splits == 1 && row % 2 == 0
    }
    partialM = isEmpty.map { $0 ? -.infinity : 3 * numbers.next() }
    partialL = isEmpty.map { $0 ? 0 : 2 + numbers.next() }
    partialO = isEmpty.flatMap { [dim] isEmpty in
      let values = numbers.values(dim)
      return isEmpty ? values.map { _ in 0 } : values
    }
    sinks = numbers.values(6)
    vScale = numbers.scales(2)
    oScale = numbers.scales(6)
  }

  private var plan: GeneralAttention {
    var problem = AttentionProblem(
      shape: shape, types: AttentionTypes(q: .bf16, o: kernel.output.sampleType),
      qoIndptr: RaggedIndptr([0, 2]), geometry: .ragged(RaggedIndptr([0, 40])))
    problem.options.splitSize = 16
    return GeneralAttention(problem, target: .sm80, rows: tileRows)
  }

  var buffers: [KernelSample.Buffer] {
    let states = zip(partialM, partialL).flatMap { [$0, $1] }
    return [
      .output("o", byteCount: 12 * dim * kernel.output.sampleType.byteCount),
      .output("lse", byteCount: 4 * 12), .input("sinks", sinks),
      .input("scales", vScale + oScale), .input("metadata", plan.metadata),
      .input("workspace", partialO + states),
    ]
  }

  func launches(_ addresses: [UInt64]) -> [KernelLaunch] {
    func head(_ offset: Int, _ count: Int) -> Scale {
      .head(.sample(addresses[3], .f32, [count], skipping: offset))
    }
    // Nothing of queries and keys is left but their shapes.
    let arguments = AttentionArguments(
      q: .packed(.sample(0, .bf16, [2, 6, dim])),
      kv: .separate(k: .sample(0, .bf16, [40, 2, dim]), v: .sample(0, .bf16, [40, 2, dim])),
      o: .sample(addresses[0], ScalarType(kernel.output.sampleType), [2, 6, dim]),
      lse: .sample(addresses[1], .f32, [2, 6]),
      scales: AttentionScales(v: head(0, 2), o: head(2, 6)),
      sinks: .sample(addresses[2], .f32, [6]))
    return plan.launches(for: arguments).filter { $0.kernel is GeneralMergeKernel }
      .bound(metadata: addresses[4], workspace: addresses[5])
  }

  func check(_ contents: [[UInt8]]) -> [String] {
    let type = kernel.output.sampleType
    let o = SampleNumbers.values(of: contents[0], as: type)
    let lse = SampleNumbers.values(of: contents[1], as: .f32)
    var findings = SampleFindings()
    for packed in 0..<6 {
      for kvHead in 0..<2 {
        let head = kvHead * 3 + packed % 3
        let place = packed / 3 * 6 + head
        let cells = (0..<splits).map { split in
          ((packed / tileRows * splits + split) * 2 + kvHead) * tileRows + packed % tileRows
        }.filter { partialL[$0] > 0 }
        // A state is a key whose weight is l · 2^m and whose value is its mean.
        let merged = SampleSoftmax(
          scores: cells.map { Double(partialM[$0]) + log2(Double(partialL[$0])) },
          sink: Double(sinks[head]) * 1.442695040888963407, width: dim
        ) { index in
          let factor =
            Double(vScale[kvHead]) / Double(oScale[head]) / Double(partialL[cells[index]])
          return (0..<dim).map { factor * Double(partialO[cells[index] * dim + $0]) }
        }
        for column in 0..<dim {
          findings.require(
            "o[\(packed / 3), \(head), \(column)]", o[place * dim + column],
            is: merged.o[column],
            within: type.bound(merged.o[column], error: 0x1p-20 * merged.magnitude[column]))
        }
        findings.require(
          "lse[\(packed / 3), \(head)]", lse[place], is: merged.lse, within: 0x1p-20)
      }
    }
    return findings.lines
  }
}

internal import ApusCore
internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

extension DecodeKernel: SampledKernel {
  /// Two requests: one of a few keys, one with a step and a part of another for every warp and block.
  public func sample(seed: UInt64) -> KernelSample {
    let sample = DecodeSample(self, seed: seed)
    return KernelSample(
      summary: "\(sample.queries) queries, \(sample.lengths) keys, "
        + "\(sample.shape.qoHeadCount)/\(sample.shape.kvHeadCount) heads of \(headDim)",
      buffers: sample.buffers, launches: sample.launches, check: sample.check)
  }
}

/// The numbers of a sample, its plan, and the definition in float64.
private struct DecodeSample: Sendable {
  let kernel: DecodeKernel
  let queries: Int
  let lengths: [Int]
  let shape: AttentionShape
  private let pageSize: Int
  /// Page of each request's keys, in order.
  private let pages: [[Int]]
  private let maskBits: [Bool]
  /// By token, KV head and element; queries by row and head.
  private let q, k, v: [Float]
  private let sinks, qScale, kScale, vScale, oScale: [Float]

  init(_ kernel: DecodeKernel, seed: UInt64) {
    self.kernel = kernel
    queries = kernel.hasRanges && kernel.rows > 1 ? 2 : 1
    let rows = max(1, kernel.rows / queries)
    let kvHeads = kernel.headsPerItem > 1 ? kernel.headsPerItem : 2
    // One row of a tile is left out where there are several.
    let group = kernel.rows > 2 && queries == 1 ? rows - 1 : rows
    shape = AttentionShape(
      qoHeadCount: group * kvHeads, kvHeadCount: kvHeads, headDimQK: kernel.headDim)
    let warps = kernel.mode.interleavesTokens ? kernel.warps : 1
    let lengths = [3, 16 * (warps * kernel.tilesPerStep * kernel.mode.clusterSize + 1) + 5]
    let pageSize = kernel.loader == .tensorMap ? 16 * kernel.tilesPerBox : 5
    var numbers = SampleNumbers(seed: seed)
    var free = Array(0..<lengths.reduce(0) { $0 + ($1 + pageSize - 1) / pageSize })
    for index in free.indices.reversed() {
      free.swapAt(index, Int(numbers.bits() % UInt64(index + 1)))
    }
    pages = lengths.map { length in
      let count = (length + pageSize - 1) / pageSize
      defer { free.removeFirst(count) }
      return Array(free.prefix(count))
    }
    let rowsOfRequest = queries
    maskBits = lengths.flatMap { length in
      // The first key is seen by all, so that no row is empty.
      (0..<rowsOfRequest * length).map { $0 % length == 0 || numbers.bits() % 4 > 0 }
    }
    self.lengths = lengths
    self.pageSize = pageSize
    let tokens = lengths.reduce(0, +)
    let d = kernel.headDim
    q = numbers.values(2 * queries * group * kvHeads * d)
    k = numbers.values(tokens * kvHeads * d)
    v = numbers.values(tokens * kvHeads * d)
    sinks = numbers.values(group * kvHeads)
    qScale = numbers.scales(group * kvHeads)
    kScale = numbers.scales(kvHeads)
    vScale = numbers.scales(kvHeads)
    oScale = numbers.scales(group * kvHeads)
  }

  // MARK: - Problem

  private var problem: AttentionProblem {
    var geometry = KVGeometry.ragged(RaggedIndptr(lengths: lengths))
    if kernel.isPaged {
      geometry = .paged(
        PageTable(
          pageSize: pageSize, indptr: RaggedIndptr(lengths: pages.map(\.count)),
          indices: pages.joined().map(Int32.init),
          lastPageLength: lengths.map { Int32(($0 - 1) % pageSize + 1) }))
    }
    var problem = AttentionProblem(
      shape: shape,
      types: AttentionTypes(q: kernel.queryType, kv: kernel.cacheType, o: kernel.outputType),
      qoIndptr: RaggedIndptr(uniform: queries, batch: 2), geometry: geometry)
    if kernel.hasRanges { problem.mask = .causal }
    if let order = kernel.mask {
      problem.mask.custom = try? CustomMask(
        packing: maskBits, elementCounts: lengths.map { queries * $0 },
        bitOrder: order == .little ? .little : .big)
    }
    if kernel.hasSoftCap { problem.modification.logitsSoftCap = 2 }
    if kernel.hasSlopes { problem.modification.alibiSlopes = slopes }
    return problem
  }

  private var slopes: [Float] { (0..<shape.qoHeadCount).map { Float($0 % 5 + 1) / 32 } }

  private var plan: DecodePlan {
    DecodePlan(problem, kernel: kernel, blocks: 3, rejected: [])
  }

  // MARK: - Memory

  var buffers: [KernelSample.Buffer] {
    let plan = plan
    let rows = 2 * queries * shape.qoHeadCount
    return [
      SampleNumbers.input("q", q, as: kernel.queryType),
      SampleNumbers.input("k", placed(k), as: kernel.cacheType),
      SampleNumbers.input("v", placed(v), as: kernel.cacheType),
      .output("o", byteCount: rows * kernel.headDim * kernel.outputType.byteCount),
      .output("lse", byteCount: 4 * rows), .input("sinks", sinks),
      .input("scales", qScale + kScale + vScale + oScale),
      .updated("metadata", plan.metadata),
      .output("workspace", byteCount: plan.workspaceByteCount + 16),
    ]
  }

  /// Keys or values where the problem's geometry has them; nothing else is in a page but NaN.
  private func placed(_ values: [Float]) -> [Float] {
    if !kernel.isPaged { return values }
    let width = shape.kvHeadCount * kernel.headDim
    var result = [Float](
      repeating: .nan, count: pages.reduce(0) { $0 + $1.count } * pageSize * width)
    var token = 0
    for (request, length) in lengths.enumerated() {
      for index in 0..<length {
        let place = pages[request][index / pageSize] * pageSize + index % pageSize
        result.replaceSubrange(
          place * width..<(place + 1) * width, with: values[token * width..<(token + 1) * width])
        token += 1
      }
    }
    return result
  }

  func launches(_ addresses: [UInt64]) -> [KernelLaunch] {
    func view(_ buffer: Int, _ type: ScalarType, _ shape: [Int], skipping: Int = 0) -> TensorView {
      .sample(addresses[buffer], type, shape, skipping: skipping)
    }
    let d = kernel.headDim
    let (qo, kv) = (shape.qoHeadCount, shape.kvHeadCount)
    let cache =
      kernel.isPaged
      ? [pages.reduce(0) { $0 + $1.count }, pageSize, kv, d] : [lengths.reduce(0, +), kv, d]
    var scales = AttentionScales()
    if kernel.hasHeadScales {
      scales.q = .head(view(6, .f32, [qo]))
      scales.k = .head(view(6, .f32, [kv], skipping: qo))
      scales.v = .head(view(6, .f32, [kv], skipping: qo + kv))
      scales.o = .head(view(6, .f32, [qo], skipping: qo + 2 * kv))
    }
    let type = ScalarType(kernel.cacheType)
    let arguments = AttentionArguments(
      q: .packed(view(0, ScalarType(kernel.queryType), [2 * queries, qo, d])),
      kv: .separate(k: view(1, type, cache), v: view(2, type, cache)),
      o: view(3, ScalarType(kernel.outputType), [2 * queries, qo, d]),
      lse: view(4, .f32, [2 * queries, qo]), scales: scales,
      sinks: kernel.hasSinks ? view(5, .f32, [qo]) : nil)
    return DecodeLaunch.launches(plan, problem, arguments)
      .bound(metadata: addresses[7], workspace: addresses[8])
  }

  // MARK: - Definition

  func check(_ contents: [[UInt8]]) -> [String] {
    let o = SampleNumbers.values(of: contents[3], as: kernel.outputType)
    let lse = SampleNumbers.values(of: contents[4], as: .f32)
    let d = kernel.headDim
    // P is rounded once to the products' type, o once to its own, sums and scores to f32.
    let weight =
      kernel.arithmetic == .tensorCores ? kernel.productElement == .f16 ? 0x1p-10 : 0x1p-7 : 0
    let sum = 0x1p-16
    let output = Double(kernel.outputType.unitRoundoff)
    var findings = SampleFindings()
    for row in 0..<2 * queries {
      for head in 0..<shape.qoHeadCount {
        let expected = definition(row, head)
        let index = row * shape.qoHeadCount + head
        for column in 0..<d {
          findings.require(
            "o[\(row), \(head), \(column)]", o[index * d + column], is: expected.o[column],
            within: (weight + sum) * expected.magnitude[column]
              + 2 * output * expected.o[column].magnitude)
        }
        findings.require("lse[\(row), \(head)]", lse[index], is: expected.lse, within: 0x1p-12)
      }
    }
    return findings.lines
  }

  /// o, Σ p·|v| and lse of a query row and head.
  private func definition(_ row: Int, _ head: Int) -> SampleSoftmax {
    let d = kernel.headDim
    let (request, query) = (row / queries, row % queries)
    let length = lengths[request]
    let group = shape.qoHeadCount / shape.kvHeadCount
    let keyHead = head / group
    let log2e = 1.442695040888963407
    var scale = Double(ScoreModification().resolvedScale(headDimQK: d))
    var outputScale = 1.0
    if kernel.hasHeadScales {
      scale *= Double(qScale[head]) * Double(kScale[keyHead])
      outputScale = Double(vScale[keyHead]) / Double(oScale[head])
    }
    let first = lengths.prefix(request).reduce(0, +)
    let firstBit = lengths.prefix(request).reduce(0) { $0 + queries * $1 }
    let position = length - queries + query
    var scores: [(key: Int, score: Double)] = []
    for key in 0..<length {
      if kernel.hasRanges, key > position { continue }
      if kernel.mask != nil, !maskBits[firstBit + query * length + key] { continue }
      let start = ((first + key) * shape.kvHeadCount + keyHead) * d
      var score =
        scale
        * (0..<d).reduce(0.0) {
          $0 + Double(q[(row * shape.qoHeadCount + head) * d + $1]) * Double(k[start + $1])
        }
      if kernel.hasSoftCap { score = 2 * tanh(score / 2) }
      if kernel.hasSlopes { score += Double(slopes[head]) * Double(key - position) }
      scores.append((key, score * log2e))
    }
    return SampleSoftmax(
      scores: scores.map(\.score), sink: kernel.hasSinks ? Double(sinks[head]) * log2e : nil,
      width: d
    ) { index in
      let start = ((first + scores[index].key) * shape.kvHeadCount + keyHead) * d
      return (0..<d).map { outputScale * Double(v[start + $0]) }
    }
  }
}

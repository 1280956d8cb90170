internal import ApusCore
internal import ApusIR
internal import ApusNumerics

extension GeneralAttentionKernel: SampledKernel {
  /// Three requests, one shorter than its queries and one of several splits, under a causal mask and a
  /// window, with every option that the kernel has; in pages for wide accesses, else ragged.
  public func sample(seed: UInt64) -> KernelSample {
    let sample = GeneralSample(self, seed: seed)
    return KernelSample(
      summary: "\(sample.queries) queries, \(sample.lengths) keys, "
        + "\(sample.shape.qoHeadCount)/\(sample.shape.kvHeadCount) heads of "
        + "\(sample.shape.headDimQK)→\(sample.shape.headDimVO)",
      buffers: sample.buffers, launches: sample.launches, check: sample.check)
  }
}

/// The numbers of a sample and its plan.
struct GeneralSample: Sendable {
  let kernel: GeneralAttentionKernel
  let shape: AttentionShape
  let queries = 2
  let lengths = [1, 12, 37]
  let windowLeft = 20
  let softCap: Float = 2
  let maskBits: [Bool]
  /// Queries by row and head; keys and values by slot of the cache and head. The values of a latent
  /// are the beginnings of its keys.
  let q, k, v: [Float]
  let sinks, qScale, kScale, vScale, oScale: [Float]
  /// Scale of a latent's second part.
  let ropeScale: Float = 0.75
  /// By slot and head.
  let kTokenScale, vTokenScale: [Float]
  private let pages: [[Int]] = [[7], [5, 11, 10], [3, 0, 8, 1, 6, 2, 4, 9]]
  let pageSize = 5
  /// Elements before q: rows of the narrow kernels are not aligned.
  let lead: Int

  var isLatent: Bool { kernel.features.contains(.latent) }
  var hasOptions: Bool { kernel.features.contains(.options) }
  var rope: RotaryEmbedding? {
    guard kernel.isRotated else { return nil }
    // Halves of whole accesses, or all pairs of neighbours but one.
    return kernel.width == 8
      ? RotaryEmbedding(pairing: .half, rotaryDim: max(16, shape.headDimQK / 32 * 16))
      : RotaryEmbedding(pairing: .interleaved, rotaryDim: shape.headDimQK - 2)
  }
  var slopes: [Float] { (0..<shape.qoHeadCount).map { Float($0 % 5 + 1) / 32 } }
  var isPaged: Bool { kernel.width == 8 }
  /// Rows of queries of all requests.
  var rows: Int { lengths.count * queries }
  var slots: Int { isPaged ? 12 * pageSize : lengths.reduce(0, +) }

  /// Where a key of a request is in the cache.
  func slot(_ request: Int, _ key: Int) -> Int {
    isPaged
      ? pages[request][key / pageSize] * pageSize + key % pageSize
      : lengths.prefix(request).reduce(0, +) + key
  }

  init(_ kernel: GeneralAttentionKernel, seed: UInt64) {
    self.kernel = kernel
    shape = Self.shape(of: kernel)
    lead = kernel.width == 1 ? 1 : 0
    var numbers = SampleNumbers(seed: seed)
    let (qo, kv) = (shape.qoHeadCount, shape.kvHeadCount)
    let (queries, lengths) = (queries, lengths)
    maskBits = (0..<queries * lengths.reduce(0, +)).map { _ in numbers.bits() % 4 > 0 }
    q = numbers.values(lengths.count * queries * qo * shape.headDimQK)
    sinks = numbers.values(qo)
    qScale = numbers.scales(qo)
    kScale = numbers.scales(kv)
    vScale = numbers.scales(kv)
    oScale = numbers.scales(qo)
    let slots = kernel.width == 8 ? 60 : lengths.reduce(0, +)
    kTokenScale = numbers.scales(slots * kv)
    vTokenScale = numbers.scales(slots * kv)
    let keys = numbers.values(slots * kv * shape.headDimQK)
    let values = numbers.values(slots * kv * shape.headDimVO)
    (k, v) = (keys, values)
  }

  /// Dimensions amid those that ask for the kernel's lanes and accesses.
  private static func shape(of kernel: GeneralAttentionKernel) -> AttentionShape {
    let isLatent = kernel.features.contains(.latent)
    let step = isLatent ? kernel.width : 8
    func other(_ qk: Int, _ vo: Int) -> GeneralAttentionKernel {
      GeneralAttentionKernel(
        types: AttentionTypes(
          q: kernel.query.sampleType, kv: kernel.cache, o: kernel.output.sampleType),
        features: kernel.features, width: kernel.width, rows: kernel.rows, headDimQK: qk,
        headDimVO: vo)
    }
    let wide = stride(from: step, through: 576, by: step).filter {
      let same = other($0, $0)
      return same.keyAccesses == kernel.keyAccesses && same.lanes == kernel.lanes
    }
    let qk = wide.isEmpty ? step : wide[wide.count / 2]
    // Of an equal key and value only the wider counts.
    let narrow = stride(from: isLatent ? step : min(qk, 512), through: min(qk, 512), by: step)
      .filter { other(qk, $0) == kernel }
    return AttentionShape(
      qoHeadCount: isLatent ? 3 : 6, kvHeadCount: isLatent ? 1 : 2, headDimQK: qk,
      headDimVO: narrow.isEmpty ? min(qk, 512) : narrow[narrow.count / 2])
  }

  // MARK: - Problem

  private var problem: AttentionProblem {
    var geometry = KVGeometry.ragged(RaggedIndptr(lengths: lengths))
    if isPaged {
      geometry = .paged(
        PageTable(
          pageSize: pageSize, indptr: RaggedIndptr(lengths: pages.map(\.count)),
          indices: pages.joined().map(Int32.init),
          lastPageLength: lengths.map { Int32(($0 - 1) % pageSize + 1) }))
    }
    var problem = AttentionProblem(
      shape: shape,
      types: AttentionTypes(
        q: kernel.query.sampleType, kv: kernel.cache, o: kernel.output.sampleType),
      qoIndptr: RaggedIndptr(uniform: queries, batch: lengths.count), geometry: geometry,
      latent: isLatent
        ? LatentShape(ckv: shape.headDimVO, kpe: shape.headDimQK - shape.headDimVO) : nil,
      mask: AttentionMask(isCausal: true, windowLeft: windowLeft))
    if hasOptions {
      problem.mask.custom = try? CustomMask(
        packing: maskBits, elementCounts: lengths.map { queries * $0 })
      problem.modification.logitsSoftCap = softCap
      problem.modification.alibiSlopes = slopes
    }
    problem.modification.rope = rope
    problem.options.splitSize = 16
    return problem
  }

  var plan: GeneralAttention {
    // Narrow kernels take wide tiles in two launches.
    let isParted =
      kernel.width == 1 && kernel.rows == 2 && max(shape.headDimQK, shape.headDimVO) > 256
    return GeneralAttention(problem, target: .sm80, rows: isParted ? 4 : kernel.rows)
  }

  var buffers: [KernelSample.Buffer] {
    let plan = plan
    let rows = rows * shape.qoHeadCount
    let (first, second) = (isLatent ? shape.headDimVO : shape.headDimQK, shape.headDimVO)
    // Slots without a key and keys before the window hold NaN.
    let used = Set(
      lengths.indices.flatMap { request in
        (max(0, lengths[request] - queries - windowLeft)..<lengths[request]).map {
          slot(request, $0)
        }
      })
    func cache(_ rows: [Float], _ width: Int, _ columns: Range<Int>) -> [Float] {
      (0..<slots * shape.kvHeadCount).flatMap { row in
        columns.map {
          used.contains(row / shape.kvHeadCount) ? rows[row * width + $0] : .nan
        }
      }
    }
    let width = shape.headDimQK
    let other = isLatent ? cache(k, width, first..<width) : cache(v, second, 0..<second)
    return [
      SampleNumbers.input("q", [Float](repeating: 0, count: lead) + q, as: kernel.query.sampleType),
      SampleNumbers.input("k", cache(k, width, 0..<first), as: kernel.cache),
      SampleNumbers.input("v", other.isEmpty ? [0] : other, as: kernel.cache),
      .output("o", byteCount: rows * second * kernel.output.sampleType.byteCount),
      .output("lse", byteCount: 4 * rows), .input("sinks", sinks),
      .input("scales", qScale + kScale + vScale + oScale), .input("kTokenScales", kTokenScale),
      .input("vTokenScales", vTokenScale), .input("metadata", plan.metadata),
      .output("workspace", byteCount: plan.workspaceByteCount),
    ]
  }
}

extension GeneralStorage {
  /// The type of q or o in samples.
  var sampleType: ElementType {
    switch self {
    case .plain: .bf16
    case .e4m3: .e4m3
    case .e5m2: .e5m2
    }
  }
}

internal import ApusCore
internal import ApusNumerics

/// A case with memory: its problem, its tensors, and what the tolerance needs to know of the data.
final class AttentionTensors {
  let source: AttentionCase
  let memory = CaseMemory()
  var problem: AttentionProblem
  var arguments: AttentionArguments
  /// Parts of a cache row, each with an explicit head dimension.
  private(set) var parts: [CachePart] = []
  /// Largest Euclidean norm of a dequantised query row of each query head.
  private(set) var queryNorms: [Double]
  /// Largest Euclidean norm of a dequantised key of each KV head.
  private(set) var keyNorms: [Double]
  /// Largest dequantised value in magnitude of each KV head.
  private(set) var valuePeaks: [Double]
  private var random: CaseRandom
  private let isFilled: Bool

  /// Names of the buffers that a run may write.
  static let outputs: Set<String> = ["o", "lse", "workspace"]

  /// Allocates and fills everything; the same (case, random) gives the same bytes.
  ///
  /// - Parameter isFilled: false leaves q, K and V poisoned, for calls that read no data.
  init(_ source: AttentionCase, random: CaseRandom, isFilled: Bool = true) {
    self.source = source
    self.random = random
    self.isFilled = isFilled
    queryNorms = [Double](repeating: 0, count: source.shape.qoHeadCount)
    keyNorms = [Double](repeating: 0, count: source.shape.kvHeadCount)
    valuePeaks = keyNorms
    // Placeholders until every stored property is there.
    let nothing = TensorView(
      address: 0, byteCount: 0, scalarType: .f32, shape: [0], strides: [1])
    problem = source.problem(&self.random)
    arguments = AttentionArguments(q: .packed(nothing), kv: .combined(nothing), o: nothing)
    makeCache()
    makeQueries()
    makeOutputs()
  }

  private var shift: Int { source.isShifted ? 1 : 0 }
  private var gaps: CaseMemory.Spread { source.hasGaps ? .gaps : .dense }

  private func tensor(
    _ name: String, _ type: ScalarType, _ shape: [Int], spread: CaseMemory.Spread? = nil
  ) -> TensorView {
    memory.tensor(name, type, shape, spread: spread ?? gaps, shift: shift)
  }

  // MARK: - Cache

  private func makeCache() {
    let shape = source.shape
    let cacheType = ScalarType(source.types.kv)
    let outer = problem.cacheExtents(unowned: source.hasUnownedRows)
    let kScale = makeScale("kScale", source.kScale, heads: shape.kvHeadCount, tokens: outer)
    let isMLA = source.latent != nil
    let vScale = makeScale(
      isMLA ? "kpeScale" : "vScale", source.vScale, heads: shape.kvHeadCount, tokens: outer)
    arguments.scales.k = kScale.scale
    if isMLA { arguments.scales.kpe = vScale.scale } else { arguments.scales.v = vScale.scale }
    if let latent = source.latent {
      // One latent head may leave its dimension out.
      let axis = source.layout == .nhd ? outer.count - 1 : outer.count - 2
      var bare = outer
      if shape.kvHeadCount == 1, !source.hasGaps { bare.remove(at: axis) }
      func full(_ view: TensorView) -> TensorView {
        problem.geometry.insertingHead(view, layout: source.layout, heads: shape.kvHeadCount)
      }
      let kpeScale = source.vScale == .one ? kScale : vScale
      if source.isCombined {
        let packed = tensor("latent", cacheType, bare + [latent.ckv + latent.kpe])
        arguments.kv = .packedLatent(packed)
        let view = full(packed)
        parts = [
          CachePart(view.narrowingLast(0..<latent.ckv), kScale, isKey: true, isValue: true),
          CachePart(
            view.narrowingLast(latent.ckv..<latent.ckv + latent.kpe), kpeScale, isKey: true,
            isValue: false),
        ]
      } else {
        let ckv = tensor("ckv", cacheType, bare + [latent.ckv])
        let kpe = tensor("kpe", cacheType, bare + [latent.kpe])
        arguments.kv = .latent(ckv: ckv, kpe: kpe)
        parts = [
          CachePart(full(ckv), kScale, isKey: true, isValue: true),
          CachePart(full(kpe), kpeScale, isKey: true, isValue: false),
        ]
      }
    } else if source.isCombined {
      let pages = outer[0]
      let combined = tensor("kv", cacheType, [pages, 2] + outer.dropFirst() + [shape.headDimQK])
      arguments.kv = .combined(combined)
      parts = [
        CachePart(combined.selecting(0, axis: 1), kScale, isKey: true, isValue: false),
        CachePart(combined.selecting(1, axis: 1), vScale, isKey: false, isValue: true),
      ]
    } else {
      let k = tensor("k", cacheType, outer + [shape.headDimQK])
      let v = tensor("v", cacheType, outer + [shape.headDimVO])
      arguments.kv = .separate(k: k, v: v)
      parts = [
        CachePart(k, kScale, isKey: true, isValue: false),
        CachePart(v, vScale, isKey: false, isValue: true),
      ]
    }
    fillCache()
  }

  /// Writes the tokens that requests own; every other slot keeps its poison.
  private func fillCache() {
    guard isFilled else { return }
    var row: [Float] = []
    for r in 0..<problem.batch {
      for token in 0..<problem.kvLength(r) {
        for head in 0..<source.shape.kvHeadCount {
          var keyNorm = 0.0
          for part in parts {
            let width = part.view.shape.last ?? 0
            let scale = part.scale.draw(problem, r, token, head, &random)
            random.fillNormal(&row, count: width, deviation: part.scale.deviation)
            let offset = problem.cacheOffset(part.view, r, token, head)
            part.view.store(&row, at: offset)
            for value in row {
              let real = Double(value) * Double(scale)
              if part.isKey { keyNorm += real * real }
              if part.isValue { valuePeaks[head] = Swift.max(valuePeaks[head], real.magnitude) }
            }
          }
          keyNorms[head] = Swift.max(keyNorms[head], keyNorm.squareRoot())
        }
      }
    }
  }

  private func makeScale(_ name: String, _ choice: ScaleChoice, heads: Int, tokens: [Int]?)
    -> DrawnScale
  {
    switch choice {
    case .one: return DrawnScale(scale: .one, deviation: 1)
    case .tensor:
      // Half of the static scales use the range of FP8 as a calibration would.
      let deviation: Float = random.chance(0.5) ? 16 : 1
      let value = random.real(0.5...2) / deviation
      return DrawnScale(scale: .tensor(value), deviation: deviation)
    case .head:
      let view = tensor(name, .f32, [heads], spread: .dense)
      for head in 0..<heads { view.set(random.real(0.5...2), at: head) }
      return DrawnScale(scale: .head(view), deviation: 1)
    case .tokenHead:
      let view = tensor(name, .f32, tokens ?? [heads])
      return DrawnScale(scale: .tokenHead(view), deviation: 1)
    }
  }

  // MARK: - Queries and outputs

  private var allocatedRows: Int { problem.qoIndptr.end + (source.hasUnownedRows ? 2 : 0) }

  private func makeQueries() {
    let shape = source.shape
    let type = ScalarType(source.types.q)
    let scale = makeScale("qScale", source.qScale, heads: shape.qoHeadCount, tokens: nil)
    arguments.scales.q = scale.scale
    var views: [TensorView]
    if let latent = source.latent, source.hasSplitQueries {
      views = [
        tensor("qNope", type, [allocatedRows, shape.qoHeadCount, latent.ckv]),
        tensor("qRope", type, [allocatedRows, shape.qoHeadCount, latent.kpe]),
      ]
      arguments.q = .split(nope: views[0], rope: views[1])
    } else {
      let spread: CaseMemory.Spread = source.hasGaps && source.isShifted ? .swapped : gaps
      views = [
        tensor("q", type, [allocatedRows, shape.qoHeadCount, shape.headDimQK], spread: spread)
      ]
      arguments.q = .packed(views[0])
    }
    guard isFilled else { return }
    var row: [Float] = []
    for r in 0..<problem.batch {
      for i in problem.qoIndptr.rows(r) {
        for head in 0..<shape.qoHeadCount {
          var norm = 0.0
          let factor = Double(scale.value(head))
          for view in views {
            random.fillNormal(&row, count: view.shape[2], deviation: scale.deviation)
            view.store(&row, at: i * view.strides[0] + head * view.strides[1])
            for value in row { norm += Double(value) * Double(value) * factor * factor }
          }
          queryNorms[head] = Swift.max(queryNorms[head], norm.squareRoot())
        }
      }
    }
  }

  private func makeOutputs() {
    let shape = source.shape
    let spread: CaseMemory.Spread = source.hasGaps && !source.isShifted ? .swapped : gaps
    arguments.o = tensor(
      "o", ScalarType(source.types.o), [allocatedRows, shape.qoHeadCount, shape.headDimVO],
      spread: spread)
    if source.hasLSE {
      arguments.lse = tensor("lse", .f32, [allocatedRows, shape.qoHeadCount], spread: spread)
    }
    var oScale = makeScale("oScale", source.oScale, heads: shape.qoHeadCount, tokens: nil)
    if source.saturates {
      // |o| is about 0.1 to 3: a quarter of the reciprocal range puts some of it beyond the range.
      let factor = 0.25 / source.types.o.greatestFiniteMagnitude
      oScale.multiply(by: factor)
    }
    arguments.scales.o = oScale.scale
    if source.hasSinks {
      let sinks = tensor("sinks", .f32, [shape.qoHeadCount], spread: .dense)
      for head in 0..<shape.qoHeadCount { sinks.set(random.real(-2...4), at: head) }
      arguments.sinks = sinks
    }
  }
}

/// One tensor that cache rows are spread over.
struct CachePart {
  let view: TensorView
  let scale: DrawnScale
  let isKey: Bool
  let isValue: Bool

  init(_ view: TensorView, _ scale: DrawnScale, isKey: Bool, isValue: Bool) {
    self.view = view
    self.scale = scale
    self.isKey = isKey
    self.isValue = isValue
  }
}

/// A scale with the standard deviation of what it multiplies.
struct DrawnScale {
  var scale: Scale
  let deviation: Float

  /// Value of a head; token-head scales are drawn with their tokens.
  func value(_ head: Int) -> Float {
    switch scale {
    case .one, .tokenHead: 1
    case .tensor(let value): value
    case .head(let view): view.value(at: head)
    }
  }

  /// Value for one cache row; a token-head scale is drawn once and read again afterwards.
  func draw(
    _ problem: AttentionProblem, _ r: Int, _ token: Int, _ head: Int, _ random: inout CaseRandom
  ) -> Float {
    guard case .tokenHead(let view) = scale else { return value(head) }
    let offset = problem.cacheOffset(view, r, token, head)
    let stored = view.value(at: offset)
    if !stored.isNaN { return stored }
    let drawn = random.real(0.5...2)
    view.set(drawn, at: offset)
    return drawn
  }

  mutating func multiply(by factor: Float) {
    switch scale {
    case .one, .tokenHead: break
    case .tensor(let value): scale = .tensor(value * factor)
    case .head(let view):
      for head in 0..<(view.shape.first ?? 0) { view.set(view.value(at: head) * factor, at: head) }
    }
  }
}

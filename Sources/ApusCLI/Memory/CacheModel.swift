import ApusCore
import ApusNumerics

/// What decides how large a model's KV cache is.
struct CacheModel: Sendable, Hashable, Codable {
  /// Name for output, such as the `model_type` of a configuration.
  var name: String?
  /// Layers that hold a cache.
  var layerCount: Int
  /// Query heads: the KV heads of MHA.
  var qoHeadCount: Int
  /// KV heads as the model has them.
  var kvHeadCount: Int
  /// Width of a key of the model without a latent.
  var headDimK: Int
  /// Width of a value of the model without a latent.
  var headDimV: Int
  /// Widths of the latent row, or nil when the model has none.
  var latent: Latent?

  /// Widths of an MLA latent row.
  struct Latent: Sendable, Hashable, Codable {
    /// Compressed part.
    var ckv: Int
    /// Rotary part.
    var kpe: Int
  }

  /// Checks that every size is in a range in which the products below cannot overflow.
  ///
  /// - Throws: `ArgumentError` with every violation.
  func validate() throws(ArgumentError) {
    var validator = Validator("apus memory")
    let limit = 1 << 16
    for (name, value) in [
      ("layers", layerCount), ("qo-heads", qoHeadCount), ("kv-heads", kvHeadCount),
      ("head-dim", headDimK), ("head-dim-v", headDimV),
    ] {
      validator.require(
        (1...limit).contains(value), "\(name) must be in 1…\(limit)", found: "\(value)")
    }
    if kvHeadCount > 0 {
      validator.require(
        qoHeadCount.isMultiple(of: kvHeadCount), "qo-heads must be a multiple of kv-heads",
        found: "\(qoHeadCount) and \(kvHeadCount)")
    }
    if let latent {
      validator.require(
        (1...limit).contains(latent.ckv), "latent-ckv must be in 1…\(limit)",
        found: "\(latent.ckv)")
      validator.require(
        (0...limit).contains(latent.kpe), "latent-kpe must be in 0…\(limit)",
        found: "\(latent.kpe)")
    }
    try validator.finish()
  }

  /// The kinds of cache that this model can be compared in, its own included.
  var kinds: [CacheKind] {
    (kvHeadCount == qoHeadCount ? [.mha] : [.mha, .gqa]) + (latent == nil ? [] : [.mla])
  }

  /// The kind of cache that the model itself keeps.
  var ownKind: CacheKind {
    latent != nil ? .mla : kvHeadCount == qoHeadCount ? .mha : .gqa
  }
}

/// How keys and values are kept.
enum CacheKind: String, Sendable, Codable, CaseIterable {
  /// One K and V per query head.
  case mha = "MHA"
  /// One K and V per group of query heads (arXiv 2305.13245).
  case gqa = "GQA"
  /// One latent row for all heads (arXiv 2405.04434, §2.1).
  case mla = "MLA"
}

/// Which scales lie beside an FP8 cache.
enum CacheScales: String, Sendable, Codable, CaseIterable {
  /// None, or one value per tensor: no bytes per token.
  case none
  /// One f32 per head, layer and tensor: a fixed size.
  case head
  /// One f32 per token, head, layer and tensor.
  case tokenHead = "token-head"
}

/// Size of one kind of cache in one type.
struct CacheSize: Sendable, Hashable, Codable {
  /// Kind of cache.
  var kind: CacheKind
  /// Name of the element type, or `N bits`.
  var type: String
  /// Values of one token over all layers.
  var valuesPerToken: Int
  /// Bytes of one token over all layers, scales included.
  var bytesPerToken: Double
  /// Bytes that do not grow with tokens: per-head scales.
  var fixedBytes: Int
  /// Whole tokens in 2³⁰ bytes.
  var tokensPerGiB: Int

  /// The size of `model`'s cache of a kind.
  ///
  /// Values per token: `layers · kvHeads · (headDimK + headDimV)`, with all query heads as KV heads
  /// for MHA; `layers · (ckv + kpe)` for MLA. Bytes: values times the element's size, plus 4 bytes
  /// per scale where the type has 8 bits or fewer.
  ///
  /// - Parameter bits: average bits per value.
  init(_ model: CacheModel, kind: CacheKind, type: String, bits: Double, scales: CacheScales) {
    let perLayer: Int
    let scalesPerLayer: Int
    switch kind {
    case .mha:
      perLayer = model.qoHeadCount * (model.headDimK + model.headDimV)
      scalesPerLayer = 2 * model.qoHeadCount
    case .gqa:
      perLayer = model.kvHeadCount * (model.headDimK + model.headDimV)
      scalesPerLayer = 2 * model.kvHeadCount
    case .mla:
      perLayer = (model.latent?.ckv ?? 0) + (model.latent?.kpe ?? 0)
      // One scale covers the whole latent row.
      scalesPerLayer = 1
    }
    let scaleBytes = bits <= 8 ? 4 * scalesPerLayer * model.layerCount : 0
    self.kind = kind
    self.type = type
    valuesPerToken = perLayer * model.layerCount
    bytesPerToken =
      Double(valuesPerToken) * bits / 8 + Double(scales == .tokenHead ? scaleBytes : 0)
    fixedBytes = scales == .head ? scaleBytes : 0
    tokensPerGiB = Int(0x1p30 / bytesPerToken)
  }

  /// `this / other − 1` of bytes per token: −0.5 is half.
  func change(against other: CacheSize) -> Double { bytesPerToken / other.bytesPerToken - 1 }
}

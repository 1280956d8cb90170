/// What happens to the scaled product of a query and a key before softmax.
///
/// `score = softCap(softmaxScale · q·k) + slope[h] · (kvIndex − queryPosition)` with
/// `softCap(x) = cap · tanh(x / cap)` and `queryPosition = kvLength − qoLength + i`. RoPE rotates q
/// and k before the product, at the query position and the kv index.
public struct ScoreModification: Sendable, Hashable, CustomStringConvertible {
  /// Factor on q·k; nil means `1 / √headDimQK`. MLA users pass that of the un-absorbed head.
  public var softmaxScale: Float?
  /// Cap of the soft cap (Gemma 2, arXiv 2408.00118); nil or 0 is off.
  public var logitsSoftCap: Float?
  /// ALiBi slope per query head (arXiv 2108.12409); nil is off.
  public var alibiSlopes: [Float]?
  /// Rotation of q and k inside the operator; nil when they come rotated.
  public var rope: RotaryEmbedding?

  /// All parts default to off.
  public init(
    softmaxScale: Float? = nil, logitsSoftCap: Float? = nil, alibiSlopes: [Float]? = nil,
    rope: RotaryEmbedding? = nil
  ) {
    self.softmaxScale = softmaxScale
    self.logitsSoftCap = logitsSoftCap
    self.alibiSlopes = alibiSlopes
    self.rope = rope
  }

  /// The factor on q·k for a head dimension.
  public func resolvedScale(headDimQK: Int) -> Float {
    softmaxScale ?? Float(1 / Double(headDimQK).squareRoot())
  }

  /// The cap, or nil when it is off (nil or 0).
  public var activeSoftCap: Float? {
    guard let cap = logitsSoftCap, cap != 0 else { return nil }
    return cap
  }

  /// ALiBi's slopes for `headCount` heads: with `n = 2^⌊log₂ headCount⌋`, head `i < n` has
  /// `2^(−8(i+1)/n)`; the others interleave at half the step, `2^(−4(2j+1)/n)`.
  public static func alibiSlopes(headCount: Int) -> [Float] {
    guard headCount > 0 else { return [] }
    let n = 1 << (Int.bitWidth - 1 - headCount.leadingZeroBitCount)
    return (0..<headCount).map { head in
      let exponent =
        head < n
        ? -8 * Double(head + 1) / Double(n) : -4 * Double(2 * (head - n) + 1) / Double(n)
      return Float(exp2OfDouble(exponent))
    }
  }

  /// One line with the parts that are on.
  public var description: String {
    var parts: [String] = []
    if let softmaxScale { parts.append("scale \(softmaxScale)") }
    if let cap = activeSoftCap { parts.append("softcap \(cap)") }
    if alibiSlopes != nil { parts.append("alibi") }
    if let rope { parts.append(rope.description) }
    return parts.isEmpty ? "plain" : parts.joined(separator: ", ")
  }
}

extension Validator {
  /// Checks scale, cap, slopes and rotation.
  public mutating func requireModification(
    _ modification: ScoreModification, shape: AttentionShape, latent: LatentShape?
  ) {
    if let scale = modification.softmaxScale {
      require(scale.isFinite, "softmaxScale must be finite", found: "\(scale)")
    }
    if let cap = modification.logitsSoftCap {
      require(
        cap == 0 || (0x1p-126...0x1p126).contains(cap),
        "logitsSoftCap must be in 2^-126…2^126, or 0 (off)", found: "\(cap)")
    }
    if let slopes = modification.alibiSlopes {
      require(
        slopes.count == shape.qoHeadCount, "alibiSlopes must hold one slope per query head",
        found: "\(slopes.count) for \(shape.qoHeadCount)")
      require(
        slopes.allSatisfy(\.isFinite), "alibiSlopes must be finite",
        found: "\(slopes.first { !$0.isFinite } ?? .nan)")
    }
    if let rope = modification.rope {
      require(
        latent == nil, "rope inside the operator must be off for MLA", found: "\(rope)",
        remedy: "Rotate q_pe and kpe before they are cached, as the latent cache expects.")
      requireRotary(rope, headDim: shape.headDimQK)
    }
  }
}

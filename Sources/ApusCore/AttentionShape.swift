/// Head counts and dimensions of one attention operator.
///
/// Query head `h` reads KV head `h / groupSize` (MHA, GQA and MQA in one rule).
public struct AttentionShape: Sendable, Hashable, CustomStringConvertible {
  /// Query and output heads.
  public let qoHeadCount: Int
  /// Key/value heads (latent heads for MLA).
  public let kvHeadCount: Int
  /// Dimension of q and k.
  public let headDimQK: Int
  /// Dimension of v and o.
  public let headDimVO: Int

  /// A shape; `headDimVO` defaults to `headDimQK`.
  public init(qoHeadCount: Int, kvHeadCount: Int, headDimQK: Int, headDimVO: Int? = nil) {
    self.qoHeadCount = qoHeadCount
    self.kvHeadCount = kvHeadCount
    self.headDimQK = headDimQK
    self.headDimVO = headDimVO ?? headDimQK
  }

  /// Query heads per KV head. Meaningful for a validated shape.
  public var groupSize: Int { kvHeadCount > 0 ? qoHeadCount / kvHeadCount : 0 }

  /// `heads 32/8, dim 128` or `heads 32/8, dim 192→128`.
  public var description: String {
    let dim = headDimQK == headDimVO ? "\(headDimQK)" : "\(headDimQK)→\(headDimVO)"
    return "heads \(qoHeadCount)/\(kvHeadCount), dim \(dim)"
  }
}

/// Widths of an MLA latent cache row (DeepSeek-V2, arXiv 2405.04434, §2.1).
///
/// A row is `ckv` compressed values followed by `kpe` rotary key values. K is the whole row, V is its
/// first `headDimVO` values.
public struct LatentShape: Sendable, Hashable, CustomStringConvertible {
  /// Width of the compressed part, 512 in DeepSeek's models.
  public let ckv: Int
  /// Width of the rotary part, 64 in DeepSeek's models; 0 allowed.
  public let kpe: Int

  /// A latent of the given widths.
  public init(ckv: Int = 512, kpe: Int = 64) {
    self.ckv = ckv
    self.kpe = kpe
  }

  /// `latent 512+64`.
  public var description: String { "latent \(ckv)+\(kpe)" }
}

extension Validator {
  /// Checks head counts and dimensions. Attention proper needs dimensions in steps of 8 up to 576
  /// (qk) and 512 (vo); MLA ties them to the latent and lets V have any width.
  public mutating func requireShape(_ shape: AttentionShape, latent: LatentShape?) {
    let heads = (shape.qoHeadCount, shape.kvHeadCount)
    let positive = require(
      heads.0 >= 1 && heads.1 >= 1, "qoHeadCount and kvHeadCount must be at least 1",
      found: "\(heads.0) and \(heads.1)")
    require(
      heads.0 <= 65_536, "qoHeadCount must be at most 65536", found: "\(heads.0)")
    if positive {
      require(
        heads.0.isMultiple(of: heads.1), "qoHeadCount must be a multiple of kvHeadCount",
        found: "\(heads.0) and \(heads.1)")
    }
    guard let latent else {
      require(
        shape.headDimQK.isMultiple(of: 8) && (8...576).contains(shape.headDimQK),
        "headDimQK must be a multiple of 8 in 8…576", found: "\(shape.headDimQK)")
      require(
        shape.headDimVO.isMultiple(of: 8) && (8...512).contains(shape.headDimVO),
        "headDimVO must be a multiple of 8 in 8…512", found: "\(shape.headDimVO)")
      return
    }
    let widths = require(
      (1...576).contains(latent.ckv) && (0...576).contains(latent.kpe)
        && latent.ckv + latent.kpe <= 576,
      "latent widths must be ckv ≥ 1, kpe ≥ 0 and together at most 576",
      found: "\(latent.ckv) and \(latent.kpe)")
    if widths {
      require(
        shape.headDimQK == latent.ckv + latent.kpe, "headDimQK must equal ckv + kpe of the latent",
        found: "\(shape.headDimQK) and \(latent.ckv) + \(latent.kpe)")
      require(
        (1...latent.ckv).contains(shape.headDimVO), "headDimVO must be in 1…\(latent.ckv) (ckv)",
        found: "\(shape.headDimVO)")
    }
  }
}

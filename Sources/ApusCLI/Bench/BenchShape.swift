internal import ApusCore
internal import ApusNumerics

/// The operator that a benchmark case calls.
enum BenchOperator: String, Codable, Sendable, CaseIterable {
  /// `SingleDecode`.
  case singleDecode
  /// `BatchDecode`, padded or paged.
  case batchDecode
  /// `SinglePrefill`.
  case singlePrefill
  /// `BatchPrefill` of a few new tokens against a long context.
  case batchAppend
  /// `MLADecode`.
  case mlaDecode
  /// `MergeStates` of `stateCount` states.
  case mergeStates
  /// `Append`: new K/V rows into a paged cache.
  case appendKV
  /// `Rotary`.
  case rotary
}

/// Where a case keeps its keys and values.
enum BenchCache: String, Codable, Sendable {
  /// Rows of one tensor.
  case ragged
  /// One slab per request.
  case padded
  /// Pages in random order.
  case paged
  /// Pages of latent rows in random order: V is the leading part of K.
  case latent
}

/// An element type that JSON spells by its short name.
struct ElementName: Codable, Sendable, Hashable, CustomStringConvertible {
  var type: ElementType

  init(_ type: ElementType) { self.type = type }

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let name = try container.decode(String.self)
    guard let type = ElementType(name) else {
      throw DecodingError.dataCorruptedError(
        in: container,
        debugDescription: "BenchShape: an element type must be f32, f16, bf16, e4m3 or e5m2; "
          + "found \(name).")
    }
    self.type = type
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(type.description)
  }

  var description: String { type.description }
}

/// Everything that decides how much work a case is. Fields that an operator does not have keep their
/// neutral value (1, or nil).
struct BenchShape: Codable, Sendable, Hashable {
  /// Requests.
  var batch = 1
  /// Query rows (new tokens, rows of a merge or rotation) of each request.
  var qoLength = 1
  /// Keys of each request; of a cache append, after the append.
  var kvLength = 0
  /// Query heads.
  var qoHeadCount = 32
  /// KV heads.
  var kvHeadCount = 8
  /// Width of q and k; of MLA, ckv + kpe.
  var headDimQK = 128
  /// Width of v and o; of MLA, ckv.
  var headDimVO = 128
  /// Type of q, of a merge's states, of an append's new rows.
  var q = ElementName(.bf16)
  /// Type of the cache.
  var kv = ElementName(.bf16)
  /// Type of o.
  var o = ElementName(.bf16)
  /// Where K and V lie; nil for operators without a cache.
  var cache: BenchCache?
  /// `NHD` or `HND`; nil for operators without a cache.
  var layout: String?
  /// Tokens of a page; nil when nothing is paged.
  var pageSize: Int?
  /// Whether the mask is causal (bottom-right aligned).
  var isCausal = false
  /// States that a merge combines; nil elsewhere.
  var stateCount: Int?
  /// Whether an append computes a scale per token and head; nil elsewhere.
  var hasDynamicScale: Bool?
}

extension BenchShape {
  /// Bytes of K and V (or of the latent) of all requests: what a rotation must exceed.
  var cacheByteCount: Int {
    guard cache != nil else { return 0 }
    return batch * kvLength * kvHeadCount * kvRowWidth * kv.type.byteCount
  }

  /// Stored elements of one token and KV head. A latent row holds V inside K.
  var kvRowWidth: Int { cache == .latent ? headDimQK : headDimQK + headDimVO }

  /// The contract's layout.
  var kvLayout: KVLayout { layout.flatMap(KVLayout.init(rawValue:)) ?? .nhd }
}

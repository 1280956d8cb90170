internal import ApusCore
internal import ApusNumerics

/// How large the cases of a run are.
public enum CaseSize: String, Sendable, Hashable, CaseIterable {
  /// Up to some thousand elements: a debug build runs hundreds in seconds.
  case small
  /// Up to some million elements, long contexts and all head dimensions.
  case full
}

/// The values that cases draw from, axis by axis. Coverage counts each of them.
enum CaseAxes {
  static let types = ElementType.allCases
  static let emphasisedDims = [64, 96, 128, 192, 256]
  static let groupSizes = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 64]
  static let kvHeads = [1, 2, 3, 4]
  static let pageSizes = [1, 2, 3, 8, 16, 32, 64, 100]
  static let batches = [0, 1, 2, 3, 7]
  /// Tile sizes around which lengths lie; back ends tile by powers of two.
  static let tiles = [16, 32, 64, 128, 256, 512]
  static let kvLengths = [0, 1] + tiles.flatMap { [$0 - 1, $0, $0 + 1] }
  static let longKV = 1000...3000
  static let qoTileLengths = [63, 64, 65, 130]
  static let qoLengths = Array(0...16) + qoTileLengths
  static let splitSizes = [7, 16, 64, 100]
  static let conventions: [LSEConvention] = [
    .base2, .natural, .flashMLA, LSEConvention(base: .two, emptyRow: .positiveInfinity),
  ]
  /// ckv and kpe widths: DeepSeek's, smaller ones, one without a rotary part, an odd one.
  static let latents = [
    LatentShape(), LatentShape(ckv: 256, kpe: 64), LatentShape(ckv: 128, kpe: 32),
    LatentShape(ckv: 64, kpe: 0), LatentShape(ckv: 40, kpe: 24), LatentShape(ckv: 33, kpe: 7),
  ]
  static let ropes: [(String, RotaryEmbedding)] = [
    ("half", RotaryEmbedding()),
    ("interleaved", RotaryEmbedding(pairing: .interleaved)),
    ("partial", RotaryEmbedding(rotaryDim: 8, scale: 2, theta: 5000)),
    ("partial interleaved", RotaryEmbedding(pairing: .interleaved, rotaryDim: 6)),
    ("llama31", .llama31Default),
  ]
}

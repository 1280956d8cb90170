import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import Testing

/// NaN and infinities in keys and values that some rows of a tile see and others do not: they reach
/// the rows that see them and change no bit of the others.
@Suite struct DecodeHiddenValueTests {
  /// A case with its name.
  struct Named: CustomStringConvertible, Sendable {
    let description: String
    let make: @Sendable (inout DecodeCase) -> Void

    init(_ description: String, _ make: @escaping @Sendable (inout DecodeCase) -> Void) {
      self.description = description
      self.make = make
    }
  }

  /// Every type of cache, both ends of an interval, tiles of 8 to 32 rows, one step and several.
  static let tiles = [
    Named("bf16") { _ in },
    Named("f16") { $0.types = AttentionTypes(q: .f16) },
    Named("e4m3") { $0.types = AttentionTypes(q: .bf16, kv: .e4m3) },
    Named("e5m2") { $0.types = AttentionTypes(q: .f16, kv: .e5m2, o: .f32) },
    Named("two tiles of rows") { $0.qoHeads = 6 },
    Named("four tiles of rows") { $0.qoHeads = 16 },
    Named("four tiles of rows, e4m3") {
      $0.qoHeads = 16
      $0.types = AttentionTypes(q: .bf16, kv: .e4m3)
    },
    Named("window") { $0.mask = AttentionMask(isCausal: true, windowLeft: 5) },
    Named("window, e5m2") {
      $0.mask = AttentionMask(isCausal: true, windowLeft: 2)
      $0.types = AttentionTypes(q: .bf16, kv: .e5m2)
    },
    Named("window without causal mask") { $0.mask = AttentionMask(windowLeft: 20) },
    Named("headDim 256") { $0.headDim = 256 },
    Named("headDim 72") { $0.headDim = 72 },
    Named("headDim 64, slopes") {
      $0.headDim = 64
      $0.modification.alibiSlopes = [0.5, 0.25, 0.125, 0.0625]
    },
    Named("soft cap") { $0.modification.logitsSoftCap = 4 },
    Named("heads") {
      ($0.kvHeads, $0.qoHeads, $0.headDim) = (8, 16, 32)
      $0.options.isBatchInvariant = true
    },
    Named("padded") { $0.placement = .padded },
    Named("pages of 5") { $0.placement = .combinedPages(5) },
    Named("custom mask") { $0.mask = Self.tree(of: $0) },
    Named("custom mask, e4m3") {
      $0.types = AttentionTypes(q: .bf16, kv: .e4m3)
      $0.mask = Self.tree(of: $0)
    },
  ]

  /// A mask that shows every key to about two of three rows.
  private static func tree(of value: DecodeCase) -> AttentionMask {
    var bytes: [UInt8] = []
    for (rows, keys) in zip(value.qoLengths, value.kvLengths) {
      var packed = [UInt8](repeating: 0, count: (rows * keys + 7) / 8)
      for bit in 0..<rows * keys where (bit / keys + bit % keys) % 3 != 0 {
        packed[bit / 8] |= 1 << UInt8(bit % 8)
      }
      bytes += packed
    }
    let lengths = zip(value.qoLengths, value.kvLengths).map { ($0 * $1 + 7) / 8 }
    return AttentionMask(
      isCausal: true, custom: CustomMask(bytes: bytes, byteIndptr: RaggedIndptr(lengths: lengths)))
  }

  private func base(_ named: Named) -> DecodeCase {
    var value = DecodeCase()
    value.headDim = 32
    (value.qoHeads, value.kvHeads) = (4, 2)
    value.kvLengths = [3, 17, 70, 200]
    value.qoLengths = [4, 3, 4, 5]
    value.mask = .causal
    value.options.useTensorCores = .always
    named.make(&value)
    return value
  }

  /// Runs the case with and without the values.
  private func check(_ value: DecodeCase, _ specials: [DecodeCase.Special], _ name: String) throws {
    let clean = try value.run()
    #expect(clean.complaints == [], "\(name), seed \(value.seed)")
    var poisoned = value
    poisoned.specials = specials
    let found = try poisoned.run(repeats: 2)
    #expect(found.complaints == [], "\(name), \(specials), seed \(value.seed)")
    #expect(found.expected.contains { !$0.isFinite }, "\(name): nobody sees \(specials)")
    let hasOthers = found.expected.contains { $0.isFinite }
    #expect(hasOthers, "\(name): everybody sees \(specials)")
    // A value in V leaves every other element as it was; one in K changes its rows.
    guard !specials.contains(where: \.isKey) else { return }
    let changed = found.expected.indices.filter {
      found.expected[$0].isFinite && found.o[$0].bitPattern != clean.o[$0].bitPattern
    }
    #expect(changed == [], "\(name), \(specials): bits of rows that do not see them")
  }

  @Test(arguments: tiles, [Target.sm90a, .sm80])
  func `special values reach the rows that see them and no other bit`(
    _ named: Named, _ target: Target
  ) throws {
    var value = base(named)
    value.target = target
    try check(value, [.init(value: .nan, distance: 0)], named.description)
    // e4m3 has no infinities: they are NaN.
    try check(
      value,
      [
        .init(value: .infinity, distance: 0), .init(value: -.infinity, distance: 1),
        .init(value: .nan, distance: 2), .init(value: .infinity, distance: 6),
      ], named.description)
    if value.mask.custom == nil {
      try check(value, [.init(value: .nan, distance: 0, isKey: true)], named.description)
    }
  }

  @Test(arguments: tiles)
  func `ordinary cores keep pairs apart`(_ named: Named) throws {
    var value = base(named)
    value.options.useTensorCores = .never
    try check(
      value,
      [.init(value: .nan, distance: 0), .init(value: .infinity, distance: 1)], named.description)
  }
}

import ApusIR
import ApusKernels
import ApusTestSupport
import Testing

@Suite struct CubinPackTests {
  private static let sources: [CubinPack.Source] = [
    source("merge_b", .sm90a, 33), source("merge_a", .sm90a, 16), source("merge_a", .sm80, 0),
    source("append", .sm89, 100),
  ]

  private static func source(_ symbol: String, _ target: Target, _ count: Int) -> CubinPack.Source {
    CubinPack.Source(
      symbol: symbol, target: target, ptxDigest: SHA256Digest(of: "\(symbol) \(target)"),
      code: (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + 1) })
  }

  private func pack() throws -> [UInt8] {
    try CubinPack.write(Self.sources, assembler: "ptxas 13.0")
  }

  /// What a reader says of bytes.
  private func refusal(_ bytes: [UInt8]) -> CubinPackError? {
    do throws(CubinPackError) {
      _ = try CubinPack(bytes: bytes)
      return nil
    } catch {
      return error
    }
  }

  /// Bytes with the metadata's digest made right again, so that later checks are reached.
  private func sealed(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    let count = bytes[24..<32].reversed().reduce(0) { $0 << 8 | Int($1) }
    guard (0...max(0, bytes.count - 72)).contains(count) else { return bytes }
    bytes.replaceSubrange(40..<72, with: SHA256Digest(of: bytes[72..<72 + count]).bytes)
    return bytes
  }

  @Test func `what was written is read`() throws {
    let pack = try CubinPack(bytes: try pack())
    #expect(pack.assembler == "ptxas 13.0")
    #expect(
      pack.entries.map { "\($0.symbol) \($0.target)" } == [
        "append sm_89", "merge_a sm_80", "merge_a sm_90a", "merge_b sm_90a",
      ])
    for source in Self.sources {
      #expect(
        try pack.code(of: source.symbol, target: source.target, ptx: source.ptxDigest)
          == source.code)
    }
    #expect(pack.entries.allSatisfy { $0.codeRange.lowerBound % 16 == 0 })
  }

  @Test func `a pack without kernels is a pack`() throws {
    let empty = try CubinPack(bytes: try CubinPack.write([], assembler: ""))
    #expect(empty.entries == [])
    #expect(empty.entry(of: "a", target: .sm80) == nil)
  }

  @Test func `the order of the sources does not matter`() throws {
    let reversed = try CubinPack.write(Self.sources.reversed(), assembler: "ptxas 13.0")
    #expect(try pack() == reversed)
  }

  @Test func `code of another text or target is not given`() throws {
    let pack = try CubinPack(bytes: try pack())
    let digest = Self.sources[0].ptxDigest
    #expect(
      try pack.code(of: "merge_b", target: .sm90a, ptx: SHA256Digest(of: "another")) == nil)
    #expect(try pack.code(of: "merge_b", target: .sm80, ptx: digest) == nil)
    #expect(try pack.code(of: "merge_c", target: .sm90a, ptx: digest) == nil)
  }

  @Test func `every entry of a large pack is found`() throws {
    let sources = (0..<257).flatMap { index in
      [Target.sm80, .sm90a].map { Self.source("k\(index)", $0, index % 40) }
    }
    let pack = try CubinPack(bytes: try CubinPack.write(sources, assembler: "a"))
    for source in sources {
      #expect(pack.entry(of: source.symbol, target: source.target)?.ptxDigest == source.ptxDigest)
    }
    #expect(pack.entry(of: "k", target: .sm80) == nil)
    #expect(pack.entry(of: "z", target: .sm80) == nil)
    #expect(pack.entry(of: "k0", target: .sm86) == nil)
  }

  @Test func `two entries of one kernel are refused`() {
    #expect(throws: CubinPackError.duplicate(symbol: "merge_b", target: .sm90a)) {
      try CubinPack.write(Self.sources + [Self.sources[0]], assembler: "a")
    }
  }

  @Test func `each part is checked`() throws {
    let good = try pack()
    func changed(_ changes: (inout [UInt8]) -> Void) -> CubinPackError? {
      var bytes = good
      changes(&bytes)
      return refusal(sealed(bytes))
    }
    func part(_ error: CubinPackError?) -> String? {
      if case .malformed(let part, _, _) = error { part } else { nil }
    }
    #expect(refusal([]) == .notAPack(byteCount: 0))
    #expect(changed { $0[0] = 0 } == .notAPack(byteCount: good.count))
    #expect(changed { $0[8] = 2 } == .version(2))
    #expect(
      part(
        changed {
          $0[14] = 1; $0[12] = 1
        }) == "entries")
    #expect(part(changed { $0[16] ^= 1 }) == "bytes of the file")
    #expect(part(changed { $0[12] = 200 }) == "bytes of the metadata")
    #expect(
      part(
        refusal(
          {
            var b = good; b[31] = 0xFF; return b
          }())) == "bytes of the metadata")
    #expect(part(changed { $0[35] = 0xFF }) == "assembler's name")
    #expect(part(changed { $0[39] = 0xFF }) == "assembler's name")
    #expect(part(changed { $0[72 + 4 * 96] = 0xFF }) == "assembler's name")
    // Entries: symbol, target, code, order.
    #expect(part(changed { $0[72] = 0 }) == "symbol of entry 0")
    #expect(part(changed { $0[76] = 0 }) == "symbol of entry 0")
    #expect(part(changed { $0[80] = 0x78 }) == "target of entry 0")
    #expect(part(changed { $0[87] = 0x78 }) == "target of entry 0")
    #expect(part(changed { $0[88] ^= 16 }) == "code of entry 0")
    #expect(part(changed { $0[103] = 0x80 }) == "code of entry 0")
    let swapped = changed { bytes in
      for byte in 8..<16 { bytes.swapAt(72 + 96 + byte, 72 + 192 + byte) }
    }
    #expect(part(swapped) == "entry 2")
    // A metadata byte without its digest; a code byte, which only its entry notices.
    var bytes = good
    bytes[72 + 40] ^= 1
    #expect(refusal(bytes) == .damagedMetadata)
    bytes = good
    bytes[bytes.count - 1] ^= 1
    let pack = try CubinPack(bytes: bytes)
    #expect(throws: CubinPackError.damagedCode(symbol: "merge_b", target: .sm90a)) {
      try pack.code(of: "merge_b", target: .sm90a, ptx: Self.sources[0].ptxDigest)
    }
    // Bytes beyond the last code.
    #expect(
      part(
        changed {
          $0.append(0); $0[16] &+= 1
        }) == "the last code")
  }

  @Test func `truncated packs are refused at every length`() throws {
    let good = try pack()
    for count in good.indices { #expect(refusal(Array(good[..<count])) != nil, "\(count) bytes") }
  }

  /// No input may trap; what opens must be in bounds and give code that fits its digest.
  @Test func `hostile bytes are refused or harmless`() throws {
    let seed: UInt64 = 0x9A57
    var random = SplitMix64(seed: seed)
    let good = try pack()
    var opened = 0
    for round in 0..<2000 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let index = Int.random(in: 8..<bytes.count, using: &random)
        bytes[index] =
          Bool.random(using: &random)
          ? UInt8.random(in: 0...255, using: &random) : [0, 1, 0x7F, 0x80, 0xFF][round % 5]
      }
      if Bool.random(using: &random) {
        bytes.removeLast(Int.random(in: 0..<bytes.count - 8, using: &random))
        // The stated size follows, so that the checks behind it see the damage.
        if bytes.count >= 24 {
          for byte in 0..<8 {
            bytes[16 + byte] = UInt8(truncatingIfNeeded: bytes.count >> (8 * byte))
          }
        }
      }
      if bytes.count >= 72 { bytes = sealed(bytes) }
      do throws(CubinPackError) {
        let pack = try CubinPack(bytes: bytes)
        opened += 1
        for entry in pack.entries {
          #expect(entry.codeRange.upperBound <= bytes.count, "seed \(seed), round \(round)")
          _ = try? pack.code(of: entry.symbol, target: entry.target, ptx: entry.ptxDigest)
        }
      } catch {
        #expect(error.description.hasPrefix("CubinPack: "), "seed \(seed), round \(round)")
      }
    }
    #expect(opened > 0, "some changes hit code or digests alone, seed \(seed)")
  }

  @Test func `errors say what must hold`() {
    #expect(
      CubinPackError.version(9).description
        == "CubinPack: the version must be 1; found 9. Write the pack again with "
        + "`apus kernels pack`.")
    #expect(
      CubinPackError.notAPack(byteCount: 3).description
        == "CubinPack: the file must begin with APUSCUBN and a header; found 3 bytes of something "
        + "else.")
    #expect(
      CubinPackError.duplicate(symbol: "k", target: .sm80).description
        == "CubinPack: entries must be unique; found two of k for sm_80.")
    #expect(
      CubinPackError.malformed(part: "p", requirement: "be 1", found: "2").description
        == "CubinPack: p must be 1; found 2. Write the pack again with `apus kernels pack`.")
    #expect(
      CubinPackError.damagedMetadata.description
        == "CubinPack: the metadata must have the digest of the header; found another. Write the "
        + "pack again with `apus kernels pack`.")
    #expect(
      CubinPackError.damagedCode(symbol: "k", target: .sm80).description
        == "CubinPack: the code of k for sm_80 must have its entry's digest; found another. Write "
        + "the pack again with `apus kernels pack`.")
  }
}

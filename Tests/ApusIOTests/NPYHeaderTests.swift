import ApusIO
import Testing

@Suite struct NPYHeaderTests {
  @Test(arguments: npyCases)
  func `accepts or refuses each case with its exact message`(file: FileCase) {
    #expect(errorDescription { () throws(FileError) in try parseNPY(file.bytes) } == file.error)
  }

  @Test func `the corpus holds every case`() throws {
    try checkCorpus("npy", holds: npyCases)
  }

  @Test func `replays the corpus without trapping`() throws {
    let files = try corpusFiles("npy")
    #expect(files.count >= npyCases.count)
    for (name, bytes) in files {
      checkInvariants(bytes, "corpus file \(name)")
    }
  }

  @Test func `refuses every truncation of a valid file`() throws {
    for name in ["valid-F32", "valid-version-2"] {
      let file = try #require(npyCases.first { $0.name == name })
      for count in file.bytes.indices {
        let bytes = Array(file.bytes.prefix(count))
        #expect(throws: FileError.self, "first \(count) bytes of \(name)") { try parseNPY(bytes) }
      }
    }
  }

  @Test func `survives 10 000 random edits of valid files`() {
    let seed: UInt64 = 0x0A44_A75E
    var generator = SeededGenerator(seed: seed)
    let valid = npyCases.filter { $0.error == nil }
    var (accepted, refused) = (0, 0)
    for round in 0..<10_000 {
      var bytes = valid[round % valid.count].bytes
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        let index = Int.random(in: bytes.indices, using: &generator)
        bytes[index] = UInt8.random(in: .min ... .max, using: &generator)
      }
      if checkInvariants(bytes, "seed \(seed), round \(round)") {
        accepted += 1
      } else {
        refused += 1
      }
    }
    #expect(accepted > 0 && refused > 0, "seed \(seed): the edits reach only one outcome")
  }

  /// Whether `bytes` are accepted; if so, the elements must fill the file.
  @discardableResult
  private func checkInvariants(_ bytes: [UInt8], _ context: String) -> Bool {
    guard let header = try? parseNPY(bytes) else { return false }
    #expect(header.byteRange.upperBound == bytes.count, "\(context)")
    #expect(
      header.shape.reduce(header.scalarType.byteCount, *) == header.byteRange.count, "\(context)")
    return true
  }
}

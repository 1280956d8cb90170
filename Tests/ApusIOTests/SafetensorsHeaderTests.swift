import ApusIO
import Testing

@Suite struct SafetensorsHeaderTests {
  @Test(arguments: safetensorsCases)
  func `accepts or refuses each case with its exact message`(file: FileCase) {
    #expect(
      errorDescription { () throws(FileError) in try parseSafetensors(file.bytes) } == file.error)
  }

  @Test func `the corpus holds every case`() throws {
    try checkCorpus("safetensors", holds: safetensorsCases)
  }

  @Test func `replays the corpus without trapping`() throws {
    let files = try corpusFiles("safetensors")
    #expect(files.count >= safetensorsCases.count)
    for (name, bytes) in files {
      checkInvariants(bytes, "corpus file \(name)")
    }
  }

  @Test func `reads names with escapes and metadata`() throws {
    let file = try #require(safetensorsCases.first { $0.name == "valid-escapes" })
    let header = try parseSafetensors(file.bytes)
    #expect(header.tensors.map(\.name) == ["a\u{1F985}\u{E9}"])
    #expect(header.metadata == ["k\n": "\"\\/\u{8}\u{C}\r\t"])
  }

  @Test func `orders tensors by their data`() throws {
    let file = try #require(safetensorsCases.first { $0.name == "valid-white-space-and-order" })
    let header = try parseSafetensors(file.bytes)
    let base = header.dataOffset
    #expect(header.tensors.map(\.name) == ["a", "b"])
    #expect(header.tensors.map(\.shape) == [[1], [1, 2]])
    #expect(header.tensors.map(\.byteRange) == [base..<base + 2, base + 2..<base + 4])
  }

  @Test func `refuses every truncation of a valid file`() throws {
    let file = try #require(safetensorsCases.first { $0.name == "valid-all-types" })
    for count in file.bytes.indices {
      let bytes = Array(file.bytes.prefix(count))
      #expect(throws: FileError.self, "first \(count) bytes") { try parseSafetensors(bytes) }
    }
  }

  @Test(arguments: ["[", "{\"a\":", "{\"a\":{\"shape\":[", "{\"a\":[[[["])
  func `uses constant stack on headers nested 100 000 deep`(unit: String) {
    let bytes = safetensors(String(repeating: unit, count: 100_000))
    #expect(throws: FileError.self) { try parseSafetensors(bytes) }
  }

  @Test func `survives 10 000 random edits of valid files`() {
    let seed: UInt64 = 0x5AFE_7E45
    var generator = SeededGenerator(seed: seed)
    let valid = safetensorsCases.filter { $0.error == nil }
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

  /// Whether `bytes` are accepted; if so, the tensors must tile the data section.
  @discardableResult
  private func checkInvariants(_ bytes: [UInt8], _ context: String) -> Bool {
    guard let header = try? parseSafetensors(bytes) else { return false }
    var covered = header.dataOffset
    for tensor in header.tensors {
      #expect(tensor.byteRange.lowerBound == covered, "\(context)")
      #expect(
        tensor.shape.reduce(tensor.scalarType.byteCount, *) == tensor.byteRange.count,
        "\(context)")
      covered = tensor.byteRange.upperBound
    }
    #expect(covered == bytes.count, "\(context)")
    return true
  }
}

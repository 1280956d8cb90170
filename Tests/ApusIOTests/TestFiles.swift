import ApusIO
import Foundation
import Testing

/// A malformed or unusual file: its bytes, and the description of the error it must give, or nil
/// when it must be accepted.
struct FileCase: Sendable, CustomTestStringConvertible {
  let name: String
  let bytes: [UInt8]
  let error: String?

  var testDescription: String { name }
}

/// The bytes of a safetensors file with this header text and `dataByteCount` bytes of data.
func safetensors(_ header: String, data dataByteCount: Int = 0) -> [UInt8] {
  safetensors(Array(header.utf8), data: dataByteCount)
}

func safetensors(_ header: [UInt8], data dataByteCount: Int = 0) -> [UInt8] {
  littleEndian(UInt64(header.count)) + header + (0..<dataByteCount).map { UInt8($0 & 0xFF) }
}

/// The bytes of an NPY file with this header text and `dataByteCount` bytes of elements.
func npy(_ header: String, data dataByteCount: Int = 0, major: UInt8 = 1) -> [UInt8] {
  let text = Array(header.utf8)
  let length = major == 1 ? littleEndian(UInt16(text.count)) : littleEndian(UInt32(text.count))
  return npySignature + [major, 0] + length + text + (0..<dataByteCount).map { UInt8($0 & 0xFF) }
}

let npySignature: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]

func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

func parseSafetensors(_ bytes: [UInt8]) throws(FileError) -> SafetensorsHeader {
  try bytes.withUnsafeBufferPointer { (bytes) throws(FileError) in
    try SafetensorsHeader.parse(UnsafeRawBufferPointer(bytes))
  }
}

func parseNPY(_ bytes: [UInt8]) throws(FileError) -> NPYHeader {
  try bytes.withUnsafeBufferPointer { (bytes) throws(FileError) in
    try NPYHeader.parse(UnsafeRawBufferPointer(bytes))
  }
}

/// The description of the error `body` throws, or nil when it throws none.
func errorDescription<T>(_ body: () throws(FileError) -> T) -> String? {
  do throws(FileError) {
    _ = try body()
    return nil
  } catch {
    return error.description
  }
}

/// Calls `body` with the path of a new folder, which is removed afterwards.
func withTemporaryFolder<T>(_ body: (String) throws -> T) throws -> T {
  let folder = FileManager.default.temporaryDirectory
    .appendingPathComponent("apus-io-tests-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  return try body(folder.path)
}

func write(_ bytes: [UInt8], to path: String) throws {
  try Data(bytes).write(to: URL(fileURLWithPath: path))
}

func read(_ path: String) throws -> [UInt8] {
  Array(try Data(contentsOf: URL(fileURLWithPath: path)))
}

/// The committed corpus of a fuzz target.
func corpusFolder(_ target: String, testFile: String = #filePath) -> URL {
  URL(fileURLWithPath: testFile).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fuzz/Corpus/\(target)")
}

/// Requires that every case is a corpus file with these bytes; `APUS_RECORD=1` writes them.
func checkCorpus(_ target: String, holds cases: [FileCase]) throws {
  for file in cases {
    let url = corpusFolder(target).appendingPathComponent(file.name)
    if ProcessInfo.processInfo.environment["APUS_RECORD"] == "1" {
      try Data(file.bytes).write(to: url)
    }
    let found = try Array(Data(contentsOf: url))
    #expect(found == file.bytes, "\(target)/\(file.name) is stale: run again with APUS_RECORD=1")
  }
}

/// All corpus files of a target, by name.
func corpusFiles(_ target: String) throws -> [(name: String, bytes: [UInt8])] {
  try FileManager.default.contentsOfDirectory(
    at: corpusFolder(target), includingPropertiesForKeys: nil
  )
  .sorted { $0.path < $1.path }
  .map { (name: $0.lastPathComponent, bytes: Array(try Data(contentsOf: $0))) }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same bytes from the same seed on every platform.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

import ApusIO
import Foundation
import Testing

@Suite struct SafetensorsWriterTests {
  private let a = TensorContent(name: "a", shape: [2], elements: [Float(1), 2])

  @Test func `writes exactly these bytes`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.safetensors"
      try SafetensorsWriter.write([a], metadata: ["k": "\u{1}"], to: path)
      let header =
        "{\"__metadata__\":{\"k\":\"\\u0001\"},"
        + "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"
      let padding = String(repeating: " ", count: 7 - (header.utf8.count + 7) % 8)
      #expect(
        try read(path)
          == safetensors(header + padding) + [0, 0, 0x80, 0x3F, 0, 0, 0, 0x40])
    }
  }

  @Test func `writes the same file for every order of tensors`() throws {
    try withTemporaryFolder { folder in
      let contents = [
        TensorContent(name: "z", shape: [1], elements: [Double(1)]), a,
        TensorContent(name: "b", shape: [3], elements: [UInt8(1), 2, 3]),
        TensorContent(name: "B", shape: [1], elements: [UInt8(4)]),
      ]
      try SafetensorsWriter.write(contents, metadata: ["x": "1", "y": "2"], to: "\(folder)/1")
      try SafetensorsWriter.write(
        contents.reversed(), metadata: ["y": "2", "x": "1"], to: "\(folder)/2")
      #expect(try read("\(folder)/1") == read("\(folder)/2"))
      #expect(try SafetensorsFile(path: "\(folder)/1").names == ["z", "a", "B", "b"])
    }
  }

  @Test func `refuses tensors that would make a malformed file`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/kept"
      try write([1, 2, 3], to: path)
      func message(_ contents: [TensorContent]) -> String? {
        errorDescription { () throws(FileError) in
          try SafetensorsWriter.write(contents, to: path)
        }
      }
      func one(_ shape: [Int]) -> [TensorContent] {
        [TensorContent(name: "a", scalarType: .f32, shape: shape, bytes: [0, 0, 0, 0])]
      }
      let prefix = "SafetensorsWriter.write(\"\(path)\"): "
      #expect(
        message([a, a])
          == prefix + "names must be distinct; found \"a\" twice. Rename one of them.")
      #expect(
        message([TensorContent(name: "__metadata__", shape: [0], elements: [UInt8]())])
          == prefix + "a tensor must not have the name the format reserves; found "
          + "\"__metadata__\". Rename the tensor.")
      #expect(
        message(one([3]))
          == prefix + "tensor \"a\" of shape [3] and type F32 must have 12 bytes; found 4. "
          + "The data is truncated or the shape is wrong.")
      #expect(
        message(one([-1]))
          == prefix + "tensor \"a\" must have non-negative dimensions and fewer than 2^63 bytes; "
          + "found shape [-1] of F32. Check the shape.")
      #expect(
        message(one([Int](repeating: 1, count: 17)))
          == prefix + "tensor \"a\" must have at most 16 dimensions; found more. "
          + "Merge dimensions before storing it.")
      #expect(try read(path) == [1, 2, 3])
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["kept"])
    }
  }

  @Test func `reports a folder that is missing or not a folder`() throws {
    try withTemporaryFolder { folder in
      try write([], to: "\(folder)/file")
      let missing = "\(folder)/missing/a"
      let notFolder = "\(folder)/file/a"
      #expect(
        errorDescription { () throws(FileError) in try SafetensorsWriter.write([a], to: missing) }
          == "SafetensorsWriter.write(\"\(missing)\"): open must succeed; found errno 2 (No such "
          + "file or directory). Check the path, its permissions and the space left.")
      #expect(
        errorDescription { () throws(FileError) in try SafetensorsWriter.write([a], to: notFolder) }
          == "SafetensorsWriter.write(\"\(notFolder)\"): open must succeed; found errno 20 (Not a "
          + "directory). Check the path, its permissions and the space left.")
      #expect(
        errorDescription { () throws(FileError) in try SafetensorsWriter.write([a], to: "x\0") }
          == "SafetensorsWriter.write(\"x\\u{0}\"): the path must not contain NUL; found one. "
          + "Remove it.")
    }
  }

  @Test(.enabled(if: geteuid() != 0, "the superuser may write to any folder"))
  func `leaves the file in a read-only folder unchanged`() throws {
    try withTemporaryFolder { folder in
      try SafetensorsWriter.write([a], to: "\(folder)/a")
      let before = try read("\(folder)/a")
      #expect(chmod(folder, 0o555) == 0)
      defer { chmod(folder, 0o755) }
      let error = #expect(throws: FileError.self) {
        try SafetensorsWriter.write([], to: "\(folder)/a")
      }
      #expect(error?.reason == .system(call: "open", code: EACCES))
      #expect(try read("\(folder)/a") == before)
    }
  }

  @Test func `leaves nothing behind when the rename fails`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/taken"
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      let error = #expect(throws: FileError.self) { try SafetensorsWriter.write([a], to: path) }
      #expect(error?.reason == .system(call: "rename", code: EISDIR))
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["taken"])
    }
  }

  @Test func `replaces a file, keeping its permissions and readers of the old one`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a"
      try SafetensorsWriter.write([a], to: path)
      #expect(chmod(path, 0o640) == 0)
      let old = try SafetensorsFile(path: path).tensor(named: "a")
      try SafetensorsWriter.write(
        [TensorContent(name: "a", shape: [1], elements: [Float(9)])], to: path)
      #expect(try old.elements(as: Float.self) == [1, 2])
      #expect(try SafetensorsFile(path: path).tensor(named: "a").elements(as: Float.self) == [9])
      let attributes = try FileManager.default.attributesOfItem(atPath: path)
      #expect(attributes[.posixPermissions] as? Int == 0o640)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["a"])
    }
  }
}

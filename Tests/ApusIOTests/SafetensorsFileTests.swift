import ApusIO
import ApusNumerics
import Foundation
import Testing

@Suite struct SafetensorsFileTests {
  @Test(arguments: [FileAccess.mapped, .copied])
  func `round-trips every scalar type`(access: FileAccess) throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/all.safetensors"
      let contents = FileScalarType.allCases.map { type in
        TensorContent(
          name: "t \(type)", scalarType: type, shape: [3, 2],
          bytes: (0..<6 * type.byteCount).map { UInt8($0 * 5 & 0xFF) })
      }
      try SafetensorsWriter.write(contents, metadata: ["k\"\n": "v\u{E9}"], to: path)
      let file = try SafetensorsFile(path: path, access: access)
      #expect(file.metadata == ["k\"\n": "v\u{E9}"])
      #expect(Set(file.names) == Set(contents.map(\.name)))
      for content in contents {
        let tensor = try file.tensor(named: content.name)
        #expect(tensor.scalarType == content.scalarType)
        #expect(tensor.shape == content.shape)
        #expect(tensor.elementCount == 6)
        #expect(tensor.withBytes { Array($0) } == content.bytes)
        #expect(tensor.byteRange.lowerBound % content.scalarType.byteCount == 0)
      }
    }
  }

  @Test(arguments: [FileAccess.mapped, .copied])
  func `round-trips scalars, empty tensors and no tensors`(access: FileAccess) throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/edge.safetensors"
      try SafetensorsWriter.write([], to: path)
      #expect(try SafetensorsFile(path: path, access: access).names.isEmpty)
      try SafetensorsWriter.write(
        [
          TensorContent(name: "", shape: [], elements: [Float(2.5)]),
          TensorContent(name: "empty", shape: [4, 0], elements: [Double]()),
        ], to: path)
      let file = try SafetensorsFile(path: path, access: access)
      #expect(try file.tensor(named: "").elements(as: Float.self) == [2.5])
      #expect(try file.tensor(named: "empty").elements(as: Double.self).isEmpty)
      #expect(try file.tensor(named: "empty").elementCount == 0)
    }
  }

  @Test func `a tensor outlives its file value and the file on disk`() throws {
    let tensor = try withTemporaryFolder { folder in
      let path = "\(folder)/a.safetensors"
      try SafetensorsWriter.write(
        [TensorContent(name: "a", shape: [3], elements: [Int32](1...3))], to: path)
      return try SafetensorsFile(path: path).tensor(named: "a")
    }
    #expect(try tensor.elements(as: Int32.self) == [1, 2, 3])
    #expect(tensor.description == "a: I32 [3]")
  }

  @Test func `a copied file ignores later changes on disk`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.safetensors"
      try SafetensorsWriter.write(
        [TensorContent(name: "a", shape: [2], elements: [Float(1), 2])], to: path)
      let tensor = try SafetensorsFile(path: path, access: .copied).tensor(named: "a")
      try FileHandle(forWritingTo: URL(fileURLWithPath: path)).truncate(atOffset: 0)
      #expect(try tensor.elements(as: Float.self) == [1, 2])
    }
  }

  @Test func `names the nearest tensor and the available ones`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.safetensors"
      let contents = ["layer0.q", "layer0.k", "layer5.q"].map {
        TensorContent(name: $0, shape: [1], elements: [UInt8(0)])
      }
      try SafetensorsWriter.write(contents, to: path)
      let file = try SafetensorsFile(path: path)
      #expect(
        errorDescription { () throws(FileError) in try file.tensor(named: "layer0_q") }
          == "SafetensorsFile.tensor(\"\(path)\"): the file must contain the tensor; found no "
          + "\"layer0_q\". Did you mean \"layer0.q\"? Available: \"layer0.k\", \"layer0.q\", "
          + "\"layer5.q\".")
      #expect(
        errorDescription { () throws(FileError) in try file.tensor(named: "x\u{1B}[2J") }
          == "SafetensorsFile.tensor(\"\(path)\"): the file must contain the tensor; found no "
          + "\"x\\u{1B}[2J\". Available: \"layer0.k\", \"layer0.q\", \"layer5.q\".")
    }
  }

  @Test func `shortens a long list of tensors and long names`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.safetensors"
      let contents = (10..<20).map {
        TensorContent(name: "n\($0)", shape: [1], elements: [UInt8(0)])
      }
      try SafetensorsWriter.write(contents, to: path)
      let file = try SafetensorsFile(path: path)
      let long = String(repeating: "x", count: 1000)
      #expect(
        errorDescription { () throws(FileError) in try file.tensor(named: long) }
          == "SafetensorsFile.tensor(\"\(path)\"): the file must contain the tensor; found no "
          + "\"\(String(repeating: "x", count: 80))...\". Available: \"n10\", \"n11\", \"n12\", "
          + "\"n13\", \"n14\", \"n15\", \"n16\", \"n17\" and 2 more.")
      try SafetensorsWriter.write([], to: path)
      let empty = try SafetensorsFile(path: path)
      #expect(
        errorDescription { () throws(FileError) in try empty.tensor(named: "q") }
          == "SafetensorsFile.tensor(\"\(path)\"): the file must contain the tensor; found no "
          + "\"q\". Available: no tensors.")
    }
  }

  @Test func `reads 16-bit types as bit patterns and refuses other sizes`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.safetensors"
      try SafetensorsWriter.write(
        [
          TensorContent(
            name: "a", shape: [2], elements: [UInt16(0x3F80), 0x4000], scalarType: .bf16)
        ],
        to: path)
      let tensor = try SafetensorsFile(path: path).tensor(named: "a")
      #expect(tensor.scalarType.elementType == .bf16)
      #expect(try tensor.elements(as: UInt16.self) == [0x3F80, 0x4000])
      #expect(
        errorDescription { () throws(FileError) in try tensor.elements(as: Float.self) }
          == "FileTensor.elements(\"\(path)\"): elements of tensor \"a\", stored as BF16, must be "
          + "read as a type of 2 bytes; found one of 4 bytes. Choose the type of that size.")
    }
  }

  @Test func `reports paths that cannot be opened`() throws {
    try withTemporaryFolder { folder in
      let missing = "\(folder)/missing"
      #expect(
        errorDescription { () throws(FileError) in try SafetensorsFile(path: missing) }
          == "SafetensorsFile.init(\"\(missing)\"): open must succeed; found errno 2 (No such file "
          + "or directory). Check the path, its permissions and the space left.")
      #expect(
        errorDescription { () throws(FileError) in try SafetensorsFile(path: folder) }
          == "SafetensorsFile.init(\"\(folder)\"): the path must lead to a regular file; found a "
          + "folder, device or pipe. Name the tensor file itself.")
      #expect(
        errorDescription { () throws(FileError) in try SafetensorsFile(path: "a\0b") }
          == "SafetensorsFile.init(\"a\\u{0}b\"): the path must not contain NUL; found one. "
          + "Remove it.")
    }
  }

  @Test func `refuses a pipe without waiting for its writer`() throws {
    try withTemporaryFolder { folder in
      #expect(mkfifo("\(folder)/pipe", 0o600) == 0)
      let error = #expect(throws: FileError.self) {
        try SafetensorsFile(path: "\(folder)/pipe")
      }
      #expect(error?.reason == .notRegularFile)
    }
  }

  @Test(arguments: [FileAccess.mapped, .copied])
  func `gives the header's error with operation and path`(access: FileAccess) throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/empty"
      try write([], to: path)
      #expect(
        errorDescription { () throws(FileError) in try SafetensorsFile(path: path, access: access) }
          == "SafetensorsFile.init(\"\(path)\"): the file must have at least 8 bytes; found 0. "
          + "It is truncated: copy it again.")
    }
  }
}

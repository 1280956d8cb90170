import ApusIO
import Foundation
import Testing

@Suite struct NPYFileTests {
  @Test(arguments: FileScalarType.allCases, [[], [5], [2, 3], [4, 0], [1, 1, 2]])
  func `round-trips every scalar type and rank`(type: FileScalarType, shape: [Int]) throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.npy"
      let byteCount = shape.reduce(type.byteCount, *)
      let content = TensorContent(
        name: "", scalarType: type, shape: shape, bytes: (0..<byteCount).map { UInt8($0 & 0xFF) })
      try NPYWriter.write(content, to: path)
      for access in [FileAccess.mapped, .copied] {
        let tensor = try NPYFile(path: path, access: access, reinterpretedAs: type).tensor
        #expect(tensor.scalarType == type)
        #expect(tensor.shape == shape)
        #expect(tensor.byteRange.lowerBound % 64 == 0)
        #expect(tensor.withBytes { Array($0) } == content.bytes)
      }
      let stored = try NPYFile(path: path).tensor.scalarType
      #expect(stored.numpyDescr == type.numpyDescr)
    }
  }

  @Test func `writes exactly these bytes`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.npy"
      try NPYWriter.write(
        TensorContent(name: "ignored", shape: [2], elements: [UInt16(1), 2]), to: path)
      let dictionary = "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }"
      let padding = String(repeating: " ", count: 128 - 10 - dictionary.utf8.count - 1)
      #expect(try read(path) == npy(dictionary + padding + "\n") + [1, 0, 2, 0])
    }
  }

  @Test func `refuses to reinterpret as a type of another size`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.npy"
      try NPYWriter.write(TensorContent(name: "", shape: [1], elements: [UInt16(1)]), to: path)
      #expect(
        errorDescription { () throws(FileError) in
          try NPYFile(path: path, reinterpretedAs: .f32)
        }
          == "NPYFile.init(\"\(path)\"): the requested type must have the size of the stored type "
          + "U16, 2 bytes; found F32 of 4 bytes. Request a type of that size.")
    }
  }

  @Test func `names itself in errors`() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.npy"
      #expect(
        errorDescription { () throws(FileError) in try NPYFile(path: path) }
          == "NPYFile.init(\"\(path)\"): open must succeed; found errno 2 (No such file or "
          + "directory). Check the path, its permissions and the space left.")
      let content = TensorContent(name: "", scalarType: .f32, shape: [2], bytes: [])
      #expect(
        errorDescription { () throws(FileError) in try NPYWriter.write(content, to: path) }
          == "NPYWriter.write(\"\(path)\"): the array of shape [2] and type F32 must have 8 bytes; "
          + "found 0. The data is truncated or the shape is wrong.")
      #expect(!FileManager.default.fileExists(atPath: path))
      try NPYWriter.write(TensorContent(name: "", shape: [1], elements: [UInt16(1)]), to: path)
      let tensor = try NPYFile(path: path).tensor
      #expect(tensor.description == "array: U16 [1]")
      #expect(
        errorDescription { () throws(FileError) in try tensor.elements(as: Double.self) }
          == "FileTensor.elements(\"\(path)\"): elements of the array, stored as U16, must be read "
          + "as a type of 2 bytes; found one of 8 bytes. Choose the type of that size.")
    }
  }
}

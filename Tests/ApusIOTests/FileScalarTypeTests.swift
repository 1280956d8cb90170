import ApusIO
import ApusNumerics
import Testing

@Suite struct FileScalarTypeTests {
  @Test(arguments: FileScalarType.allCases)
  func `is found by its safetensors name alone`(type: FileScalarType) {
    #expect(FileScalarType(safetensorsName: type.safetensorsName) == type)
    #expect(FileScalarType(safetensorsName: type.safetensorsName.lowercased()) == nil)
  }

  @Test(arguments: FileScalarType.allCases)
  func `is found by its descr only if NumPy has the type`(type: FileScalarType) throws {
    let stored = try #require(FileScalarType(numpyDescr: type.numpyDescr))
    #expect(stored.byteCount == type.byteCount)
    let isForeign = [FileScalarType.bf16, .f8_e4m3, .f8_e5m2].contains(type)
    #expect((stored == type) == !isForeign)
  }

  @Test(arguments: ElementType.allCases)
  func `stores each element type unchanged`(element: ElementType) {
    let type = FileScalarType(element)
    #expect(type.elementType == element)
    #expect(type.byteCount == element.byteCount)
  }

  @Test func `only five types are element types`() {
    #expect(FileScalarType.allCases.compactMap(\.elementType).count == ElementType.allCases.count)
  }

  @Test func `Swift numbers have the size of their scalar type`() {
    let types: [any FileScalar.Type] = [
      Double.self, Float.self, Int64.self, Int32.self, Int16.self, Int8.self, UInt64.self,
      UInt32.self, UInt16.self, UInt8.self,
    ]
    func size<T: FileScalar>(_ type: T.Type) -> Int { MemoryLayout<T>.size }
    for type in types {
      #expect(size(type) == type.fileScalarType.byteCount, "\(type)")
    }
  }
}

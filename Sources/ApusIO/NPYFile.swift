/// An NPY file, one array without a name, opened for reading.
public struct NPYFile: Sendable {
  /// The path the file was opened under.
  public let path: String
  /// The array.
  public let tensor: FileTensor

  /// Opens and checks the file at `path`.
  ///
  /// NumPy has no bfloat16 and no FP8. Such an array is stored as unsigned integers of its size;
  /// pass `reinterpretedAs: .bf16`, `.f8_e4m3` or `.f8_e5m2` to read it as what it is. Any other
  /// type of the stored size is allowed too.
  ///
  /// - Throws: ``FileError`` when the file cannot be read, its header breaks the format, or its
  ///   elements are records, big-endian, stored column by column, or not of the requested size.
  public init(
    path: String, access: FileAccess = .mapped, reinterpretedAs requested: FileScalarType? = nil
  ) throws(FileError) {
    self.path = path
    do throws(FileError.Reason) {
      let storage = try FileStorage(path: path, access: access)
      let header = try storage.withBytes { (bytes) throws(FileError.Reason) in
        try NPYHeader(bytes)
      }
      let scalarType = requested ?? header.scalarType
      guard scalarType.byteCount == header.scalarType.byteCount else {
        throw .reinterpretation(stored: header.scalarType, requested: scalarType)
      }
      tensor = FileTensor(
        name: "", scalarType: scalarType, shape: header.shape, byteRange: header.byteRange,
        storage: storage, path: path)
    } catch {
      throw FileError(operation: "NPYFile.init", path: path, reason: error)
    }
  }
}

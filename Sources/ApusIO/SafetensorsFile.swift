/// A safetensors file opened for reading.
///
/// Opening checks the whole header (see ``SafetensorsHeader``); afterwards every tensor is in
/// bounds by construction.
public struct SafetensorsFile: Sendable {
  /// The path the file was opened under.
  public let path: String
  /// The checked header.
  public let header: SafetensorsHeader

  private let storage: FileStorage
  private let indices: [String: Int]

  /// Opens and checks the file at `path`.
  ///
  /// - Throws: ``FileError`` when the file cannot be read or its header breaks the format.
  public init(path: String, access: FileAccess = .mapped) throws(FileError) {
    self.path = path
    do throws(FileError.Reason) {
      storage = try FileStorage(path: path, access: access)
      header = try storage.withBytes { (bytes) throws(FileError.Reason) in
        try SafetensorsHeader(bytes)
      }
    } catch {
      throw FileError(operation: "SafetensorsFile.init", path: path, reason: error)
    }
    // Names are distinct: the parser refuses duplicates.
    indices = Dictionary(
      zip(header.tensors.lazy.map(\.name), header.tensors.indices),
      uniquingKeysWith: { first, _ in first })
  }

  /// The tensors' names, in the order of their data.
  public var names: [String] { header.tensors.map(\.name) }

  /// The strings of `__metadata__`; empty when it is absent.
  public var metadata: [String: String] { header.metadata }

  /// All tensors, in the order of their data.
  public var tensors: [FileTensor] { header.tensors.map(tensor(_:)) }

  /// The tensor with the given name.
  ///
  /// - Throws: ``FileError`` (`unknownTensor`) with the nearest and all available names.
  public func tensor(named name: String) throws(FileError) -> FileTensor {
    guard let index = indices[name] else {
      let names = names
      throw FileError(
        operation: "SafetensorsFile.tensor", path: path,
        reason: .unknownTensor(
          name: name, nearest: nearestName(to: name, among: names), available: names))
    }
    return tensor(header.tensors[index])
  }

  private func tensor(_ tensor: SafetensorsHeader.Tensor) -> FileTensor {
    FileTensor(
      name: tensor.name, scalarType: tensor.scalarType, shape: tensor.shape,
      byteRange: tensor.byteRange, storage: storage, path: path)
  }
}

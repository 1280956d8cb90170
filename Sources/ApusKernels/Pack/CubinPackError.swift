public import ApusIR

/// Why bytes are no pack, or why a pack could not be made.
public enum CubinPackError: Error, Sendable, Hashable {
  /// The file does not begin as a pack does.
  case notAPack(byteCount: Int)
  /// A pack of another version.
  case version(UInt32)
  /// A number or text of the file contradicts the format.
  case malformed(part: String, requirement: String, found: String)
  /// The metadata is not what its digest says.
  case damagedMetadata
  /// A kernel's code is not what its digest says.
  case damagedCode(symbol: String, target: Target)
  /// Two entries of one kernel and target.
  case duplicate(symbol: String, target: Target)
}

extension CubinPackError: CustomStringConvertible {
  /// `CubinPack: requirement; found value. remedy`.
  public var description: String {
    let remedy = "Write the pack again with `apus kernels pack`."
    return switch self {
    case .notAPack(let count):
      "CubinPack: the file must begin with APUSCUBN and a header; found \(count) bytes of something "
        + "else."
    case .version(let version):
      "CubinPack: the version must be \(CubinPackLayout.version); found \(version). \(remedy)"
    case .malformed(let part, let requirement, let found):
      "CubinPack: \(part) must \(requirement); found \(found). \(remedy)"
    case .damagedMetadata:
      "CubinPack: the metadata must have the digest of the header; found another. \(remedy)"
    case .damagedCode(let symbol, let target):
      "CubinPack: the code of \(symbol) for \(target) must have its entry's digest; found another. "
        + remedy
    case .duplicate(let symbol, let target):
      "CubinPack: entries must be unique; found two of \(symbol) for \(target)."
    }
  }
}

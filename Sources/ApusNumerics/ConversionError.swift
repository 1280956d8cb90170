/// Why a bulk conversion refused its buffers. Nothing was written.
public enum ConversionError: Error, Sendable, Hashable {
  /// `ElementType.widen` needs one destination element for each source element, and no partial
  /// source element.
  case widenSizeMismatch(type: ElementType, sourceByteCount: Int, destinationCount: Int)
  /// `ElementType.narrow` needs exactly the destination bytes of its source elements.
  case narrowSizeMismatch(type: ElementType, sourceCount: Int, destinationByteCount: Int)
}

extension ConversionError: CustomStringConvertible {
  /// The sentence shown to users.
  public var description: String {
    switch self {
    case .widenSizeMismatch(let type, let sourceByteCount, let destinationCount):
      """
      ElementType.widen: source.count must be \(type.byteCount) × destination.count for \(type); \
      found \(sourceByteCount) bytes and \(destinationCount) elements. \
      Pass buffers over the same elements.
      """
    case .narrowSizeMismatch(let type, let sourceCount, let destinationByteCount):
      """
      ElementType.narrow: destination.count must be \(type.byteCount) × source.count for \(type); \
      found \(destinationByteCount) bytes and \(sourceCount) elements. \
      Pass buffers over the same elements.
      """
    }
  }
}

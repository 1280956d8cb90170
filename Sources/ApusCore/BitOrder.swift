/// Which bit of a byte holds the first of eight booleans.
public enum BitOrder: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  /// Element `i` is bit `i % 8` counted from the least significant; attention masks use this.
  case little
  /// Element `i` is bit `7 − i % 8`; the default of `numpy.packbits` and FlashInfer's `packbits`.
  case big

  /// `little` or `big`.
  public var description: String { rawValue }

  /// Mask of element `index` within its byte.
  @inlinable public func bit(_ index: Int) -> UInt8 {
    switch self {
    case .little: 1 << UInt8(index & 7)
    case .big: 0x80 >> UInt8(index & 7)
    }
  }
}

/// Device memory that somebody else owns and keeps: an address and a size.
///
/// Addresses are unique over all devices of a process (unified addressing), so a view does not name
/// its device.
public struct DeviceView: Sendable, Hashable, CustomStringConvertible {
  /// Address of the first byte.
  public let address: UInt64
  /// Number of bytes.
  public let byteCount: Int

  /// A view of memory that the caller keeps alive. A negative size counts as 0.
  public init(address: UInt64, byteCount: Int) {
    self.address = address
    self.byteCount = max(0, byteCount)
  }

  /// `byteCount` bytes from `offset` on.
  ///
  /// - Throws: `.argument` when the part does not lie inside.
  public func slice(at offset: Int, byteCount count: Int) throws(CUDAError) -> DeviceView {
    guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
      throw .argument(
        "DeviceView.slice",
        [
          .init(
            "the part must lie inside the view's \(byteCount) bytes",
            found: "\(count) bytes at offset \(offset)")
        ])
    }
    return DeviceView(address: address + UInt64(offset), byteCount: count)
  }

  /// `0x7f0000000000 + 1024 bytes`.
  public var description: String {
    "0x\(String(address, radix: 16)) + \(byteCount) bytes"
  }
}

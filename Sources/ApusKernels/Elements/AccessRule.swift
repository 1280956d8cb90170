internal import ApusCore

/// Requirements of a wide access, with the first one that a call breaks.
struct AccessRule {
  private(set) var violation: String?

  /// Notes a violation; only the first counts.
  mutating func require(_ condition: Bool, _ requirement: String, found: @autoclosure () -> String)
  {
    if violation == nil && !condition { violation = "\(requirement); found \(found())" }
  }

  /// Every row of the last dimension of a tensor must begin at a multiple of `bytes`.
  mutating func requireAligned(_ name: String, _ view: TensorView, bytes: Int) {
    require(
      view.address % UInt(bytes) == 0, "\(name) must start at a multiple of \(bytes) bytes",
      found: "an address ending in \(view.address % 16)")
    for (extent, stride) in zip(view.shape, view.strides).dropLast() where extent > 1 {
      require(
        (stride * view.scalarType.byteCount).isMultiple(of: bytes),
        "strides of \(name) must be multiples of \(bytes) bytes",
        found: "\(stride * view.scalarType.byteCount)")
    }
  }
}

extension TensorView {
  /// Address as launches take it.
  var launchAddress: UInt64 { UInt64(address) }

  /// Bytes between neighbours along an axis; 0 where there are none.
  func launchStride(_ axis: Int) -> LaunchValue {
    .u64(UInt64(shape[axis] > 1 ? strides[axis] * scalarType.byteCount : 0))
  }
}

/// The greatest power of two that is at most `value`, at least 1.
func powerOfTwo(atMost value: Int) -> Int {
  value < 1 ? 1 : 1 << (Int.bitWidth - 1 - value.leadingZeroBitCount)
}

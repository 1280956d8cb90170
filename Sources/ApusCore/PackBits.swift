/// Packing of booleans into bits, in segments that each start on a byte boundary.
public struct PackBitsArguments: Sendable, Hashable {
  /// Booleans, u8 `[count]`, 0 or not 0, contiguous.
  public var flags: TensorView
  /// Packed bits, u8 `[bytes]`, contiguous; unused bits of a last byte are 0.
  public var packed: TensorView
  /// Element offsets of the segments; one segment for plain packing.
  public var indptr: RaggedIndptr
  /// Bit order.
  public var bitOrder: BitOrder

  /// Segmented packing.
  public init(flags: TensorView, packed: TensorView, indptr: RaggedIndptr, bitOrder: BitOrder) {
    self.flags = flags
    self.packed = packed
    self.indptr = indptr
    self.bitOrder = bitOrder
  }

  /// Plain packing of all `count` flags.
  public init(flags: TensorView, packed: TensorView, bitOrder: BitOrder) {
    self.init(
      flags: flags, packed: packed, indptr: RaggedIndptr([0, flags.shape.first ?? 0]),
      bitOrder: bitOrder)
  }

  /// Byte offsets of the packed segments: segment `r` has `⌈length / 8⌉` bytes.
  public static func byteIndptr(_ indptr: RaggedIndptr) -> RaggedIndptr {
    RaggedIndptr(
      lengths: (0..<indptr.batch).map { r in
        let bits = indptr.length(r)
        return bits / 8 + (bits % 8 > 0 ? 1 : 0)
      })
  }

  /// Checks offsets and tensors.
  ///
  /// - Throws: `ArgumentError` with every violation; nothing has been written.
  public func validate(memory: MemorySpace, operation: String) throws(ArgumentError) {
    var validator = Validator(operation)
    for (name, view) in [("flags", flags), ("packed", packed)] {
      validator.require(
        view.memory == memory, "\(name) must live in \(memory) memory", found: "\(view.memory)")
    }
    validator.requireTensor("flags", flags, [.u8], shape: [nil])
    if validator.requireIndptr("indptr", indptr) {
      validator.require(
        indptr.end <= flags.shape.first ?? 0, "indptr must end within the flags",
        found: "\(indptr.end) of \(flags.shape.first ?? 0)")
      validator.requireTensor(
        "packed", packed, [.u8], shape: [Self.byteIndptr(indptr).end], isOutput: true)
    }
    try validator.finish()
  }
}

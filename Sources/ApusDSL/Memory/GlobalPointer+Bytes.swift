extension GlobalPointer {
  /// A pointer from an address in bytes, for layouts whose strides are known at launch only.
  public init(address: Value<U64>) { self.init(address: address, offset: 0) }

  /// The address `bytes` further on; the caller keeps elements aligned.
  public func advanced(bytes: Value<U64>) -> GlobalPointer {
    GlobalPointer(address: address + bytes, offset: offset)
  }

  /// The address `bytes` further on, an immediate of the instruction.
  public func advanced(bytes: Int) -> GlobalPointer {
    GlobalPointer(address: address, offset: offset + bytes)
  }
}

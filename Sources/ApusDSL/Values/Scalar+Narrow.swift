public import ApusIR

// Elements that are narrower in memory than the register they travel in: a load extends them, a
// store keeps their low bits.

/// 8 bits of memory in a 32-bit register, zeros above: bytes, FP8 codes one at a time.
public enum U8: WordScalar {
  /// `u32`.
  public static let type = ValueType.u32
  /// 8 bits, extended by zeros.
  public static let memoryElement = Op.MemoryElement.b8
}

/// 8 bits of memory in a 32-bit register, the sign above.
public enum S8: WordScalar {
  /// `s32`.
  public static let type = ValueType.s32
  /// 8 bits, extended by the sign.
  public static let memoryElement = Op.MemoryElement.s8
}

/// 16 bits of memory in a 32-bit register, the sign above.
public enum S16: WordScalar {
  /// `s32`.
  public static let type = ValueType.s32
  /// 16 bits, extended by the sign.
  public static let memoryElement = Op.MemoryElement.s16
}

/// 16 bits of memory in a 32-bit register, zeros above. `U16` keeps a 16-bit register.
public enum U16Word: WordScalar {
  /// `u32`.
  public static let type = ValueType.u32
  /// 16 bits, extended by zeros.
  public static let memoryElement = Op.MemoryElement.b16
}

extension Value where T == U8 {
  /// The register; no instruction.
  public var word: Value<U32> { retyped() }
}

extension Value where T == U16Word {
  /// The register; no instruction.
  public var word: Value<U32> { retyped() }
}

extension Value where T == S8 {
  /// The register; no instruction.
  public var word: Value<S32> { retyped() }
}

extension Value where T == S16 {
  /// The register; no instruction.
  public var word: Value<S32> { retyped() }
}

extension Value where T == U32 {
  /// The low 8 bits, for a store; no instruction.
  public var byte: Value<U8> { retyped() }
  /// The low 16 bits, for a store; no instruction.
  public var half: Value<U16Word> { retyped() }
}

extension Value where T == S32 {
  /// The low 8 bits, for a store; no instruction.
  public var byte: Value<S8> { retyped() }
  /// The low 16 bits, for a store; no instruction.
  public var half: Value<S16> { retyped() }
}

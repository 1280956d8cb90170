extension ElementType {
  /// Fields and codes of the type.
  @inlinable public var format: MiniFloatFormat {
    switch self {
    case .f32: .binary32
    case .f16: .binary16
    case .bf16: .bfloat16
    case .e4m3: .e4m3
    case .e5m2: .e5m2
    }
  }

  /// The element `index` elements after `base`, exactly; no alignment is needed.
  ///
  /// - Precondition: the bytes of that element are readable.
  @inlinable
  public func load(_ base: UnsafeRawPointer, at index: Int) -> Float {
    switch self {
    case .f32: base.loadUnaligned(fromByteOffset: index * 4, as: Float.self)
    case .f16: load(base, index, as: Half.self)
    case .bf16: load(base, index, as: BFloat16.self)
    case .e4m3: load(base, index, as: Float8E4M3.self)
    case .e5m2: load(base, index, as: Float8E5M2.self)
    }
  }

  /// Rounds `value` to nearest even and writes it `index` elements after `base`; no alignment is
  /// needed.
  ///
  /// An f32 element receives the bits of `value` under either rule: nothing is narrowed.
  ///
  /// - Precondition: the bytes of that element are writable.
  @inlinable
  public func store(
    _ value: Float, to base: UnsafeMutableRawPointer, at index: Int,
    overflow: OverflowRule = .saturate
  ) {
    if self == .f32 {
      base.storeBytes(of: value, toByteOffset: index * 4, as: Float.self)
    } else {
      store(code: format.encode(value, overflow: overflow), to: base, at: index)
    }
  }

  /// Rounds `value` to nearest even in one step and writes it `index` elements after `base`; no
  /// alignment is needed. f32, the working precision, overflows to infinity under either rule.
  ///
  /// - Precondition: the bytes of that element are writable.
  @inlinable
  public func store(
    _ value: Double, to base: UnsafeMutableRawPointer, at index: Int,
    overflow: OverflowRule = .saturate
  ) {
    let rule = self == .f32 ? .nonSaturating : overflow
    store(code: format.encode(value, overflow: rule), to: base, at: index)
  }

  @inlinable
  func load<Element: MiniFloat>(
    _ base: UnsafeRawPointer, _ index: Int, as type: Element.Type
  ) -> Float {
    let offset = index * MemoryLayout<Element.BitPattern>.size
    return Element(
      bitPattern: base.loadUnaligned(fromByteOffset: offset, as: Element.BitPattern.self)
    ).float
  }

  @inlinable
  func store(code: UInt32, to base: UnsafeMutableRawPointer, at index: Int) {
    switch byteCount {
    case 1:
      base.storeBytes(of: UInt8(truncatingIfNeeded: code), toByteOffset: index, as: UInt8.self)
    case 2:
      base.storeBytes(
        of: UInt16(truncatingIfNeeded: code), toByteOffset: index * 2, as: UInt16.self)
    default: base.storeBytes(of: code, toByteOffset: index * 4, as: UInt32.self)
    }
  }
}

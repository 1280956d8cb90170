/// Values of all 256 codes of the 8-bit types: one load per element, no branches.
private enum WideningTable {
  static let e4m3 = values(of: Float8E4M3.self)
  static let e5m2 = values(of: Float8E5M2.self)

  private static func values<Element: MiniFloat>(of type: Element.Type) -> [Float]
  where Element.BitPattern == UInt8 {
    (0...UInt8.max).map { Element(bitPattern: $0).float }
  }
}

extension ElementType {
  /// Writes the exact values of all elements in `source`: `destination[i] = float(source[i])`.
  ///
  /// No alignment of `source` is needed. The buffers must not overlap.
  ///
  /// - Throws: `ConversionError.widenSizeMismatch` unless `source` holds exactly
  ///   `destination.count` elements; nothing is written then.
  public func widen(
    _ source: UnsafeRawBufferPointer, into destination: UnsafeMutableBufferPointer<Float>
  ) throws(ConversionError) {
    guard holds(destination.count, byteCount: source.count) else {
      throw .widenSizeMismatch(
        type: self, sourceByteCount: source.count, destinationCount: destination.count)
    }
    // An empty buffer may have no address.
    guard let input = source.baseAddress, !destination.isEmpty else { return }
    switch self {
    case .f32: UnsafeMutableRawBufferPointer(destination).copyMemory(from: source)
    case .f16: Half.widen(input, into: destination)
    case .bf16: BFloat16.widen(input, into: destination)
    case .e4m3: WideningTable.e4m3.lookUp(source, into: destination)
    case .e5m2: WideningTable.e5m2.lookUp(source, into: destination)
    }
  }

  /// Rounds all elements of `source` to nearest even: `destination[i] = narrow(source[i])`.
  ///
  /// Each element is written as `store(_:to:at:overflow:)` does. No alignment of `destination` is
  /// needed. The buffers must not overlap.
  ///
  /// - Throws: `ConversionError.narrowSizeMismatch` unless `destination` holds exactly
  ///   `source.count` elements; nothing is written then.
  public func narrow(
    _ source: UnsafeBufferPointer<Float>, into destination: UnsafeMutableRawBufferPointer,
    overflow: OverflowRule = .saturate
  ) throws(ConversionError) {
    guard holds(source.count, byteCount: destination.count) else {
      throw .narrowSizeMismatch(
        type: self, sourceCount: source.count, destinationByteCount: destination.count)
    }
    guard let output = destination.baseAddress, !source.isEmpty else { return }
    switch self {
    case .f32:
      for index in source.indices {
        ElementType.f32.store(source[index], to: output, at: index, overflow: overflow)
      }
    case .f16: Half.narrow(source, into: output, overflow: overflow)
    case .bf16: BFloat16.narrow(source, into: output, overflow: overflow)
    case .e4m3: Float8E4M3.narrow(source, into: output, overflow: overflow)
    case .e5m2: Float8E5M2.narrow(source, into: output, overflow: overflow)
    }
  }

  /// Divides rather than multiplies: a caller's count cannot overflow it.
  private func holds(_ count: Int, byteCount bytes: Int) -> Bool {
    bytes / byteCount == count && bytes % byteCount == 0
  }
}

extension [Float] {
  fileprivate func lookUp(
    _ source: UnsafeRawBufferPointer, into destination: UnsafeMutableBufferPointer<Float>
  ) {
    withUnsafeBufferPointer { table in
      for index in source.indices {
        destination[index] = table[Int(source[index])]
      }
    }
  }
}

extension MiniFloat {
  fileprivate static func widen(
    _ source: UnsafeRawPointer, into destination: UnsafeMutableBufferPointer<Float>
  ) {
    let stride = MemoryLayout<BitPattern>.size
    for index in destination.indices {
      let code = source.loadUnaligned(fromByteOffset: index &* stride, as: BitPattern.self)
      destination[index] = Self(bitPattern: code).float
    }
  }

  fileprivate static func narrow(
    _ source: UnsafeBufferPointer<Float>, into destination: UnsafeMutableRawPointer,
    overflow: OverflowRule
  ) {
    let stride = MemoryLayout<BitPattern>.size
    for index in source.indices {
      let code = Self(source[index], overflow: overflow).bitPattern
      destination.storeBytes(of: code, toByteOffset: index &* stride, as: BitPattern.self)
    }
  }
}

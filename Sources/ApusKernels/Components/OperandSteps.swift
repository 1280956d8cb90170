internal import ApusDSL
internal import ApusIR

/// Matrix descriptors of one swizzled tile, stepped by adding to the low word.
///
/// Only the start address of the operands of a product changes; everything else is constant. The
/// low word is computed once, before the loop, so that each product costs one addition.
struct OperandSteps {
  private let low: Value<U32>
  private let high: Value<U32>
  private let major: OperandMajor
  private let rowBytes: Int
  private let panelBytes: Int

  /// Descriptors of a tile; an MN-major one starts at a panel.
  init<T: MatrixScalar>(_ block: Block, _ tile: SharedTile<T>, _ major: OperandMajor) {
    let layout = MatrixDescriptor(
      start: 0, leadingOffset: major == .k ? 16 : tile.panelBytes,
      strideOffset: 8 * tile.rowBytes, swizzle: tile.swizzle)
    // In a cluster the top byte of a shared address is the block's rank: not part of a descriptor.
    low =
      ((tile.address & 0x3FFFF) >> 4) + Int(UInt32(truncatingIfNeeded: layout.bits))
    high = block.constant(Int(layout.bits >> 32), as: U32.self)
    self.major = major
    rowBytes = tile.rowBytes
    panelBytes = tile.panelBytes
  }

  private init(_ steps: OperandSteps, low: Value<U32>) {
    self.low = low
    high = steps.high
    major = steps.major
    rowBytes = steps.rowBytes
    panelBytes = steps.panelBytes
  }

  /// The same operand `index` times `bytes` behind.
  func advanced(by index: Value<U32>, times bytes: Int) -> OperandSteps {
    OperandSteps(self, low: index * (bytes >> 4) + low)
  }

  /// The descriptor of inner indices 16 · step …: 32 bytes on along K, or 16 rows.
  subscript(step: Int) -> Value<U64> {
    let stepsOfPanel = rowBytes / 32
    let bytes =
      major == .k
      ? step / stepsOfPanel * panelBytes + step % stepsOfPanel * 32 : step * 16 * rowBytes
    return (bytes == 0 ? low : low + (bytes >> 4)).packed(high: high)
  }
}

public import ApusIR

/// A matrix in shared memory that knows where its elements are.
///
/// Without a swizzle, rows follow each other, `padding` elements apart. With one, the tile is split
/// into panels of `swizzle.rowBytes` columns, as tensor copies with that box width lay it out;
/// element (r, c) of panel p = c ÷ panelColumns is at p · panelBytes + r · rowBytes + the column's
/// bytes, chunk bits XORed with the row as `Swizzle` says. `wgmma`, `ldmatrix` and tensor maps
/// agree on that.
public struct SharedTile<T: DataScalar>: SharedRegion {
  let id: SharedID
  let emitter: Emitter
  /// Where the tile begins within its allocation.
  let base: Value<U32>?
  /// Rows.
  public let rows: Int
  /// Columns; a multiple of `panelColumns` if swizzled.
  public let columns: Int
  /// Chunk permutation.
  public let swizzle: Swizzle
  /// Elements between rows; 0 with a swizzle.
  public let padding: Int

  /// Bytes of an element.
  public static var stride: Int { T.type.isPacked ? T.byteCount / 2 : T.byteCount }
  /// The allocation.
  public var allocation: SharedID { id }
  /// Columns that lie next to each other: the width of a tensor map's box.
  public var panelColumns: Int { swizzle == .none ? columns : swizzle.rowBytes / Self.stride }
  /// Bytes from a row to the next one of the panel.
  public var rowBytes: Int {
    swizzle == .none ? (columns + padding) * Self.stride : swizzle.rowBytes
  }
  /// Bytes of a panel.
  public var panelBytes: Int { rows * rowBytes }
  /// Bytes of the tile.
  public var byteCount: Int { max(1, columns / max(1, panelColumns)) * panelBytes }
  /// Bytes that a tensor copy of the whole tile announces.
  public var transactionBytes: Int { rows * columns * Self.stride }

  /// The tile's first byte.
  public var address: Value<U32> {
    base ?? emitter.value(.memory(.sharedAddress(id, offset: 0)))
  }

  /// The address of an element, row and column in run-time values.
  public subscript(row: Value<U32>, column: Value<U32>) -> SharedPointer<T> {
    let bytes = column * Self.stride
    if swizzle == .none {
      return SharedPointer(address: row * rowBytes + bytes + address, offset: 0)
    }
    // Tiles and panels start at multiples of the atom, so the row alone decides the permutation:
    // address bits 7… are those of row · rowBytes.
    let chunk = (row >> (7 - rowBytes.trailingZeroBitCount) & (rowBytes / 16 - 1)) << 4
    let start = row * rowBytes + address
    if columns == panelColumns { return SharedPointer(address: start + (bytes ^ chunk), offset: 0) }
    let within = (bytes & (rowBytes - 1)) ^ chunk
    let panel = column >> panelColumns.trailingZeroBitCount
    return SharedPointer(address: panel * panelBytes + start + within, offset: 0)
  }

  /// The address of an element known now.
  public subscript(row: Int, column: Int) -> SharedPointer<T> {
    if row < 0 || row >= rows || column < 0 || column >= columns {
      emitter.fail(
        "SharedTile: element must be in \(rows) × \(columns); found (\(row), \(column)).")
    }
    return SharedPointer(address: address, offset: byteOffset(row: row, column: column))
  }

  /// Bytes of an element from the tile's start.
  public func byteOffset(row: Int, column: Int) -> Int {
    let panel = column / max(1, panelColumns)
    let plain = panel * panelBytes + row * rowBytes + column % max(1, panelColumns) * Self.stride
    return swizzle == .none ? plain : swizzle.apply(plain)
  }
}

/// Which index of a `wgmma` operand is contiguous in a shared tile.
public enum OperandMajor: Sendable, Hashable {
  /// k: rows of the tile are m or n, columns are k.
  case k
  /// m or n: rows of the tile are k, columns are m or n.
  case mn
}

extension SharedTile {
  /// The `wgmma` descriptor of the operand that starts at an element.
  ///
  /// - Parameters:
  ///   - row: a multiple of 8.
  ///   - column: of a K-major tile any multiple of 16 bytes, of an MN-major one of a panel.
  public func descriptor(row: Int = 0, column: Int = 0, _ major: OperandMajor) -> Value<U64> {
    if swizzle == .none || T.type.bitWidth != 16 && T.type.bitWidth != 32 {
      emitter.fail(
        "descriptor: tile must have a swizzle and 16- or 32-bit elements; found \(swizzle), "
          + "\(T.type).")
    }
    let isAligned = major == .k ? column * Self.stride % 16 == 0 : column % panelColumns == 0
    if row % 8 != 0 || !isAligned {
      emitter.fail(
        "descriptor: must start at a multiple of 8 rows and of 16 bytes (K-major) or of a panel "
          + "(MN-major); found row \(row), column \(column).")
    }
    let panel = column / max(1, panelColumns)
    let offset =
      panel * panelBytes + row * rowBytes + column % max(1, panelColumns) * Self.stride
    let layout = MatrixDescriptor(
      start: 0, leadingOffset: major == .k ? 16 : panelBytes, strideOffset: 8 * rowBytes,
      swizzle: swizzle)
    // Steps along a tile only add to the start, so all descriptors of it share one base. In a
    // cluster the address's top byte is the block's rank: it must not reach the leading offset.
    let base = (address & 0x3FFFF) >> 4 | Int(UInt32(truncatingIfNeeded: layout.bits))
    let low = offset == 0 ? base : base + offset / 16
    let high = Value<U32>(
      operand: .constant(.u32(UInt32(truncatingIfNeeded: layout.bits >> 32))), emitter: emitter)
    return low.packed(high: high)
  }
}

extension Block {
  /// Shared memory for a matrix, aligned for its swizzle.
  ///
  /// - Parameter region: where to lie instead of behind all earlier allocations: over one whose
  ///   contents are spent by then. Its start must suit the swizzle.
  public func tile<T: DataScalar>(
    _ name: String, _ type: T.Type, rows: Int, columns: Int, swizzle: Swizzle = .none,
    padding: Int = 0, over region: (any SharedRegion)? = nil, file: String = #fileID,
    line: Int = #line
  ) -> SharedTile<T> {
    tiles(
      name, type, count: 1, rows: rows, columns: columns, swizzle: swizzle, padding: padding,
      over: region, file: file, line: line
    ).first
  }

  /// Shared memory for equal matrices one after another: the stages of a ring.
  public func tiles<T: DataScalar>(
    _ name: String, _ type: T.Type, count: Int, rows: Int, columns: Int,
    swizzle: Swizzle = .none, padding: Int = 0, over region: (any SharedRegion)? = nil,
    file: String = #fileID, line: Int = #line
  ) -> SharedTiles<T> {
    let stride = SharedTile<T>.stride
    let width = swizzle.rowBytes / stride
    require(
      rows > 0 && columns > 0 && count > 0 && padding >= 0,
      "tile: rows, columns and count must be positive; found \(count) × \(rows) × \(columns).",
      file: file, line: line)
    if swizzle != .none {
      require(
        columns % width == 0 && rows % 8 == 0 && padding == 0,
        "tile: swizzled rows must be a multiple of 8, columns of \(width), without padding; "
          + "found \(rows) × \(columns), padding \(padding).", file: file, line: line)
    }
    let layout = SharedTile<T>(
      id: SharedID(0), emitter: emitter, base: nil, rows: rows, columns: columns,
      swizzle: swizzle, padding: padding)
    let id = emitter.builder.addShared(
      name: name, byteCount: max(0, count * layout.byteCount), alignment: swizzle.atomBytes,
      at: region.map { emitter.builder.tables.shared[$0.allocation.index].offset })
    let first = SharedTile<T>(
      id: id, emitter: emitter, base: nil, rows: rows, columns: columns, swizzle: swizzle,
      padding: padding)
    return SharedTiles(first: first, count: count)
  }
}

/// Equal tiles one after another.
public struct SharedTiles<T: DataScalar>: SharedRegion {
  /// Tile 0.
  public let first: SharedTile<T>
  /// How many.
  public let count: Int
  /// The allocation of all.
  public var allocation: SharedID { first.id }

  /// Tile `index`, known now.
  public subscript(index: Int) -> SharedTile<T> {
    if index < 0 || index >= count {
      first.emitter.fail("SharedTiles: index must be in 0..<\(count); found \(index).")
    }
    if index == 0 { return first }
    return SharedTile(
      id: first.id, emitter: first.emitter,
      base: first.emitter.value(
        .memory(.sharedAddress(first.id, offset: index * first.byteCount))),
      rows: first.rows, columns: first.columns, swizzle: first.swizzle, padding: first.padding)
  }

  /// Tile `index`, which is below `count`.
  public subscript(index: Value<U32>) -> SharedTile<T> {
    SharedTile(
      id: first.id, emitter: first.emitter, base: index * first.byteCount + first.address,
      rows: first.rows, columns: first.columns, swizzle: first.swizzle, padding: first.padding)
  }
}

public import ApusIR

/// The A operand of a warpgroup product.
public enum WarpgroupOperand<T: WordScalar> {
  /// A tile in shared memory, from `SharedTile.descriptor`.
  case shared(Value<U64>)
  /// Four registers of a fragment.
  case registers([Value<T>])
  /// Four variables of a fragment, themselves rather than copies: they rest until the product's
  /// group is waited for.
  case variables([Variable<T>])
}

extension Block {
  // MARK: - Fragments

  /// Loads 1, 2 or 4 matrices of 8 × 8 16-bit elements; lane 8i + r gives row r of matrix i.
  public func ldmatrix<T: WordScalar, E: DataScalar>(
    _ source: SharedPointer<E>, count: Int, isTransposed: Bool = false, as type: T.Type,
    file: String = #fileID, line: Int = #line
  ) -> [Value<T>] {
    let access = Op.MatrixAccess(
      count: count, isTransposed: isTransposed, offset: source.offset)
    return emitter.values(
      .tensorCore(.ldmatrix(access)), [source.address.operand], count: max(0, count),
      at: emitter.settle(file, line))
  }

  /// The inverse of `ldmatrix`; sm_90a.
  public func stmatrix<T: WordScalar, E: DataScalar>(
    _ values: [Value<T>], to destination: SharedPointer<E>, isTransposed: Bool = false,
    file: String = #fileID, line: Int = #line
  ) {
    let access = Op.MatrixAccess(
      count: values.count, isTransposed: isTransposed, offset: destination.offset)
    emitter.perform(
      .tensorCore(.stmatrix(access)), [destination.address.operand] + values.map { $0.operand },
      at: emitter.settle(file, line))
  }

  /// The 16 × 16 A fragment at (row, k) of a tile with rows m and columns k.
  public func fragmentA<T: PairScalar, E: DataScalar>(
    _ tile: SharedTile<E>, row: Value<U32>, k: Value<U32>, as type: T.Type,
    file: String = #fileID, line: Int = #line
  ) -> [Value<T>] {
    // Matrices 0…3: (rows 0–7, k 0–7), (8–15, 0–7), (0–7, 8–15), (8–15, 8–15).
    let source = tile[row + (laneIndex & 15), k + (laneIndex >> 1 & 8)]
    return ldmatrix(source, count: 4, as: type, file: file, line: line)
  }

  /// The 16 × 8 B fragment at (k, column) of a tile with rows n and columns k.
  public func fragmentB<T: PairScalar, E: DataScalar>(
    _ tile: SharedTile<E>, column: Value<U32>, k: Value<U32>, as type: T.Type,
    file: String = #fileID, line: Int = #line
  ) -> [Value<T>] {
    let source = tile[column + (laneIndex & 7), k + (laneIndex & 8)]
    return ldmatrix(source, count: 2, as: type, file: file, line: line)
  }

  /// The 16 × 8 B fragment at (k, column) of a tile with rows k and columns n.
  public func fragmentBTransposed<T: PairScalar, E: DataScalar>(
    _ tile: SharedTile<E>, column: Value<U32>, k: Value<U32>, as type: T.Type,
    file: String = #fileID, line: Int = #line
  ) -> [Value<T>] {
    let source = tile[k + (laneIndex & 15), column]
    return ldmatrix(source, count: 2, isTransposed: true, as: type, file: file, line: line)
  }

  // MARK: - Products

  /// D = A · B + D for 16 rows and 8 columns of a tile, by one warp.
  public func mma<T: PairScalar>(
    into tile: RegisterTile, band: Int = 0, column: Int, a: [Value<T>], b: [Value<T>],
    file: String = #fileID, line: Int = #line
  ) {
    mma(
      into: tile, band: band, column: column, a: a, b: b, shape: Op.MMAShape(T.element),
      file: file, line: line)
  }

  /// D = A · B + D with any shape: TF32 and FP8 operands are raw words.
  public func mma<T: WordScalar>(
    into tile: RegisterTile, band: Int = 0, column: Int, a: [Value<T>], b: [Value<T>],
    shape: Op.MMAShape, file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    guard (0..<tile.rows / 16).contains(band), column % 8 == 0,
      (0..<tile.columns).contains(column), shape.accumulator == .f32
    else {
      emitter.fail(
        "mma: must accumulate binary32 in 16 × 8 of \(tile.rows) × \(tile.columns); found band "
          + "\(band), column \(column), \(shape.accumulator).", at: location)
      return
    }
    let registers = Array(tile.band(band))[column / 2..<column / 2 + 4]
    emitter.builder.accumulate(
      .mma(shape), into: registers.map { $0.id }, (a + b).map { $0.operand }, at: location)
  }

  /// D = A · B + (`accumulates` ? D : 0) by a warpgroup, asynchronously: `wgmmaFence` before,
  /// `wgmmaCommit` and `wgmmaWait` after, and no touch of the tile in between.
  ///
  /// - Parameter tile: 16 rows per warp, 64 in all; its columns are n.
  public func wgmma<T: WordScalar>(
    into tile: RegisterTile, a: WarpgroupOperand<T>, b: Value<U64>, element: Op.MatrixElement,
    bElement: Op.MatrixElement? = nil, accumulates: Value<Pred>? = nil,
    transposesA: Bool = false, transposesB: Bool = false, negatesA: Bool = false,
    negatesB: Bool = false, file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    if tile.rows != 16 {
      emitter.fail(
        "wgmma: tile must have 16 rows per warp; found \(tile.rows).", at: location)
    }
    let operands = a.operands + [b.operand, accumulates?.operand ?? .constant(.pred(true))]
    let inRegisters = if case .shared = a { false } else { true }
    let shape = Op.WGMMAShape(
      n: tile.columns, element, bElement, aInRegisters: inRegisters, transposesA: transposesA,
      transposesB: transposesB, negatesA: negatesA, negatesB: negatesB)
    emitter.builder.accumulate(
      .wgmma(shape), into: tile.band(0).map { $0.id }, operands, at: location)
  }

  /// Orders register accesses before following warpgroup products.
  public func wgmmaFence(file: String = #fileID, line: Int = #line) {
    emitter.perform(.tensorCore(.wgmmaFence), at: emitter.settle(file, line))
  }

  /// Closes the group of all warpgroup products since the last one.
  @discardableResult
  public func wgmmaCommit(file: String = #fileID, line: Int = #line) -> GroupToken {
    emitter.perform(.tensorCore(.wgmmaCommit), at: emitter.settle(file, line))
    return emitter.commit(.products)
  }

  /// Blocks until at most `pending` of the newest groups are incomplete.
  public func wgmmaWait(pending: Int = 0, file: String = #fileID, line: Int = #line) {
    emitter.perform(
      .tensorCore(.wgmmaWait(pending: pending)), at: emitter.settle(file, line))
  }
}

internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// Values that some rows of a step see and others do not.
///
/// Vᵀ·Pᵀ adds p · v for every row, with p = 0 where the row does not see the key: nothing, unless v is
/// NaN or infinite, for 0 · NaN and 0 · ∞ are NaN. Only steps that some row sees in part are looked
/// at, and only the keys there that not all rows see. Where such a value is found, the rows that see
/// it get p · v without tensor cores, and V in shared memory gets 0 in its place. All other terms stay
/// as they are, so that what is hidden changes no bit.
extension DecodeState {
  /// Looks for such values in a step whose scores are masked, and takes them out of its V tiles.
  func excludeHiddenValues(
    _ stage: Value<U32>, _ scores: [[[Variable<F32>]]], _ range: DecodeRange
  ) {
    block.when(range.mixesRows, .uniform) {
      let found = block.variable(0, as: U32.self, "special")
      forEachMixedChunk(stage, range) { place in
        for word in block.load(place, count: 4) {
          block.assign(found, found.value | specials(word))
        }
      }
      block.when(block.any(found.value != 0), .uniform) {
        block.phase("values that are not finite, by row")
        for rowTile in 0..<kernel.rowTiles {
          // What follows the branch finds R raised already: its factor is 1.
          rescale(rowTile, scores)
          block.loop(
            from: context.u32(0), to: context.u32(16 * kernel.tilesPerStep), form: .rolled,
            name: "token"
          ) { token in
            block.when(range.isMixed(token), .uniform) {
              addSpecials(stage, token, rowTile, scores, range)
            }
          }
        }
        block.syncWarp()
        forEachMixedChunk(stage, range) { place in
          let words = block.load(place, count: 4)
          block.store(words.map { $0 & (spread(specials($0)) ^ 0xFFFF_FFFF) }, to: place)
        }
        // Steps that intervals cut end so in any case.
        if range.masksEveryStep { orderStores() }
      }
    }
  }

  /// Calls `body` with the lane's 16-byte chunks of V whose token not all rows see.
  private func forEachMixedChunk(
    _ stage: Value<U32>, _ range: DecodeRange, _ body: (_ place: SharedPointer<U32>) -> Void
  ) {
    for index in 0..<kernel.tilesPerStep {
      tile.forEachChunk(stage, bytes: valueBytes + index * kernel.tileBytes) { row, place in
        block.when(range.isMixed(row + 16 * index)) { body(place) }
      }
    }
  }

  /// Bytes from a step's start to its V tiles.
  private var valueBytes: Int { kernel.stageBytes / 2 }

  // MARK: - Bits

  /// The elements of a word that are not finite, as their sign bits; any other bit is 0.
  ///
  /// One more than the exponent of all ones carries into the sign; e4m3 has but one such magnitude.
  private func specials(_ word: Value<U32>) -> Value<U32> {
    let (exponent, unit): (Int, Int) =
      switch kernel.cacheType {
      case .f16: (0x7C00_7C00, 0x0400_0400)
      case .e5m2: (0x7C7C_7C7C, 0x0404_0404)
      case .e4m3: (0x7F7F_7F7F, 0x0101_0101)
      case .bf16, .f32: (0x7F80_7F80, 0x0080_0080)
      }
    let carry = (word & context.u32(exponent)) + context.u32(unit)
    return carry & context.u32(kernel.isFP8 ? 0x8080_8080 : 0x8000_8000)
  }

  /// Elements of all ones where the sign bits are set.
  private func spread(_ signs: Value<U32>) -> Value<U32> {
    kernel.isFP8 ? (signs >> 7) * 0xFF : (signs >> 15) * 0xFFFF
  }

  // MARK: - Sums

  /// Adds p · v of a token to the lane's rows that see it, for its elements that are not finite.
  private func addSpecials(
    _ stage: Value<U32>, _ token: Value<U32>, _ rowTile: Int, _ scores: [[[Variable<F32>]]],
    _ range: DecodeRange
  ) {
    let columns = (0..<2).map { column in
      (
        weight: weight(token, rowTile, column, scores),
        isVisible: range.isVisible(token, row: 2 * rowTile + column)
      )
    }
    let row = place(stage, token)
    for band in 0..<kernel.bands {
      for (half, value) in row.elements(band).enumerated() {
        let isSpecial = (value.bitcast(to: U32.self) << 1) >= 0xFF00_0000
        for (column, term) in columns.enumerated() {
          let sum = sums[rowTile][band][column + 2 * half]
          block.assign(
            sum,
            select(isSpecial & term.isVisible, fma(term.weight, value, sum.value), sum.value))
        }
      }
    }
  }

  /// p of a token of the step in one of the lane's columns.
  private func weight(
    _ token: Value<U32>, _ rowTile: Int, _ column: Int, _ scores: [[[Variable<F32>]]]
  ) -> Value<F32> {
    // Tokens g and g + 8 of each tile are lanes' own: which of these it is, then whose.
    let own = scores.flatMap { [$0[rowTile][column].value, $0[rowTile][column + 2].value] }
    let score = own.enumerated().dropFirst().reduce(own[0]) {
      select((token >> 3) == $1.offset, $1.element, $0)
    }
    let power = ex2(
      fma(score, scale(rowTile, column), -references[rowTile][column].value))
    return block.shuffle(power, from: ((token & 7) << 2) + context.thread)
  }

  /// Where a token's V lies.
  private func place(_ stage: Value<U32>, _ token: Value<U32>) -> DecodeValueRow {
    let rowBytes = kernel.swizzle.rowBytes
    let row = token & 15
    return DecodeValueRow(
      context: context,
      address: stage + (token >> 4) * kernel.tileBytes + row * rowBytes,
      bytes: valueBytes,
      phase: (row >> (7 - rowBytes.trailingZeroBitCount)) & (rowBytes / 16 - 1))
  }
}

/// V of one token in a swizzled tile.
private struct DecodeValueRow {
  let context: DecodeContext
  let address: Value<U32>
  let bytes: Int
  /// What chunks of a panel are permuted with.
  let phase: Value<U32>

  private var kernel: DecodeKernel { context.kernel }

  /// The lane's two dimensions of a band, as its sums have them: g and g + 8, or 2g and 2g + 1.
  func elements(_ band: Int) -> [Value<F32>] {
    if kernel.isFP8 { return widen(word(chunk: band), count: 2) }
    return [0, 1].flatMap { widen(word(chunk: 2 * band + $0), count: 1) }
  }

  /// Two bytes of a chunk: those at 2g.
  private func word(chunk: Int) -> Value<U32> {
    let chunks = kernel.swizzle.rowBytes / 16
    let panel = bytes + chunk / chunks * 16 * kernel.swizzle.rowBytes
    let place = address + ((phase ^ (chunk % chunks)) << 4) + (context.group << 1)
    return context.block.load(SharedPointer<U16Word>(address: place).advanced(bytes: panel)).word
  }

  private func widen(_ word: Value<U32>, count: Int) -> [Value<F32>] {
    context.block.widen([word], kernel.cacheType, count: count)
  }
}

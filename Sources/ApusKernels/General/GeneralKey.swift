internal import ApusCore
internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// One key of a lane group: its place, and the loads of its row and of its value's.
struct GeneralKey {
  /// Key within the request; behind the last one the last again is loaded.
  let index: Value<U32>
  /// Scales of the token and head, where there are such.
  let keyScale: Value<F32>?
  let valueScale: Value<F32>?
  private let place: [Value<U64>]

  init(
    _ block: Block, _ kernel: GeneralAttentionKernel, _ parameters: GeneralParameters,
    _ tile: GeneralTile, _ index: Value<U32>
  ) {
    self.index = index
    let safe = min(index, tile.keyEnd - 1)
    let head = tile.kvHead.converted(to: U64.self)
    if let pages = parameters.pages, let pageSize = parameters.pageSize {
      let ordinal = safe / pageSize
      let page = block.load(pages[tile.request.firstPage + ordinal.converted(to: U64.self)])
      place = [
        page.converted(to: U64.self), (safe - ordinal * pageSize).converted(to: U64.self), head,
      ]
    } else {
      place = [
        tile.request.outer, (tile.request.firstToken + safe).converted(to: U64.self), head,
      ]
    }
    let place = place
    func scale(_ tensor: RowTensor?) -> Value<F32>? {
      tensor.map { block.load($0.row(place).cast(to: F32.self)) }
    }
    keyScale = scale(parameters.keyTokenScales)
    valueScale = scale(parameters.valueTokenScales)
  }

  /// The lane's words of the key, access after access, each followed by the words of the access
  /// that its pairs lie in where rotation needs one.
  func loadKey(
    _ block: Block, _ kernel: GeneralAttentionKernel, _ parameters: GeneralParameters,
    _ lane: GeneralLane
  ) -> [[Value<U32>]] {
    kernel.loadRow(
      block, parameters.k.map { $0.row(place) }, kernel.types.kv, parameters, lane)
  }

  /// The key as f32, rotated to its position.
  func widenKey(
    _ block: Block, _ kernel: GeneralAttentionKernel, _ parameters: GeneralParameters,
    _ lane: GeneralLane, _ words: [[Value<U32>]]
  ) -> [Value<F32>] {
    kernel.widenRow(
      block, words, kernel.types.kv, parameters, lane, position: index.bitcast(to: S32.self))
  }

  /// The lane's words of the value.
  func loadValue(
    _ block: Block, _ kernel: GeneralAttentionKernel, _ parameters: GeneralParameters,
    _ lane: GeneralLane
  ) -> [[Value<U32>]] {
    let row = parameters.v.row(place)
    let bytes = kernel.width * kernel.types.kv.byteCount
    return (0..<kernel.valueAccesses).map { number in
      let access = lane.access(number)
      return block.loadOrZero(
        row.advanced(bytes: access.multipliedWide(by: bytes)), bytes: bytes,
        when: access < parameters.valueAccesses)
    }
  }
}

/// The packed rows of q in registers, times the scales of q and k.
struct GeneralQueries {
  /// Elements of each row, the lane's share.
  let values: [[Value<F32>]]

  init(
    _ block: Block, _ kernel: GeneralAttentionKernel, _ parameters: GeneralParameters,
    _ tile: GeneralTile, _ lane: GeneralLane
  ) {
    let kScales = parameters.kScales.map { $0.of(block, tile.kvHead) }
    values = (0..<kernel.rows).map { row in
      let head = tile.heads[row]
      let place = [tile.row(row), head.converted(to: U64.self)]
      let words = kernel.loadRow(
        block, parameters.q.map { $0.row(place) }, kernel.types.q, parameters, lane)
      let elements = kernel.widenRow(
        block, words, kernel.types.q, parameters, lane, position: tile.position(row: row))
      let qScale = parameters.qScale.of(block, head)
      let factors = kScales.map { $0 * qScale }
      return elements.enumerated().map { index, element in
        guard factors.count == 2 else { return block.let(element * factors[0]) }
        let isFirst = lane.access(index / kernel.width) < parameters.firstAccesses
        return block.let(element * select(isFirst, factors[0], factors[1]))
      }
    }
  }
}

extension Block {
  /// Words at an address, or zeros without an access of memory.
  func loadOrZero(
    _ source: GlobalPointer<U32>, bytes: Int, when condition: Value<Pred>,
    file: String = #fileID, line: Int = #line
  ) -> [Value<U32>] {
    let words = (0..<max(1, bytes / 4)).map { _ in
      variable(0, as: U32.self, "x", file: file, line: line)
    }
    when(condition, file: file, line: line) {
      let loaded = loadWords(source, bytes: bytes, file: file, line: line)
      for (word, value) in zip(words, loaded) { assign(word, value, file: file, line: line) }
    }
    return words.map(\.value)
  }
}

extension GeneralAttentionKernel {
  /// The lane's accesses to a row of q or k, whose parts begin at `parts`; zeros behind the row.
  func loadRow(
    _ block: Block, _ parts: [GlobalPointer<U32>], _ type: ElementType,
    _ parameters: GeneralParameters, _ lane: GeneralLane
  ) -> [[Value<U32>]] {
    let bytes = width * type.byteCount
    func load(_ access: Value<U32>) -> [Value<U32>] {
      var row = parts[0].advanced(bytes: access.multipliedWide(by: bytes))
      if parts.count == 2 {
        let isFirst = access < parameters.firstAccesses
        let second = parts[1].advanced(
          bytes: (access - parameters.firstAccesses).multipliedWide(by: bytes))
        row = GlobalPointer(address: select(isFirst, row.address, second.address))
      }
      return block.loadOrZero(row, bytes: bytes, when: access < parameters.keyAccesses)
    }
    return (0..<keyAccesses).flatMap { number -> [[Value<U32>]] in
      let access = lane.access(number)
      guard let partner = partner(block, access, parameters) else { return [load(access)] }
      return [load(access), load(partner)]
    }
  }

  /// The access that holds the other halves of an access's pairs, where that is another one; of an
  /// access behind the rotated part any that exists.
  private func partner(
    _ block: Block, _ access: Value<U32>, _ parameters: GeneralParameters
  ) -> Value<U32>? {
    guard let rotated = parameters.rotatedAccesses else { return nil }
    if features.contains(.ropeInterleaved) {
      return width == 1 ? min(access ^ 1, parameters.keyAccesses - 1) : nil
    }
    let half = rotated >> 1
    let other = select(access < half, access + half, access - half)
    return select(access < rotated, other, access)
  }

  /// The f32 elements of what `loadRow` read, rotated to a position.
  func widenRow(
    _ block: Block, _ words: [[Value<U32>]], _ type: ElementType,
    _ parameters: GeneralParameters, _ lane: GeneralLane, position: Value<S32>
  ) -> [Value<F32>] {
    func widen(_ words: [Value<U32>]) -> [Value<F32>] {
      block.widen(words, type, count: width)
    }
    guard let fractions = parameters.fractions, let rotated = parameters.rotatedAccesses else {
      return words.flatMap(widen)
    }
    let magnitude = abs(position).bitcast(to: U32.self)
    let isNegative = position < 0
    let zero = block.constant(0, as: U32.self)
    func angle(_ pair: Value<U32>, _ isRotated: Value<Pred>) -> (Value<F32>, Value<F32>) {
      // Elements that do not turn read pair 0; their result is dropped.
      let index = select(isRotated, pair, zero)
      let fraction = block.load(
        fractions.advanced(bytes: index.multipliedWide(by: 8)), count: 2)
      let (cosine, sine) = block.cosineAndSine(magnitude, (fraction[0], fraction[1]))
      return (cosine, select(isNegative, -sine, sine))
    }
    let perAccess = words.count / keyAccesses
    return (0..<keyAccesses).flatMap { number -> [Value<F32>] in
      let access = lane.access(number)
      let isRotated = access < rotated
      let x = widen(words[number * perAccess])
      if perAccess == 1 {
        // Neighbours in one access.
        return stride(from: 0, to: width, by: 2).flatMap { element -> [Value<F32>] in
          let (cosine, sine) = angle(access * (width / 2) + element / 2, isRotated)
          let (a, b) = (x[element], x[element + 1])
          return [
            select(isRotated, fma(a, cosine, -(b * sine)), a),
            select(isRotated, fma(b, cosine, a * sine), b),
          ]
        }
      }
      let y = widen(words[number * perAccess + 1])
      let half = rotated >> 1
      let isFirst = features.contains(.ropeHalf) ? access < half : (access & 1) == 0
      let base =
        features.contains(.ropeHalf)
        ? select(isFirst, access, access - half) * width : access >> 1
      return x.indices.map { element in
        let (cosine, sine) = angle(base + element, isRotated)
        let product = y[element] * sine
        let turned = fma(x[element], cosine, select(isFirst, -product, product))
        return select(isRotated, turned, x[element])
      }
    }
  }
}

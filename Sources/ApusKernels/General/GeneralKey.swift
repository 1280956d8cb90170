internal import ApusCore
internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// One key of a lane group: its place, and the loads of its row and of its value's.
struct GeneralKey {
  /// Key within the request; behind the last one the last again is loaded.
  let index: Value<U32>
  /// Scales of the token and head, 1 where there are none; nil without options.
  let keyScale: Value<F32>?
  let valueScale: Value<F32>?
  private let place: [Value<U64>]

  /// The keys at indices; their pages are looked up together.
  static func keys(
    _ block: Block, _ parameters: GeneralParameters, _ tile: GeneralTile, _ indices: [Value<U32>]
  ) -> [GeneralKey] {
    let safe = indices.map { min($0, tile.keyEnd - 1) }
    let outer = indices.map { _ in block.variable(tile.request.outer, "outer") }
    let token = safe.map { block.variable(tile.request.firstToken + $0, "token") }
    block.when(parameters.pages.address != 0, .uniform) {
      for (index, key) in safe.enumerated() {
        let ordinal = key / parameters.pageSize
        let entry = tile.request.firstPage + ordinal.converted(to: U64.self)
        block.assign(outer[index], block.load(parameters.pages[entry]))
        block.assign(token[index], key - ordinal * parameters.pageSize)
      }
    }
    return indices.indices.map {
      GeneralKey(
        block, parameters, tile, indices[$0], outer: outer[$0].value, token: token[$0].value)
    }
  }

  private init(
    _ block: Block, _ parameters: GeneralParameters, _ tile: GeneralTile, _ index: Value<U32>,
    outer: Value<U32>, token: Value<U32>
  ) {
    self.index = index
    let place = [outer, token, tile.kvHead].map { $0.converted(to: U64.self) }
    self.place = place
    func scale(_ tensor: RowTensor) -> Value<F32> {
      let scale = block.variable(1, as: F32.self, "tokenScale")
      block.when(tensor.isThere, .uniform) {
        block.assign(scale, block.load(tensor.row(place).cast(to: F32.self)))
      }
      return scale.value
    }
    keyScale = parameters.options.map { scale($0.keyTokenScales) }
    valueScale = parameters.options.map { scale($0.valueTokenScales) }
  }

  /// The lane's words of the key, access after access, each followed by the words of the access
  /// that its pairs lie in where rotation needs one.
  func loadKey(
    _ block: Block, _ kernel: GeneralAttentionKernel, _ parameters: GeneralParameters,
    _ lane: GeneralLane
  ) -> [[Value<U32>]] {
    kernel.accesses(block, parameters, lane).map { access in
      kernel.load(
        block, access, parameters.k.map { $0.row(place) }, kernel.cache, parameters)
    }
  }

  /// The key as f32, rotated to its position.
  func widenKey(
    _ block: Block, _ kernel: GeneralAttentionKernel, _ parameters: GeneralParameters,
    _ lane: GeneralLane, _ words: [[Value<U32>]]
  ) -> [Value<F32>] {
    kernel.rotate(
      block, words.map { block.widen($0, kernel.cache, count: kernel.width) }, parameters, lane,
      position: index.bitcast(to: S32.self))
  }

  /// The lane's words of the value.
  func loadValue(
    _ block: Block, _ kernel: GeneralAttentionKernel, _ parameters: GeneralParameters,
    _ lane: GeneralLane
  ) -> [[Value<U32>]] {
    let row = parameters.v.row(place)
    let bytes = kernel.width * kernel.cache.byteCount
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
      let parts = parameters.q.map { $0.row(place) }
      let shares = kernel.accesses(block, parameters, lane).map { access in
        let share = (0..<kernel.width).map { _ in block.variable(0, as: F32.self, "q") }
        block.whenType(kernel.query, is: parameters.queryType) { type in
          let words = kernel.load(block, access, parts, type, parameters)
          for (element, value) in zip(share, block.widen(words, type, count: kernel.width)) {
            block.assign(element, value)
          }
        }
        return share.map(\.value)
      }
      let elements = kernel.rotate(
        block, shares, parameters, lane, position: tile.position(row: row))
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
  /// The lane's accesses to a row of q or k, each followed by the one that holds the other halves of
  /// its pairs where that may be another one.
  func accesses(
    _ block: Block, _ parameters: GeneralParameters, _ lane: GeneralLane
  ) -> [Value<U32>] {
    (0..<keyAccesses).flatMap { number -> [Value<U32>] in
      let access = lane.access(number)
      return [access] + (parameters.rotation.map { [partner(access, $0, parameters)] } ?? [])
    }
  }

  /// An access to a row of q or k, whose parts begin at `parts`; zeros behind the row.
  func load(
    _ block: Block, _ access: Value<U32>, _ parts: [GlobalPointer<U32>], _ type: ElementType,
    _ parameters: GeneralParameters
  ) -> [Value<U32>] {
    let bytes = width * type.byteCount
    var row = parts[0].advanced(bytes: access.multipliedWide(by: bytes))
    if parts.count == 2 {
      let isFirst = access < parameters.firstAccesses
      let second = parts[1].advanced(
        bytes: (access - parameters.firstAccesses).multipliedWide(by: bytes))
      row = GlobalPointer(address: select(isFirst, row.address, second.address))
    }
    return block.loadOrZero(row, bytes: bytes, when: access < parameters.keyAccesses)
  }

  /// The access that holds the other halves of an access's pairs; of an access behind the rotated
  /// part, and of neighbours in one access, the access itself.
  private func partner(
    _ access: Value<U32>, _ rotation: GeneralRotation, _ parameters: GeneralParameters
  ) -> Value<U32> {
    let half = rotation.accesses >> 1
    let far = select(access < half, access + half, access - half)
    let near = width == 1 ? min(access ^ 1, parameters.keyAccesses - 1) : access
    return select(access < rotation.accesses, select(rotation.isHalf, far, near), access)
  }

  /// The f32 elements of `accesses`, rotated to a position.
  func rotate(
    _ block: Block, _ shares: [[Value<F32>]], _ parameters: GeneralParameters,
    _ lane: GeneralLane, position: Value<S32>
  ) -> [Value<F32>] {
    guard let rotation = parameters.rotation else { return shares.flatMap { $0 } }
    let magnitude = abs(position).bitcast(to: U32.self)
    let isNegative = position < 0
    let zero = block.constant(0, as: U32.self)
    func angle(_ pair: Value<U32>, _ isRotated: Value<Pred>) -> (Value<F32>, Value<F32>) {
      // Elements that do not turn read pair 0; their result is dropped.
      let index = select(isRotated, pair, zero)
      let fraction = block.load(
        rotation.fractions.advanced(bytes: index.multipliedWide(by: 8)), count: 2)
      let (cosine, sine) = block.cosineAndSine(magnitude, (fraction[0], fraction[1]))
      return (cosine, select(isNegative, -sine, sine))
    }
    let half = rotation.accesses >> 1
    return (0..<keyAccesses).flatMap { number -> [Value<F32>] in
      let access = lane.access(number)
      let isRotated = access < rotation.accesses
      let x = shares[2 * number]
      let other = shares[2 * number + 1]
      let isLow = access < half
      let far = select(isLow, access, access - half) * width
      return x.indices.map { element in
        // Pairs of neighbours lie in one access, or in two of one element.
        let near = width == 1 ? access >> 1 : access * (width / 2) + element / 2
        let isEven = width == 1 ? (access & 1) == 0 : block.constant(element % 2 == 0)
        let (cosine, sine) = angle(select(rotation.isHalf, far + element, near), isRotated)
        let neighbour = width == 1 ? other[element] : x[element ^ 1]
        let product = select(rotation.isHalf, other[element], neighbour) * sine
        let isFirst =
          select(
            rotation.isHalf, isLow.word(block), isEven.word(block)) != 0
        let turned = fma(x[element], cosine, select(isFirst, -product, product))
        return select(isRotated, turned, x[element])
      }
    }
  }
}

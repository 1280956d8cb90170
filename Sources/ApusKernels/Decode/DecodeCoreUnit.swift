internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// Ordinary cores: `lanes` lanes share a token, `headDim / lanes` dimensions each, so that a warp has
/// `32 / lanes` tokens of a tile at once. Each such group of lanes has a state of its own, with the
/// state's variables alike in all its lanes but for the dimensions of A; `settle` merges the groups.
///
/// A pair that is not visible executes no operation on A: whatever its value holds does not count.
struct CoreUnit: DecodeUnit {
  let context: DecodeContext
  /// Query rows at once.
  let rows: Int
  /// Lanes of a token, elements of an access to shared memory, accesses of a lane to a row.
  private let lanes, width, accesses: Int
  /// Lane within its group, and which group it is.
  private let member, group: Value<U32>
  /// `[access]`: byte of the lane's access within a tile for the group's first token.
  private let offsets: [Value<U32>]
  /// `[row]`: the lane's elements of q; factor that makes products exponents of 2, or arguments of
  /// the cap.
  private let queries: [[Variable<F32>]]
  private let scales: [Variable<F32>]
  /// `[row]`: A, R and L.
  private let sums: [[Variable<F32>]]
  private let references, weights: [Variable<F32>]

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }
  /// Tokens that a warp has at once.
  private var tokens: Int { warpSize / lanes }

  let codeScale: Float = 1
  var laneRows: [Value<U32>] { (0..<rows).map { context.u32($0) } }

  init(_ context: DecodeContext, rows: Int) {
    self.context = context
    self.rows = rows
    let (block, kernel) = (context.block, context.kernel)
    // Registers hold 64 elements of q and of A.
    let share = min(16, 64 / rows)
    let size = kernel.cacheType.byteCount
    lanes = max(
      2, min(warpSize, powerOfTwo(atMost: 2 * ((kernel.headDim + share - 1) / share) - 1)))
    width = min(16 / size, share)
    let bytes = width * size
    accesses = (kernel.headDim / width + lanes - 1) / lanes
    let member = context.lane & (lanes - 1)
    let group = context.lane >> lanes.trailingZeroBitCount
    (self.member, self.group) = (member, group)
    let swizzle = kernel.swizzle
    let panelChunks = swizzle.rowBytes / 16
    let shift = 7 - swizzle.rowBytes.trailingZeroBitCount
    let lanes = lanes
    offsets = (0..<accesses).map { access in
      let byte = (member + lanes * access) * bytes
      let chunk = byte >> 4
      let phase = (group >> shift) & (panelChunks - 1)
      return (chunk >> panelChunks.trailingZeroBitCount) * (16 * swizzle.rowBytes)
        + group * swizzle.rowBytes + (((chunk & (panelChunks - 1)) ^ phase) << 4) + (byte & 15)
    }
    let elements = accesses * width
    func perRow(_ count: Int, _ name: String) -> [[Variable<F32>]] {
      (0..<rows).map { _ in (0..<count).map { _ in block.variable(0, as: F32.self, name) } }
    }
    queries = perRow(elements, "q")
    sums = perRow(elements, "sum")
    scales = perRow(1, "scale").map { $0[0] }
    references = perRow(1, "reference").map { $0[0] }
    weights = perRow(1, "weight").map { $0[0] }
  }

  /// Whether the lane's access lies within a row.
  private func isInside(_ access: Int) -> Value<Pred>? {
    (access + 1) * lanes * width <= kernel.headDim
      ? nil : member + lanes * access < kernel.headDim / width
  }

  // MARK: - Queries

  func load(_ item: DecodeItemValues) {
    let parameters = context.parameters
    let bytes = width * kernel.queryType.byteCount
    for row in 0..<rows {
      for element in queries[row] { block.assign(element, 0) }
      block.assign(scales[row], parameters.capScale ?? parameters.scoreScale)
      let (query, member) = context.place(item, row: context.u32(row))
      let keyHead = context.keyHead(item)
      let head = keyHead * parameters.group + member
      block.when(context.u32(row) < item.rowCount, .uniform) {
        let start =
          (item.queryRow + query).multipliedWide(by: parameters.queryRow)
          + head.multipliedWide(by: parameters.queryHead)
        for access in 0..<accesses {
          func read() {
            let lane = parameters.queries[start].advanced(
              bytes: (self.member + lanes * access).multipliedWide(by: context.u32(bytes)))
            let words = block.loadWords(lane, bytes: bytes)
            for (index, value) in block.widen(words, kernel.queryType, count: width).enumerated() {
              block.assign(queries[row][access * width + index], value)
            }
          }
          if let isInside = isInside(access) { block.when(isInside) { read() } } else { read() }
        }
        if let queryScales = parameters.queryScales, let keyScales = parameters.keyScales {
          for (scales, head) in [(queryScales, head), (keyScales, keyHead)] {
            block.when(scales.address != 0, .uniform) {
              block.assign(self.scales[row], self.scales[row].value * block.load(scales[head]))
            }
          }
        }
      }
    }
  }

  func clear() {
    for variable in sums.flatMap({ $0 }) + weights { block.assign(variable, 0) }
    for variable in references { block.assign(variable, DecodeState.least) }
  }

  // MARK: - Steps

  func extend(_ stage: Value<U32>, _ range: DecodeRange) {
    // Registers hold 8 scores beside q and A.
    let turns = 16 / tokens
    let atOnce = max(1, min(turns, 8 / rows))
    for index in 0..<kernel.tilesPerStep {
      for first in stride(from: 0, to: turns, by: atOnce) {
        extend(stage, range, tile: index, first..<first + atOnce)
      }
    }
  }

  /// Adds the tokens that the groups have in some turns of a tile.
  private func extend(
    _ stage: Value<U32>, _ range: DecodeRange, tile index: Int, _ turns: Range<Int>
  ) {
    block.phase("scores: q k")
    let keys = stage + index * kernel.tileBytes
    let scores = turns.map { turn -> [Variable<F32>] in
      let key = elements(keys, turn)
      return (0..<rows).map { row in
        var product = queries[row][0].value * key[0]
        for (q, k) in zip(queries[row], key).dropFirst() { product = fma(q.value, k, product) }
        var distance = lanes / 2
        while distance > 0 {
          product = product + block.shuffle(product, xor: distance)
          distance /= 2
        }
        return block.variable(range.biased(exponent(product, row), token(index, turn), row: row))
      }
    }
    block.phase("mask")
    whereCut(range) {
      for (turn, scores) in zip(turns, scores) {
        for (row, score) in scores.enumerated() {
          let isVisible = range.isVisible(token(index, turn), row: row)
          block.assign(score, select(isVisible, score.value, context.f32(-.infinity)))
        }
      }
    }
    block.phase("softmax")
    let weights = (0..<rows).map { row in weigh(row, scores.map { $0[row].value }) }
    block.phase("sums: p v")
    let values = stage + (kernel.stageBytes / 2 + index * kernel.tileBytes)
    whereCut(range) {
      for (place, turn) in turns.enumerated() {
        add(elements(values, turn), weights.map { $0[place] }) { row in
          scores[place][row].value != -.infinity
        }
      }
    } otherwise: {
      for (place, turn) in turns.enumerated() {
        add(elements(values, turn), weights.map { $0[place] }) { _ in nil }
      }
    }
  }

  /// One of two ways, by whether some row does not see some token of the step.
  private func whereCut(
    _ range: DecodeRange, _ body: () -> Void, otherwise: @escaping () -> Void = {}
  ) {
    if range.masksEveryStep { return body() }
    block.when(range.cutsStep, .uniform, body, otherwise: otherwise)
  }

  /// Token of the step that the lane's group has in a turn of a tile.
  private func token(_ tile: Int, _ turn: Int) -> Value<U32> { group + (16 * tile + tokens * turn) }

  /// The lane's elements of the token that its group has in a turn; zeros behind the row's end.
  private func elements(_ tile: Value<U32>, _ turn: Int) -> [Value<F32>] {
    let swizzle = kernel.swizzle
    let shift = 7 - swizzle.rowBytes.trailingZeroBitCount
    // Tokens of a group are `tokens` apart, above the bits of the group.
    let first = tokens * turn
    let phase = (first >> shift) & (swizzle.rowBytes / 16 - 1)
    let bytes = width * kernel.cacheType.byteCount
    return (0..<accesses).flatMap { access -> [Value<F32>] in
      let place = phase == 0 ? offsets[access] : offsets[access] ^ (phase << 4)
      let pointer = SharedPointer<U32>(address: tile + place).advanced(
        bytes: first * swizzle.rowBytes)
      guard let isInside = isInside(access) else {
        return block.widen(block.load(pointer, count: bytes / 4), kernel.cacheType, count: width)
      }
      let words = (0..<bytes / 4).map { _ in block.variable(0, as: U32.self, "word") }
      block.when(isInside) {
        for (word, value) in zip(words, block.load(pointer, count: bytes / 4)) {
          block.assign(word, value)
        }
      }
      return block.widen(words.map(\.value), kernel.cacheType, count: width)
    }
  }

  /// The exponent of 2 that a product stands for.
  private func exponent(_ product: Value<F32>, _ row: Int) -> Value<F32> {
    let scaled = product * scales[row].value
    guard context.parameters.capScale != nil else { return scaled }
    // `capScale` holds 2 · log₂e / cap, `scoreScale` cap · log₂e.
    return block.accurateTanh(scaled * Self.halfLn2) * context.parameters.scoreScale
  }

  private static let halfLn2: Float = 0.346_573_59

  /// Raises R to a tile's largest exponent, scales L and A to it, and adds to L.
  ///
  /// - Returns: the weights.
  private func weigh(_ row: Int, _ exponents: [Value<F32>]) -> [Value<F32>] {
    let old = references[row].value
    let new = exponents.reduce(old) { max($0, $1) }
    let factor = block.let(ex2(old - new))
    let powers = exponents.map { block.let(ex2($0 - new)) }
    let sum = powers.dropFirst().reduce(powers[0]) { $0 + $1 }
    block.assign(references[row], new)
    block.assign(weights[row], fma(weights[row].value, factor, sum))
    for element in sums[row] { block.assign(element, element.value * factor) }
    return powers
  }

  private func add(
    _ value: [Value<F32>], _ weights: [Value<F32>],
    _ isVisible: (_ row: Int) -> Value<Pred>?
  ) {
    for row in 0..<rows {
      let isVisible = isVisible(row)
      for (sum, element) in zip(sums[row], value) {
        let old = sum.value
        let new = fma(weights[row], element, old)
        block.assign(sum, isVisible.map { select($0, new, old) } ?? new)
      }
    }
  }

  // MARK: - End

  func settle() {
    var distance = lanes
    while distance < warpSize {
      for row in 0..<rows { merge(row, distance) }
      distance *= 2
    }
  }

  /// Merges a row's state with that of the group at a distance; both end with the same bits.
  private func merge(_ row: Int, _ distance: Int) {
    let own = references[row].value
    let other = block.shuffle(own, xor: distance)
    let new = max(own, other)
    let mine = block.let(ex2(own - new))
    let theirs = block.let(ex2(other - new))
    for variable in [weights[row]] + sums[row] {
      let value = variable.value
      block.assign(variable, value * mine + block.shuffle(value, xor: distance) * theirs)
    }
    block.assign(references[row], new)
  }

  func publish(
    _ item: DecodeItemValues, _ rowTile: Int, sums target: SharedArray<F32>,
    weights pairs: SharedArray<F32>
  ) {
    for row in 0..<rows {
      let own = context.warp * 8 + row
      block.when((context.u32(row) < item.rowCount) & (group == 0)) {
        for access in 0..<accesses {
          let first = member * width + lanes * width * access
          func write() {
            for part in stride(from: 0, to: width, by: 4) {
              let values = (part..<part + 4).map { sums[row][access * width + $0].value }
              block.store(values, to: target[own * kernel.mergePitch + first][part])
            }
          }
          if let isInside = isInside(access) { block.when(isInside) { write() } } else { write() }
        }
        block.when(member == 0) {
          block.store([references[row].value, weights[row].value], to: pairs[own << 1])
        }
      }
    }
  }
}

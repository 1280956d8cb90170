internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// The rows and keys of a warp, from the item and request lists of `GeneralAttention`.
struct GeneralTile {
  let request: GeneralRequest
  let kvHead: Value<U32>
  /// Rows of the tile from the launch's first on; may be 0.
  let rowCount: Value<U32>
  let keyBegin: Value<U32>
  let keyEnd: Value<U32>
  /// Partial state that the warp leaves, all ones where it finishes its rows.
  let slot: Value<U32>
  /// Query within the request and head of each row; the last row again behind the last.
  let queries: [Value<U32>]
  let heads: [Value<U32>]
  /// kvLength − qoLength + query.
  private let positions: [Value<S32>]
  /// First visible key, and the first one behind.
  private let visible: [(begin: Value<S32>, end: Value<S32>)]
  private let slopes: [Value<F32>]?

  init(
    _ block: Block, _ parameters: GeneralParameters, warp: Value<U32>, rows: Int
  ) {
    let index = warp / parameters.kvHeads
    let head = warp - index * parameters.kvHeads
    let item = parameters.items.advanced(bytes: index.multipliedWide(by: 32))
    let low = block.load(item, count: 4)
    let high = block.load(item[4], count: 2)
    let request = GeneralRequest(block, parameters.requests, low[0])
    (self.request, kvHead) = (request, head)
    let offset = parameters.rowOffset
    let count = low[2] - min(low[2], offset)
    (rowCount, keyBegin, keyEnd, slot) = (count, low[3], high[0], high[1])
    let packed = (0..<rows).map {
      low[1] + offset + min(block.constant($0, as: U32.self), count - 1)
    }
    let queries = packed.map { $0 / parameters.groupSize }
    let groupSize = parameters.groupSize
    let heads = zip(packed, queries).map { head * groupSize + ($0 - $1 * groupSize) }
    self.heads = heads
    self.queries = queries
    let kvLength = request.kvLength.bitcast(to: S32.self)
    let shift = kvLength - request.qoLength.bitcast(to: S32.self)
    let positions = queries.map { shift + $0.bitcast(to: S32.self) }
    let end = min(kvLength, high[0].bitcast(to: S32.self))
    let zero = block.constant(0, as: S32.self)
    visible = positions.map { position in
      let first = select(position > parameters.window, position - parameters.window, zero)
      let last = select(parameters.isCausal != 0, min(end, position + 1), end)
      return (block.let(first), block.let(last))
    }
    self.positions = positions
    slopes = parameters.options.map { options in
      heads.map { head in
        let slope = block.variable(0, as: F32.self, "slope")
        block.when(options.slopes.address != 0, .uniform) {
          block.assign(slope, block.load(options.slopes[head]))
        }
        return block.let(slope.value)
      }
    }
  }

  /// Whether a row sees a key.
  func isVisible(
    _ block: Block, _ parameters: GeneralParameters, _ key: Value<U32>, row: Int
  ) -> Value<Pred> {
    let j = key.bitcast(to: S32.self)
    let isInRange = (j >= visible[row].begin) & (j < visible[row].end)
    guard let options = parameters.options else { return isInRange }
    let result = block.variable(isInRange.word(block), "visible")
    block.when(isInRange & (options.mask.address != 0)) {
      let bit =
        queries[row].multipliedWide(by: request.kvLength) + key.converted(to: U64.self)
      let byte = block.load(options.mask[request.maskOffset + (bit >> 3)]).word
      let shift = bit.words.low & 7 ^ options.maskFlip
      block.assign(result, byte.shifted(right: shift) & 1)
    }
    return result.value != 0
  }

  /// The score of a row and key in base 2 from their product.
  func score(
    _ block: Block, _ parameters: GeneralParameters, _ dot: Value<F32>, _ key: GeneralKey,
    row: Int
  ) -> Value<F32> {
    let score = dot * parameters.scoreFactor
    guard let options = parameters.options, let keyScale = key.keyScale, let slopes else {
      return score
    }
    let capped = block.variable(score * keyScale, "capped")
    block.when(options.cap != 0, .uniform) {
      block.assign(capped, block.accurateTanh(capped.value) * options.cap)
    }
    let distance = (key.index.bitcast(to: S32.self) - positions[row]).converted(to: F32.self)
    return capped.value + slopes[row] * distance
  }

  /// Position of a row's query, which may be negative.
  func position(row: Int) -> Value<S32> { positions[row] }

  /// Row of q, o and lse.
  func row(_ row: Int) -> Value<U64> { (request.qoStart + queries[row]).converted(to: U64.self) }
}

/// What the request list says of one request.
struct GeneralRequest {
  let qoStart: Value<U32>
  let qoLength: Value<U32>
  let kvLength: Value<U32>
  /// Token of key 0 in ragged rows.
  let firstToken: Value<U32>
  /// Slab of a padded cache.
  let outer: Value<U32>
  /// Entry of the page list.
  let firstPage: Value<U64>
  /// First byte of the custom mask.
  let maskOffset: Value<U64>

  init(_ block: Block, _ requests: GlobalPointer<U32>, _ index: Value<U32>) {
    let record = requests.advanced(bytes: index.multipliedWide(by: 48))
    let words = (0..<3).flatMap { block.load(record[4 * $0], count: 4) }
    (qoStart, qoLength, kvLength, firstToken) = (words[0], words[1], words[2], words[3])
    outer = words[4]
    firstPage = words[6].packed(high: words[7])
    maskOffset = words[8].packed(high: words[9])
  }
}

/// The lane's place in its group.
struct GeneralLane {
  let group: Value<U32>
  /// First access of the lane in rows of keys and values; the others are `lanes` apart.
  let index: Value<U32>
  let lanes: Int

  init(_ block: Block, _ kernel: GeneralAttentionKernel) {
    let lane = block.laneIndex
    lanes = kernel.lanes
    group = lane >> kernel.lanes.trailingZeroBitCount
    index = lane & (kernel.lanes - 1)
  }

  func access(_ number: Int) -> Value<U32> { index + number * lanes }
}

extension Value where T == Pred {
  /// 1 where true, else 0.
  func word(_ block: Block) -> Value<U32> {
    select(self, block.constant(1, as: U32.self), block.constant(0, as: U32.self))
  }
}

extension Block {
  /// tanh within 2^−22 relative: `1 − 2 / (e^2x + 1)`, and for |x| < 1/4, where that cancels, the
  /// odd Taylor polynomial of degree 9, whose first left-out term is below 2^−26 relative.
  func accurateTanh(_ x: Value<F32>) -> Value<F32> {
    let power = ex2(abs(x) * 2.885_390_08)
    let large = constant(1, as: F32.self) - rcp(power + 1) * 2
    let square = x * x
    let terms: [Float] = [62.0 / 2835, -17.0 / 315, 2.0 / 15, -1.0 / 3]
    let polynomial = terms.dropFirst().reduce(constant(terms[0], as: F32.self)) {
      fma($0, square, constant($1, as: F32.self))
    }
    let small = fma(x * square, polynomial, x)
    let sign = x.bitcast(to: U32.self) & 0x8000_0000
    let signed = (large.bitcast(to: U32.self) | sign).bitcast(to: F32.self)
    // A NaN compares false and takes the second branch, where it stays one.
    return select(abs(x) < 0.25, small, signed)
  }
}

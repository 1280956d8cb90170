internal import ApusDSL
internal import ApusIR

/// What multiplies queries with keys, and weights with values.
public enum DecodeArithmetic: Sendable, Hashable {
  /// Tensor cores: 16-bit operands, P rounded to their type, f32 sums.
  case tensorCores
  /// Ordinary cores: operands widened to f32 exactly, products and sums in f32, P unrounded; `rows`
  /// query rows at once, 1, 2, 4 or 8.
  case cores(rows: Int)

  /// The word in symbols; empty for tensor cores.
  var word: String {
    if case .cores(let rows) = self { "cores\(rows)" } else { "" }
  }
}

/// A warp's queries and running state, and the arithmetic that extends it.
protocol DecodeUnit {
  /// What the values' sums are still to be multiplied with.
  var codeScale: Float { get }
  /// Rows of the item that a lane has scores of.
  var laneRows: [Value<U32>] { get }
  /// Reads the query rows of an item; rows past its end are zeros.
  func load(_ item: DecodeItemValues)
  /// The state of no keys.
  func clear()
  /// Adds the tokens of a step.
  ///
  /// - Parameters:
  ///   - stage: address of its K tiles; V tiles follow.
  ///   - range: which tokens count.
  func extend(_ stage: Value<U32>, _ range: DecodeRange)
  /// After the item's last step: combines what the lanes of the warp have.
  func settle()
  /// Writes A and (R, L) of 8 rows at most, the rows of a tile, to `[warp][row]`.
  func publish(
    _ item: DecodeItemValues, _ rowTile: Int, sums: SharedArray<F32>, weights: SharedArray<F32>)
}

/// Tensor cores with swapped operands; see `DecodeKernel`.
struct TensorCoreUnit: DecodeUnit {
  let context: DecodeContext
  let tile: DecodeTile
  let query: DecodeQuery
  let state: DecodeState

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }

  init(_ context: DecodeContext) {
    self.context = context
    tile = DecodeTile(context)
    query = DecodeQuery(context)
    state = DecodeState(context, tile, query)
  }

  var codeScale: Float { tile.codeScale }

  var laneRows: [Value<U32>] {
    (0..<kernel.rowTiles).flatMap { tile in
      (0..<2).map { (context.thread << 1) + ($0 + 8 * tile) }
    }
  }

  func load(_ item: DecodeItemValues) { query.load(item, codeScale: codeScale) }

  func clear() { state.clear() }

  func extend(_ stage: Value<U32>, _ range: DecodeRange) { state.extend(stage, range) }

  func settle() {
    for weight in state.weights.flatMap({ $0 }) {
      var sum = weight.value
      for distance in [4, 8, 16] { sum = sum + block.shuffle(sum, xor: distance) }
      block.assign(weight, sum)
    }
  }

  func publish(
    _ item: DecodeItemValues, _ rowTile: Int, sums: SharedArray<F32>, weights: SharedArray<F32>
  ) {
    for column in 0..<2 {
      let row = (context.thread << 1) + column
      let own = context.warp * 8 + row
      block.when(row + 8 * rowTile < item.rowCount) {
        let target = sums[own * kernel.mergePitch + context.group * (kernel.isFP8 ? 2 : 1)]
        for (band, registers) in state.sums[rowTile].enumerated() {
          let low = registers[column].value
          let high = registers[column + 2].value
          // Dimensions behind the last are padding.
          let left = kernel.headDim - 16 * band
          if kernel.isFP8 {
            if left > 0 { block.store([low, high], to: target[16 * band]) }
          } else {
            if left > 0 { block.store(low, to: target[16 * band]) }
            if left > 8 { block.store(high, to: target[16 * band + 8]) }
          }
        }
        block.when(context.group == 0) {
          let values = [state.references[rowTile][column], state.weights[rowTile][column]]
          block.store(values.map(\.value), to: weights[own << 1])
        }
      }
    }
  }
}

public import ApusDSL
public import ApusIR
public import ApusNumerics

/// Merges the partial states that `GeneralAttentionKernel` leaves of rows whose keys are split, and
/// finishes the rows: one warp each.
public struct GeneralMergeKernel: ShippedKernel {
  /// Storage of o.
  public let output: GeneralStorage
  /// Elements of o that a lane has.
  public let rounds: Int

  static let threads = 128

  /// The configuration for a width of o; one for all widths that need about as many registers.
  public init(output: ElementType, headDimVO: Int) {
    self.output = GeneralStorage(output)
    let needed = (headDimVO + warpSize - 1) / warpSize
    rounds = [4, 8, 16].first { $0 >= needed } ?? needed
  }

  /// What it is for.
  public var family: KernelFamily { .general }

  /// `sm80_general_merge_plain_k4`.
  public var symbol: String { "sm80_general_merge_\(output.rawValue)_k\(rounds)" }

  /// Four warps, each on its own.
  public var launch: LaunchBounds { LaunchBounds(threads: Self.threads) }

  /// Merges.
  public func body(_ block: Block) {
    block.startDependents()
    // First slot, slots, first packed row and request of each tile.
    let tiles = block.pointer("tiles", to: U32.self)
    let requests = block.pointer("requests", to: U32.self)
    let cells = block.parameter("cells", U32.self)
    let kvHeads = block.parameter("kvHeads", U32.self)
    let groupSize = block.parameter("groupSize", U32.self)
    // Packed rows of each partial state.
    let rows = block.parameter("rows", U32.self)
    let finish = FinishParameters(block, alignment: output.byteCount)
    let warp = block.blockIndex() * (Self.threads / warpSize) + block.warpIndex
    let lane = block.laneIndex
    block.when(warp < cells, .uniform) {
      let cell = warp / rows
      let row = warp - cell * rows
      let index = cell / kvHeads
      let kvHead = cell - index * kvHeads
      let record = tiles.advanced(bytes: index.multipliedWide(by: 32))
      let tile = block.load(record, count: 4)
      let rowCount = block.load(record[4])
      let request = GeneralRequest(block, requests, tile[3])
      func state(_ slot: Value<U32>) -> Value<U64> {
        let cell = (tile[0] + slot).multipliedWide(by: kvHeads) + kvHead.converted(to: U64.self)
        return cell * rows.converted(to: U64.self) + row.converted(to: U64.self)
      }
      block.when(row < rowCount, .uniform) {
        let greatest = block.variable(-.infinity, as: F32.self, "m")
        block.loop(from: lane, to: tile[1], step: warpSize) { slot in
          let m = block.load(finish.partialStates[state(slot) * 2])
          block.assign(greatest, max(greatest.value, m))
        }
        let m = block.warpMax(greatest.value)
        let origin = GeneralState.origin(block, m)
        let sum = block.variable(0, as: F32.self, "l")
        let values = (0..<rounds).map { _ in block.variable(0, as: F32.self, "o") }
        block.loop(tile[1], form: .rolled) { slot in
          let index = state(slot)
          let pair = block.load(finish.partialStates[index * 2], count: 2)
          let weight = ex2(pair[0] - origin)
          block.assign(sum, fma(pair[1], weight, sum.value))
          let row = finish.partialO[index * finish.dim.converted(to: U64.self)]
          for (round, value) in values.enumerated() {
            let column = lane + round * warpSize
            block.when(column < finish.dim) {
              block.assign(value, fma(block.load(row[column]), weight, value.value))
            }
          }
        }
        let packed = tile[2] + row
        let query = packed / groupSize
        let head = kvHead * groupSize + (packed - query * groupSize)
        let place = [
          (request.qoStart + query).converted(to: U64.self), head.converted(to: U64.self),
        ]
        let l = sum.value
        let (isEmpty, factor, divisor) = finish.scales(
          block, m: m, l: l, head: head, kvHead: kvHead)
        let outputRow = finish.o.row(place)
        let zero = block.constant(0, as: F32.self)
        for (round, value) in values.enumerated() {
          let column = lane + round * warpSize
          block.when(column < finish.dim) {
            let result = select(isEmpty, zero, div(value.value * factor, divisor))
            block.whenType(self.output, is: finish.type) { type in
              block.storeWords(
                block.narrow([result], type),
                to: outputRow.advanced(bytes: column.multipliedWide(by: type.byteCount)),
                bytes: type.byteCount)
            }
          }
        }
        block.when(lane == 0) {
          finish.storeLSE(block, m: m, l: l, row: place[0], head: place[1])
        }
      }
    }
  }
}

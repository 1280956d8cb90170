internal import ApusDSL
internal import ApusIR

/// Where a block of a cluster receives the pieces that it finishes: `[block][piece of its share]`,
/// 32 bytes each, (A, R, L).
///
/// Pieces arrive by `st.async`, which signal the receiver's barrier; the receiver waits for those of
/// all blocks and merges them in the order of ranks. A block that has received everything may end:
/// nobody writes to it any more, and what it sent has its own receiver waiting.
struct DecodeInbox {
  let context: DecodeContext
  private let pieces: SharedArray<F32>
  /// The barrier, initialised with the ring's.
  let full: MBarriers
  private static let pieceFloats = 8

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }
  private var size: Int { kernel.mode.clusterSize }
  /// Pieces that a block finishes.
  private var share: Int { 8 * kernel.headDim / 4 / size }

  /// Shared memory and the barrier, which the cluster may use after `announce` and `open`.
  init(_ context: DecodeContext) {
    self.context = context
    let block = context.block
    pieces = block.shared(
      "inbox", F32.self, count: 2 * context.kernel.headDim * Self.pieceFloats)
    full = block.mbarriers("inboxFull", arrivals: 1)
  }

  /// Tells the cluster that the barrier is initialised.
  func announce() { block.arriveCluster() }

  /// Waits until every block of the cluster has initialised its barrier.
  func open() { block.waitCluster() }

  /// Sends this block's piece `index` to the block that finishes it.
  func push(_ piece: DecodePiece, _ index: Value<U32>) {
    let owner = index / share
    let place = block.clusterRank * share + (index - owner * share)
    let target = pieces[place * Self.pieceFloats].mapped(toRank: owner)
    let barrier = full[0].mapped(toRank: owner)
    block.storeAsync(piece.sums, to: target, signalling: barrier)
    block.storeAsync([piece.reference, piece.weight], to: target[4], signalling: barrier)
  }

  /// Waits for this block's share of `count` pieces and calls `body` with each, merged.
  func collect(
    _ count: Value<U32>, _ body: (_ merged: DecodePiece, _ index: Value<U32>) -> Void
  ) {
    let first = block.clusterRank * share
    let own = min(count - min(count, first), context.u32(share))
    block.when(own > 0, .uniform) {
      block.when(block.threadIndex == 0) {
        block.arrive(full[0], expecting: own * (size * 24))
      }
      block.wait(full[0], parity: context.u32(0))
      block.when(block.threadIndex < own) {
        let start = pieces[block.threadIndex * Self.pieceFloats]
        let parts = (0..<size).map { rank -> DecodePiece in
          let place = start[rank * share * Self.pieceFloats]
          let weight = block.load(place[4], count: 2)
          return DecodePiece(
            reference: weight[0], weight: weight[1], sums: block.load(place, count: 4))
        }
        body(DecodePiece.merged(parts), first + block.threadIndex)
      }
    }
  }
}

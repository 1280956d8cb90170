import ApusIR

/// Shared memory of a block is gone when its last thread ends. What other blocks of the cluster do to
/// it must have happened before, whatever the interleaving at hand.
extension Machine {
  /// Notes an access of a lane, if it is to another block's memory.
  func noteRemoteUse(_ place: SharedPlace, _ warp: Warp, _ lane: Int) {
    guard place.shadow != warp.shadow else { return }
    let rank = Int(place.address >> Self.windowBits)
    let blocks = warp.block.cluster.blocks
    guard rank < blocks.count else { return }
    blocks[rank].remoteUses[warp.agent * warpSize + lane] = RemoteUse(
      agent: warp.agent, lane: UInt32(truncatingIfNeeded: lane), epoch: warp.epoch,
      instruction: warp.pc)
  }

  /// Reports accesses that nothing orders before the end of the block, and copies on their way to
  /// it; `warp` is the last to end.
  func checkEnd(of block: Block, _ warp: Warp) {
    for (_, use) in block.remoteUses.sorted(by: { $0.key < $1.key }) {
      let isKnown = block.warps.contains {
        $0.clock[use.agent].covers(use.epoch, lane: use.lane)
      }
      if isKnown { continue }
      report(
        .barrier(
          "a block must not end before others have used its shared memory; found the use by warp "
            + "\(use.agent % warpCount) of block \(use.agent / warpCount) at "
            + "\(location(use.instruction))"), warp, lanes: .max)
    }
    let isAimedAt = inFlight.contains { copy in
      copy.targets.contains { $0.place.shadow == block.shared.shadow }
    }
    if isAimedAt, clusterSize > 1 {
      report(.missingWait("shared memory of the block, which ends,"), warp, lanes: .max)
    }
  }
}

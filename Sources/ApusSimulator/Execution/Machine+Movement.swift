import ApusIR

extension Machine {
  func execute(_ op: Op.Movement, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    let result = i.outputs[0]
    switch op {
    case .variable where i.inputs.isEmpty: warp.undefinedLanes = warp.mask
    case .variable, .assign, .copy, .bitcast:
      warp.forEachLane { warp.set(result, $0, warp.get(i.inputs[0], $0)) }
    case .select:
      warp.forEachLane { lane in
        let chosen = warp.get32(i.inputs[0], lane) != 0 ? i.inputs[1] : i.inputs[2]
        warp.set(result, lane, warp.get(chosen, lane))
      }
    case .pack:
      let shift = UInt64(i.inputs[0].type.bitWidth)
      warp.forEachLane { lane in
        warp.set(
          result, lane, warp.get(i.inputs[0], lane) | warp.get(i.inputs[1], lane) << shift)
      }
    case .unpack:
      let shift = UInt64(result.type.bitWidth)
      let mask = UInt64(1) << shift - 1
      warp.forEachLane { lane in
        let bits = warp.get(i.inputs[0], lane)
        warp.set(result, lane, bits & mask)
        warp.set(i.outputs[1], lane, bits >> shift)
      }
    }
    return .next
  }

  func execute(_ register: Op.SpecialRegister, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    let block = warp.block.index
    func along(_ axis: Op.Axis, _ x: Int, _ y: Int, _ z: Int) -> Int {
      switch axis {
      case .x: x
      case .y: y
      case .z: z
      }
    }
    let (bx, by, bz) = (block % grid.x, block / grid.x % grid.y, block / grid.x / grid.y)
    let value: Int
    switch register {
    case .threadIndex(.x):
      warp.forEachLane { warp.set(i.outputs[0], $0, UInt64(warp.index * warpSize + $0)) }
      return .next
    case .laneIndex:
      warp.forEachLane { warp.set(i.outputs[0], $0, UInt64($0)) }
      return .next
    case .lanesBelow:
      warp.forEachLane { warp.set(i.outputs[0], $0, 1 << UInt64($0) - 1) }
      return .next
    case .threadIndex: value = 0
    case .blockSize(let axis): value = along(axis, kernel.launch.threads, 1, 1)
    case .blockIndex(let axis): value = along(axis, bx, by, bz)
    case .gridSize(let axis): value = along(axis, grid.x, grid.y, grid.z)
    case .clusterIndex(let axis): value = along(axis, bx / clusterSize, by, bz)
    case .clusterCount(let axis): value = along(axis, grid.x / clusterSize, grid.y, grid.z)
    case .clusterRank: value = warp.block.rank
    case .clusterSize: value = clusterSize
    case .multiprocessor: value = block % max(1, options.residentBlocks)
    // One cycle per warp instruction of the whole launch; a nanosecond each.
    case .clock, .clock64, .globalTimer: value = instructionCount
    case .dynamicSharedSize: value = kernel.sharedByteCount
    }
    warp.forEachLane { warp.set(i.outputs[0], $0, UInt64(value)) }
    return .next
  }
}

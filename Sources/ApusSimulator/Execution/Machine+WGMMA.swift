import ApusIR

/// One warp's 16 rows of a warpgroup product between issue and wait.
struct WarpgroupProduct {
  var shape: Op.WGMMAShape
  var inputs: [Program.Slot]
  var scalesD: Bool
  /// A by row (empty: from registers) and B by column: bytes of each element in shared memory.
  var left: [Int]
  var right: [Int]
}

/// Warpgroup products. Each warp computes the 16 rows it holds; the work is done at the wait, and
/// until then registers and shared operands are locked.
extension Machine {
  /// Reports registers that products in flight own.
  func checkLocks(_ i: Program.Instruction, _ warp: Warp) {
    if case .tensorCore(.wgmma) = i.op { return }
    let isMarker = i.outputs.isEmpty && i.inputs.isEmpty
    if isMarker { return }
    for slot in i.inputs where warp.writeLocks[slot.value] != nil {
      report(.missingWait("accumulator %\(slot.value)"), warp, lanes: warp.mask)
    }
    for slot in i.outputs {
      if warp.writeLocks[slot.value] != nil || warp.readLocks[slot.value] != nil {
        report(.missingWait("operand %\(slot.value)"), warp, lanes: warp.mask)
      }
      warp.unfenced.insert(slot.value)
    }
  }

  func issue(_ shape: Op.WGMMAShape, _ i: Program.Instruction, _ warp: Warp) -> Outcome {
    let count = shape.accumulatorCount
    let scale = uniform(i.inputs[i.inputs.count - 1], warp) != 0
    let owned = i.inputs[..<(count + (shape.aInRegisters ? 4 : 0))]
    for (index, slot) in owned.enumerated() where slot.value >= 0 {
      let isRead = index >= count || scale
      if isRead, warp.defined[slot.value] != .max {
        report(.undefinedRegister("%\(slot.value)"), warp, lanes: ~warp.defined[slot.value])
      }
      if warp.unfenced.contains(slot.value) {
        report(
          .barrier("wgmmaFence must follow writes of %\(slot.value) before a product"), warp,
          lanes: warp.mask)
      }
    }
    let rows = warp.index % 4 * 16..<warp.index % 4 * 16 + 16
    var left: [Int] = []
    if !shape.aInRegisters {
      let bits = uniform(i.inputs[count], warp)
      guard
        let places = operand(
          bits, rows, shape.k, shape.a, isTransposed: shape.transposesA, warp)
      else { return giveUp() }
      left = places
    }
    guard
      let right = operand(
        uniform(i.inputs[i.inputs.count - 2], warp), 0..<shape.n, shape.k, shape.b,
        isTransposed: shape.transposesB, warp)
    else { return giveUp() }
    for (index, slot) in owned.enumerated() where slot.value >= 0 {
      if index < count { warp.writeLocks[slot.value, default: 0] += 1 }
      if index >= count { warp.readLocks[slot.value, default: 0] += 1 }
    }
    lock(left, shape.a, by: 1, warp)
    lock(right, shape.b, by: 1, warp)
    warp.openProducts.append(
      WarpgroupProduct(
        shape: shape, inputs: i.inputs, scalesD: scale, left: left, right: right))
    return .next
  }

  /// Ends the run after a reported operand: its product would be wrong silently.
  private func giveUp() -> Outcome {
    isAborted = true
    return .next
  }

  private func lock(_ places: [Int], _ element: Op.MatrixElement, by count: Int, _ warp: Warp) {
    for start in places {
      for byte in start..<start + element.bitWidth / 8 {
        let old = Int(warp.block.shared.sourceLocks[byte])
        warp.block.shared.sourceLocks[byte] = UInt32(max(0, old + count))
      }
    }
  }

  /// Bytes of the elements of a shared operand, index by index and k by k; nil: reported.
  private func operand(
    _ bits: UInt64, _ indices: Range<Int>, _ k: Int, _ element: Op.MatrixElement,
    isTransposed: Bool, _ warp: Warp
  ) -> [Int]? {
    let descriptor = MatrixDescriptor(bits: bits)
    let size = element.bitWidth / 8
    let row = descriptor.swizzle.rowBytes
    guard bits >> 49 & 7 == 0, !(isTransposed && descriptor.swizzle == .none) else {
      // A base offset, and plain core matrices along the other dimension.
      _ = unsupported(warp)
      return nil
    }
    var result: [Int] = []
    result.reserveCapacity(indices.count * k)
    for index in indices {
      for inner in 0..<k {
        let offset: Int
        if isTransposed {
          let perRow = row / size
          offset =
            index / perRow * descriptor.leadingOffset + inner / 8 * descriptor.strideOffset
            + inner % 8 * row + index % perRow * size
        } else if descriptor.swizzle == .none {
          let bytes = inner * size
          offset =
            index / 8 * descriptor.strideOffset + bytes / 16 * descriptor.leadingOffset
            + index % 8 * 16 + bytes % 16
        } else {
          offset = index / 8 * descriptor.strideOffset + index % 8 * row + inner * size
        }
        let address = descriptor.swizzle.apply(descriptor.start + offset)
        guard
          let place = sharedPlace(
            UInt32(truncatingIfNeeded: address), .shared, byteCount: size, alignment: size, warp,
            lanes: warp.mask),
          noteRead(place, warp, lanes: warp.mask), checkProxyFence(place, warp, lanes: warp.mask)
        else { return nil }
        result.append(place.start)
      }
    }
    return result
  }

  func perform(_ product: WarpgroupProduct, _ warp: Warp) {
    let shape = product.shape
    let count = shape.accumulatorCount
    let shared = warp.block.shared
    func values(_ places: [Int], _ element: Op.MatrixElement) -> [Float] {
      places.map { start in
        let code = shared.load(start, byteCount: element.bitWidth / 8)
        return Self.value(UInt32(truncatingIfNeeded: code), element)
      }
    }
    let left =
      shape.aInRegisters
      ? gather(
        Array(product.inputs[count..<count + 4]), FragmentLayout.a(shape.a, k: shape.k), shape.a,
        warp) : values(product.left, shape.a)
    let right = values(product.right, shape.b)
    let sign: Double = shape.negatesA == shape.negatesB ? 1 : -1
    let layout = FragmentLayout.wgmmaAccumulator(n: shape.n, shape.accumulator)
    for register in 0..<count {
      let slot = product.inputs[register]
      for lane in 0..<warpSize {
        let old = warp.get32(slot, lane)
        var bits: UInt32 = 0
        for element in 0..<layout.elementsPerRegister {
          let at = layout.position(lane: lane, register: register, element: element)
          var sum = 0.0
          for k in 0..<shape.k {
            sum += Double(left[at.row * shape.k + k]) * Double(right[at.column * shape.k + k])
          }
          let isWide = shape.accumulator == .f32
          let start =
            isWide ? Float(bitPattern: old) : FloatMath.widen(old >> UInt32(16 * element), .f16)
          let total = sign * sum + (product.scalesD ? Double(start) : 0)
          bits |=
            isWide
            ? Float(total).bitPattern : FloatMath.narrow(total, .f16) << UInt32(16 * element)
        }
        warp.set(slot, lane, UInt64(bits))
      }
      warp.defined[slot.value] = .max
    }
    unlock(product, warp)
  }

  private func unlock(_ product: WarpgroupProduct, _ warp: Warp) {
    let count = product.shape.accumulatorCount
    for (index, slot) in product.inputs[..<(count + product.shape.aCount)].enumerated() {
      if index < count {
        let left = (warp.writeLocks[slot.value] ?? 1) - 1
        warp.writeLocks[slot.value] = left > 0 ? left : nil
      } else if product.shape.aInRegisters {
        let left = (warp.readLocks[slot.value] ?? 1) - 1
        warp.readLocks[slot.value] = left > 0 ? left : nil
      }
    }
    lock(product.left, product.shape.a, by: -1, warp)
    lock(product.right, product.shape.b, by: -1, warp)
  }
}

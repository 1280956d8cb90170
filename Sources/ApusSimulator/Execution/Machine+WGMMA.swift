import ApusIR

/// One warp's 16 rows of a warpgroup product between issue and wait.
struct WarpgroupProduct {
  var shape: Op.WGMMAShape
  var inputs: Code.Slots
  var scalesD: Bool
  /// A (empty: from registers) and B: chunks of shared memory in the order of `forEachChunk`.
  var left: [Int32]
  var right: [Int32]
}

/// Warpgroup products. Each warp computes the 16 rows it holds; the work is done at the wait, and
/// until then registers and shared operands are locked.
extension Machine {
  /// Reports registers that products in flight own.
  func checkLocks(_ i: Code.Instruction, _ warp: Warp) {
    for slot in i.outputs { warp.unfenced[slot.value] = true }
    guard warp.state.pointee.productCount > 0 else { return }
    for slot in i.inputs where warp.writeLocks[slot.value] != 0 {
      report(.missingWait("accumulator %\(slot.value)"), warp, lanes: warp.mask)
    }
    for slot in i.outputs where warp.writeLocks[slot.value] != 0 || warp.readLocks[slot.value] != 0
    {
      report(.missingWait("operand %\(slot.value)"), warp, lanes: warp.mask)
    }
  }

  func issue(_ shape: Op.WGMMAShape, _ i: Code.Instruction, _ warp: Warp) {
    let count = shape.accumulatorCount
    let scale = uniform(i.inputs[i.inputs.count - 1], warp) != 0
    let owned = count + (shape.aInRegisters ? 4 : 0)
    for index in 0..<i.inputs.count {
      let slot = i.inputs[index]
      let isRead = index >= count || scale
      if isRead, warp.defined[slot.value] != .max {
        report(.undefinedRegister("%\(slot.value)"), warp, lanes: ~warp.defined[slot.value])
      }
      if index < owned, !slot.isConstant, warp.unfenced[slot.value] {
        report(
          .barrier("wgmmaFence must follow writes of %\(slot.value) before a product"), warp,
          lanes: warp.mask)
      }
    }
    let row = warp.index % 4 * 16
    var left: [Int32] = []
    if !shape.aInRegisters {
      let bits = uniform(i.inputs[count], warp)
      guard
        let chunks = operand(
          bits, row, 16, shape.a, isTransposed: shape.transposesA, warp)
      else { return giveUp() }
      left = chunks
    }
    guard
      let right = operand(
        uniform(i.inputs[i.inputs.count - 2], warp), 0, shape.n, shape.b,
        isTransposed: shape.transposesB, warp)
    else { return giveUp() }
    for index in 0..<owned where !i.inputs[index].isConstant {
      let value = i.inputs[index].value
      if index < count { warp.writeLocks[value] += 1 } else { warp.readLocks[value] += 1 }
    }
    let locks = warp.shadow.pointee.sourceLocks
    for chunk in left { locks[Int(chunk)] &+= 1 }
    for chunk in right { locks[Int(chunk)] &+= 1 }
    warp.state.pointee.productCount += 1
    warp.openProducts.append(
      WarpgroupProduct(shape: shape, inputs: i.inputs, scalesD: scale, left: left, right: right))
  }

  /// Ends the run after a reported operand: its product would be wrong silently.
  private func giveUp() { isAborted = true }

  /// Offsets of the 16-byte chunks of an operand of `count` indices (m or n) and 32 bytes of k:
  /// index by index two chunks along k or, transposed, k by k the chunks along the indices.
  ///
  /// Source: PTX § Strides and canonical layouts of `wgmma` operands. A plain (not swizzled)
  /// transposed operand steps by the stride offset along its indices and by the leading offset
  /// along k; a swizzled one the other way round.
  @inline(__always)
  private func forEachChunk(
    _ descriptor: MatrixDescriptor, _ first: Int, _ count: Int, _ element: Op.MatrixElement,
    isTransposed: Bool, _ body: (Int) -> Bool
  ) {
    let row = descriptor.swizzle.rowBytes
    let isPlain = descriptor.swizzle == .none
    let (leading, stride) = (descriptor.leadingOffset, descriptor.strideOffset)
    if !isTransposed {
      for index in first..<first + count {
        let start = index / 8 * stride + index % 8 * row
        guard body(start), body(start + (isPlain ? leading : 16)) else { return }
      }
    } else {
      let perRow = row / 2
      let (outer, inner) = isPlain ? (stride, leading) : (leading, stride)
      for k in 0..<256 / element.bitWidth {
        for index in Swift.stride(from: first, to: first + count, by: 8) {
          let start =
            index / perRow * outer + k / 8 * inner + k % 8 * row + index % perRow * 2
          guard body(start) else { return }
        }
      }
    }
  }

  /// The chunks of a shared operand, checked and recorded as read; nil: reported.
  private func operand(
    _ bits: UInt64, _ first: Int, _ count: Int, _ element: Op.MatrixElement,
    isTransposed: Bool, _ warp: Warp
  ) -> [Int32]? {
    let descriptor = MatrixDescriptor(bits: bits)
    // The row of the swizzle's pattern in which the operand's address space starts.
    let baseRow = Int(bits >> 49 & 7)
    let mask = descriptor.swizzle.rowBytes / 16 - 1
    var isSound = true
    var result: [Int32] = []
    result.reserveCapacity(2 * count)
    forEachChunk(descriptor, first, count, element, isTransposed: isTransposed) { offset in
      let linear = descriptor.start + offset
      let address = linear ^ ((linear >> 7 - baseRow) & mask) << 4
      guard
        let place = sharedPlace(
          UInt32(truncatingIfNeeded: address) | warp.rank << Self.windowBits, .shared,
          byteCount: 16, alignment: 16, warp, lanes: warp.mask),
        noteRead(place, warp, lanes: warp.mask), isProxySafe(place, warp)
      else {
        isSound = false
        return false
      }
      result.append(Int32(truncatingIfNeeded: place.start >> 4))
      return true
    }
    return isSound ? result : nil
  }

  @inline(__always)
  private func isProxySafe(_ place: SharedPlace, _ warp: Warp) -> Bool {
    let chunk = place.start >> 4
    if !place.shadow.pointee.isSplit[chunk],
      Stamp(bits: place.shadow.pointee.stamps[chunk]).agent == asyncAgent
    {
      return true
    }
    return checkProxyFence(place, warp, lanes: warp.mask)
  }

  func perform(_ product: WarpgroupProduct, _ warp: Warp) {
    let shape = product.shape
    let (count, n, k) = (shape.accumulatorCount, shape.n, shape.k)
    let bytes = warp.shadow.pointee.bytes
    /// Chunks as a matrix with `index` along columns (`step` 1) or rows.
    func decode(
      _ chunks: [Int32], _ element: Op.MatrixElement, isTransposed: Bool, indices: Int,
      into target: UnsafeMutablePointer<Float>, indexStep: Int, innerStep: Int
    ) {
      let perChunk = 128 / element.bitWidth
      for (number, chunk) in chunks.enumerated() {
        let source = bytes + 16 * Int(chunk)
        if isTransposed {
          let (inner, index) = (number / (indices / 8), number % (indices / 8) * 8)
          MatrixMath.decode(
            source, perChunk, element, into: target + inner * innerStep + index * indexStep,
            step: indexStep)
        } else {
          let (index, inner) = (number / 2, number % 2 * perChunk)
          MatrixMath.decode(
            source, perChunk, element, into: target + index * indexStep + inner * innerStep,
            step: innerStep)
        }
      }
    }
    if shape.aInRegisters {
      gatherA(product.inputs, first: count, shape.a, k: k, warp)
    } else {
      decode(
        product.left, shape.a, isTransposed: shape.transposesA, indices: 16, into: scratch.a,
        indexStep: k, innerStep: 1)
    }
    decode(
      product.right, shape.b, isTransposed: shape.transposesB, indices: n, into: scratch.b,
      indexStep: 1, innerStep: n)
    scratch.d.update(repeating: 0, count: 16 * n)
    MatrixMath.multiply(scratch.a, scratch.b, into: scratch.d, n: n, k: k)
    let sign: Float = shape.negatesA == shape.negatesB ? 1 : -1
    let isWide = shape.accumulator == .f32
    let scalesD = product.scalesD
    for register in 0..<count {
      let slot = product.inputs[register]
      let words = warp.words(slot)
      if isWide {
        forEachElement(register, isWide: true, n: n) { lane, _, place in
          let sum = sign * scratch.d[place]
          words[lane] = (scalesD ? Float(bitPattern: words[lane]) + sum : sum).bitPattern
        }
      } else {
        forEachElement(register, isWide: false, n: n) { lane, bit, place in
          let old = scalesD ? MatrixMath.half(words[lane] >> bit & 0xFFFF) : 0
          let total = FloatMath.narrow(old + sign * scratch.d[place], isBrain: false)
          words[lane] = words[lane] & ~(0xFFFF << bit) | total << bit
        }
      }
      warp.defined[slot.value] = .max
    }
    unlock(product, warp)
  }

  private func unlock(_ product: WarpgroupProduct, _ warp: Warp) {
    let count = product.shape.accumulatorCount
    let owned = count + (product.shape.aInRegisters ? 4 : 0)
    for index in 0..<owned where !product.inputs[index].isConstant {
      let value = product.inputs[index].value
      if index < count { warp.writeLocks[value] -= 1 } else { warp.readLocks[value] -= 1 }
    }
    let locks = warp.shadow.pointee.sourceLocks
    for chunk in product.left { locks[Int(chunk)] &-= 1 }
    for chunk in product.right { locks[Int(chunk)] &-= 1 }
    warp.state.pointee.productCount -= 1
  }
}

import ApusIR

extension Machine {
  func execute(_ op: Op.TensorCore, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    guard checkCollective(.max, warp) else { return .next }
    switch op {
    case .wgmma, .wgmmaFence, .wgmmaCommit, .wgmmaWait:
      let old = warp.state.pointee.groupDigest
      warp.state.pointee.groupDigest = old &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(warp.pc) + 1
    default: break
    }
    switch op {
    case .ldmatrix(let access): loadMatrices(access, i, warp)
    case .stmatrix(let access): storeMatrices(access, i, warp)
    case .mma(let shape): multiply(shape, i, warp)
    case .wgmma(let shape): issue(shape, i, warp)
    case .wgmmaFence: warp.unfenced.update(repeating: false, count: warp.valueCount)
    case .wgmmaCommit:
      warp.productGroups.append(warp.openProducts)
      warp.openProducts = []
    case .wgmmaWait(let pending):
      while warp.productGroups.count > pending {
        for product in warp.productGroups.removeFirst() { perform(product, warp) }
      }
    }
    return .next
  }

  // MARK: - Fragments through shared memory

  /// First bytes of the 8·count rows: row r of matrix m is named by lane 8m + r.
  private func withRows(
    _ access: Op.MatrixAccess, _ slot: Code.Slot, _ warp: Warp, writes: Bool,
    _ body: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>>) -> Void
  ) {
    withUnsafeTemporaryAllocation(of: UnsafeMutablePointer<UInt8>.self, capacity: 32) { rows in
      guard let base = rows.baseAddress else { return }
      for lane in 0..<8 * access.count {
        let address = address(slot, lane, offset: access.offset, warp)
        guard
          let place = sharedPlace(
            UInt32(truncatingIfNeeded: address), .shared, byteCount: 16, alignment: 16, warp,
            lanes: 1 << UInt32(lane))
        else { return }
        if writes {
          noteWrite(place, warp, lanes: .max)
        } else {
          noteRead(place, warp, lanes: .max)
        }
        (base + lane).initialize(to: place.bytes)
      }
      body(base)
    }
  }

  private func loadMatrices(
    _ access: Op.MatrixAccess, _ i: Code.Instruction, _ warp: Warp
  ) {
    withRows(access, i.inputs[0], warp, writes: false) { rows in
      for matrix in 0..<access.count {
        let words = warp.words(i.outputs[matrix])
        for lane in 0..<warpSize {
          let (row, column) = (lane / 4, 2 * (lane % 4))
          func half(_ r: Int, _ c: Int) -> UInt32 {
            UInt32(
              UnsafeRawPointer(rows[8 * matrix + r]).loadUnaligned(
                fromByteOffset: 2 * c, as: UInt16.self))
          }
          words[lane] =
            access.isTransposed
            ? half(column, row) | half(column + 1, row) << 16
            : half(row, column) | half(row, column + 1) << 16
        }
      }
    }
  }

  private func storeMatrices(
    _ access: Op.MatrixAccess, _ i: Code.Instruction, _ warp: Warp
  ) {
    withRows(access, i.inputs[0], warp, writes: true) { rows in
      for matrix in 0..<access.count {
        let words = warp.words(i.inputs[1 + matrix])
        for lane in 0..<warpSize {
          for half in 0..<2 {
            let (row, column) = (lane / 4, 2 * (lane % 4) + half)
            let (r, c) = access.isTransposed ? (column, row) : (row, column)
            let bits = UInt16(truncatingIfNeeded: words[lane] >> UInt32(16 * half))
            UnsafeMutableRawPointer(rows[8 * matrix + r]).storeBytes(
              of: bits, toByteOffset: 2 * c, as: UInt16.self)
          }
        }
      }
    }
  }

  // MARK: - Products

  private func multiply(_ shape: Op.MMAShape, _ i: Code.Instruction, _ warp: Warp) {
    let (k, count) = (shape.k, shape.accumulatorCount)
    gatherA(i.inputs, first: count, shape.a, k: k, warp)
    // B: register r holds column lane ÷ 4 and the elements from k = e·(lane mod 4) + 4e·r on.
    let width = shape.b.bitWidth
    let perRegister = 32 / width
    let first = count + shape.aCount
    for register in 0..<shape.bCount {
      let words = warp.words(i.inputs[first + register])
      for lane in 0..<warpSize {
        let inner = perRegister * (lane % 4 + 4 * register)
        withUnsafeBytes(of: words[lane]) { bytes in
          if let base = bytes.baseAddress {
            MatrixMath.decode(
              base.assumingMemoryBound(to: UInt8.self), perRegister, shape.b,
              into: scratch.b + inner * 8 + lane / 4, step: 8)
          }
        }
      }
    }
    let isWide = shape.accumulator == .f32
    scratch.d.update(repeating: 0, count: 16 * 8)
    for register in 0..<count {
      let words = warp.words(i.inputs[register])
      forEachElement(register, isWide: isWide, n: 8) { lane, half, place in
        scratch.d[place] =
          isWide
          ? Float(bitPattern: words[lane]) : MatrixMath.half(words[lane] >> half & 0xFFFF)
      }
    }
    MatrixMath.multiply(scratch.a, scratch.b, into: scratch.d, n: 8, k: k)
    for register in 0..<count {
      let words = warp.words(i.outputs[register])
      if !isWide { words.update(repeating: 0, count: warpSize) }
      forEachElement(register, isWide: isWide, n: 8) { lane, half, place in
        if isWide {
          words[lane] = scratch.d[place].bitPattern
        } else {
          words[lane] |= FloatMath.narrow(scratch.d[place], isBrain: false) << half
        }
      }
    }
  }

  /// Calls `body` with lane, bit offset and place by row of each element of an accumulator register;
  /// see `FragmentLayout`.
  @inline(__always)
  func forEachElement(
    _ register: Int, isWide: Bool, n: Int,
    _ body: (_ lane: Int, _ bit: UInt32, _ place: Int) -> Void
  ) {
    for element in 0..<(isWide ? 1 : 2) {
      let index = isWide ? register : 2 * register + element
      let start = 8 * (index / 2 % 2) * n + 8 * (index / 4) + index % 2
      for lane in 0..<warpSize {
        body(lane, UInt32(16 * element), start + lane / 4 * n + 2 * (lane % 4))
      }
    }
  }

  /// A of 16 × k from registers into the scratch, by row.
  func gatherA(
    _ slots: Code.Slots, first: Int, _ element: Op.MatrixElement, k: Int, _ warp: Warp
  ) {
    let perRegister = 32 / element.bitWidth
    let count = 16 * k / (warpSize * perRegister)
    for register in 0..<count {
      let words = warp.words(slots[first + register])
      for lane in 0..<warpSize {
        let row = lane / 4 + 8 * (register % 2)
        let column = perRegister * (lane % 4 + 4 * (register / 2))
        let source = UnsafeRawPointer(words + lane).assumingMemoryBound(to: UInt8.self)
        MatrixMath.decode(
          source, perRegister, element, into: scratch.a + row * k + column, step: 1)
      }
    }
  }
}

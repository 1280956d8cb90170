import ApusIR
import ApusNumerics

extension Machine {
  func execute(_ op: Op.TensorCore, _ i: Program.Instruction, _ warp: Warp) -> Outcome {
    switch op {
    case .ldmatrix(let access):
      if checkCollective(.max, warp) { loadMatrices(access, i, warp) }
    case .stmatrix(let access):
      if checkCollective(.max, warp) { storeMatrices(access, i, warp) }
    case .mma(let shape):
      if checkCollective(.max, warp) { multiply(shape, i, warp) }
    case .wgmma(let shape):
      if checkCollective(.max, warp) { return issue(shape, i, warp) }
    case .wgmmaFence:
      if checkCollective(.max, warp) { warp.unfenced.removeAll(keepingCapacity: true) }
    case .wgmmaCommit:
      guard checkCollective(.max, warp) else { return .next }
      warp.productGroups.append(warp.openProducts)
      warp.openProducts = []
    case .wgmmaWait(let pending):
      guard checkCollective(.max, warp) else { return .next }
      while warp.productGroups.count > pending {
        for product in warp.productGroups.removeFirst() { perform(product, warp) }
      }
    }
    return .next
  }

  // MARK: - Fragments through shared memory

  /// Places of the 8·count rows: row r of matrix m is named by lane 8m + r.
  private func rows(_ access: Op.MatrixAccess, _ slot: Program.Slot, _ warp: Warp) -> [SharedPlace]?
  {
    var places: [SharedPlace] = []
    for lane in 0..<8 * access.count {
      let address = address(slot, lane, offset: access.offset, warp)
      guard
        let place = sharedPlace(
          UInt32(truncatingIfNeeded: address), .shared, byteCount: 16, alignment: 16, warp,
          lanes: 1 << UInt32(lane))
      else { return nil }
      places.append(place)
    }
    return places
  }

  private func loadMatrices(
    _ access: Op.MatrixAccess, _ i: Program.Instruction, _ warp: Warp
  ) {
    guard let rows = rows(access, i.inputs[0], warp) else { return }
    for (lane, place) in rows.enumerated() { noteRead(place, warp, lanes: 1 << UInt32(lane)) }
    for matrix in 0..<access.count {
      func element(_ row: Int, _ column: Int) -> UInt64 {
        let (r, c) = access.isTransposed ? (column, row) : (row, column)
        let place = rows[8 * matrix + r]
        return place.shared.load(place.start + 2 * c, byteCount: 2)
      }
      for lane in 0..<warpSize {
        let (row, column) = (lane / 4, 2 * (lane % 4))
        warp.set(
          i.outputs[matrix], lane, element(row, column) | element(row, column + 1) << 16)
      }
    }
  }

  private func storeMatrices(
    _ access: Op.MatrixAccess, _ i: Program.Instruction, _ warp: Warp
  ) {
    guard let rows = rows(access, i.inputs[0], warp) else { return }
    for (lane, place) in rows.enumerated() { noteWrite(place, warp, lanes: 1 << UInt32(lane)) }
    for matrix in 0..<access.count {
      for lane in 0..<warpSize {
        let bits = warp.get(i.inputs[1 + matrix], lane)
        for half in 0..<2 {
          let (row, column) = (lane / 4, 2 * (lane % 4) + half)
          let (r, c) = access.isTransposed ? (column, row) : (row, column)
          let place = rows[8 * matrix + r]
          place.shared.store(place.start + 2 * c, bits >> UInt64(16 * half), byteCount: 2)
        }
      }
    }
  }

  // MARK: - Products

  /// D += A·B over f64 sums: within every bound the op's text allows.
  private func multiply(_ shape: Op.MMAShape, _ i: Program.Instruction, _ warp: Warp) {
    let d = Array(i.inputs[..<shape.accumulatorCount])
    let a = Array(i.inputs[shape.accumulatorCount...].prefix(shape.aCount))
    let b = Array(i.inputs.suffix(shape.bCount))
    let left = gather(a, FragmentLayout.a(shape.a, k: shape.k), shape.a, warp)
    let right = gather(b, FragmentLayout.b(shape.b, k: shape.k), shape.b, warp)
    let layout = FragmentLayout.mmaAccumulator(shape.accumulator)
    for lane in 0..<warpSize {
      for (register, slot) in d.enumerated() {
        let old = warp.get32(slot, lane)
        var bits: UInt32 = 0
        for element in 0..<layout.elementsPerRegister {
          let at = layout.position(lane: lane, register: register, element: element)
          var sum =
            shape.accumulator == .f32
            ? Double(Float(bitPattern: old))
            : Double(FloatMath.widen(old >> UInt32(16 * element), .f16))
          for k in 0..<shape.k {
            sum += Double(left[at.row * shape.k + k]) * Double(right[k * 8 + at.column])
          }
          bits |=
            shape.accumulator == .f32
            ? Float(sum).bitPattern : FloatMath.narrow(sum, .f16) << UInt32(16 * element)
        }
        warp.set(i.outputs[register], lane, UInt64(bits))
      }
    }
  }

  /// The matrix a fragment holds, row by row.
  func gather(
    _ slots: [Program.Slot], _ layout: FragmentLayout, _ element: Op.MatrixElement, _ warp: Warp
  ) -> [Float] {
    var matrix = [Float](repeating: 0, count: layout.rows * layout.columns)
    for (register, slot) in slots.enumerated() {
      for lane in 0..<warpSize {
        let bits = warp.get32(slot, lane)
        for index in 0..<layout.elementsPerRegister {
          let at = layout.position(lane: lane, register: register, element: index)
          let code = bits >> UInt32(index * element.bitWidth % 32)
          matrix[at.row * layout.columns + at.column] = Self.value(code, element)
        }
      }
    }
    return matrix
  }

  /// Value of the low bits of a pattern.
  static func value(_ code: UInt32, _ element: Op.MatrixElement) -> Float {
    switch element {
    case .f16: FloatMath.widen(code, .f16)
    case .bf16: FloatMath.widen(code, .bf16)
    case .tf32: Float(bitPattern: code & ~0x1FFF)
    case .e4m3: Float8E4M3(bitPattern: UInt8(truncatingIfNeeded: code)).float
    case .e5m2: Float8E5M2(bitPattern: UInt8(truncatingIfNeeded: code)).float
    }
  }
}

import ApusIR

extension Machine {
  /// Generic addresses of by-value arguments: far from every buffer.
  static let argumentBase: UInt64 = 0x2_0000_0000_0000

  func execute(_ op: Op.Memory, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    switch op {
    case .parameter(let id, let offset):
      guard let bits = argumentBits(id, offset, byteCount: i.outputs[0].type.bitWidth / 8) else {
        report(
          .invalidOperand("parameter field must lie in the argument; found offset \(offset)"),
          warp, lanes: warp.mask)
        return .next
      }
      warp.forEachLane { warp.set(i.outputs[0], $0, bits) }
    case .parameterAddress(let id):
      let address = Self.argumentBase + UInt64(id.index) << 16
      warp.forEachLane { warp.set(i.outputs[0], $0, address) }
    case .sharedAddress(let id, let offset):
      let window = SharedMemory.base + kernel.shared[id.index].offset + offset
      let address = UInt32(truncatingIfNeeded: window) | UInt32(warp.block.rank) << Self.windowBits
      warp.forEachLane { warp.set(i.outputs[0], $0, UInt64(address)) }
    case .ld(let access): load(access, i, warp)
    case .st(let access): store(access, i, warp)
    case .atom(let access), .red(let access): atomic(access, i, warp)
    case .prefetch: break
    case .mapa:
      warp.forEachLane { lane in
        let offset = warp.get32(i.inputs[0], lane) & (1 << Self.windowBits - 1)
        let rank = warp.get32(i.inputs[1], lane)
        if rank >= UInt32(clusterSize) {
          report(
            .invalidOperand("mapa rank must be below \(clusterSize); found \(rank)"), warp,
            lanes: 1 << UInt32(lane))
        }
        warp.set(i.outputs[0], lane, UInt64(offset | (rank & 0xFF) << Self.windowBits))
      }
    }
    return .next
  }

  private func argumentBits(_ id: ParameterID, _ offset: Int, byteCount: Int) -> UInt64? {
    switch arguments[id.index] {
    case .scalar(let constant): return offset == 0 ? constant.bits : nil
    case .pointer(let address): return offset == 0 ? address : nil
    case .tensorMap: return nil
    case .bytes(let bytes):
      guard offset >= 0, byteCount <= bytes.count - offset else { return nil }
      return (0..<byteCount).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
    }
  }

  /// Resolves a global address; reports misaligned and out-of-bounds ones.
  @inline(__always)
  func globalPlace(
    _ address: UInt64, byteCount: Int, alignment: Int, _ warp: Warp, lanes: UInt32,
    writes: Bool = false
  ) -> DeviceMemory.Place? {
    if address & UInt64(alignment - 1) != 0 {
      report(
        .misaligned(.global, address: address, alignment: alignment), warp, lanes: lanes)
      return nil
    }
    switch memory.locate(address, byteCount: byteCount, writes: writes) {
    case .place(let place): return place
    case .readOnly(let name):
      report(.readOnly(address: address, buffer: name), warp, lanes: lanes)
    case .outOfBounds:
      report(.outOfBounds(.global, address: address, byteCount: byteCount), warp, lanes: lanes)
    }
    return nil
  }

  /// As `globalPlace`, for a write.
  func writablePlace(
    _ address: UInt64, byteCount: Int, alignment: Int, _ warp: Warp, lanes: UInt32
  ) -> DeviceMemory.Place? {
    if overlapsPredecessor { checkDependency(address, warp, lanes: lanes) }
    return globalPlace(
      address, byteCount: byteCount, alignment: alignment, warp, lanes: lanes, writes: true)
  }

  /// The address a lane accesses, wrapped in the width of the space.
  func address(_ slot: Code.Slot, _ lane: Int, offset: Int, _ warp: Warp) -> UInt64 {
    slot.is64
      ? warp.get(slot, lane) &+ UInt64(bitPattern: Int64(offset))
      : UInt64(warp.get32(slot, lane) &+ UInt32(truncatingIfNeeded: offset))
  }

  /// The written bytes of a global range; reports unwritten ones.
  @inline(__always)
  func readableBytes(
    _ address: UInt64, byteCount: Int, alignment: Int, _ warp: Warp, lanes: UInt32,
    as access: GlobalAccess = .plain
  ) -> DeviceMemory.Place? {
    guard
      let place = globalPlace(
        address, byteCount: byteCount, alignment: alignment, warp, lanes: lanes)
    else { return nil }
    if overlapsPredecessor, access != .nonCoherent {
      checkDependency(address, warp, lanes: lanes)
    }
    if !place.isWritten(byteCount) {
      report(.uninitialisedRead(.global, address: address), warp, lanes: lanes)
    }
    if place.hasStamps(byteCount) {
      checkGlobalRead(place, byteCount, address, warp, lanes: lanes, access)
    }
    return place
  }

  private func load(_ access: Op.MemoryAccess, _ i: Code.Instruction, _ warp: Warp) {
    let size = access.element.byteCount
    let total = size * i.outputs.count
    let isStrong = access.ordering.isStrong
    warp.forEachLane { lane in
      let address = address(i.inputs[0], lane, offset: access.offset, warp)
      let lanes = UInt32(1) << UInt32(lane)
      var source: DeviceMemory.Place?
      if access.space == .global {
        if isStrong { acquire(access.ordering, at: address, warp) }
        source = readableBytes(
          address, byteCount: total, alignment: total, warp, lanes: lanes,
          as: isStrong ? .atomic : access.isNonCoherent ? .nonCoherent : .plain)
        if source != nil, !isStrong, memory.lastIsWritable {
          warp.noteGlobalRead(address, total, lane)
        }
      } else if let place = sharedPlace(
        UInt32(truncatingIfNeeded: address), access.space, byteCount: total, alignment: total, warp,
        lanes: lanes)
      {
        if isStrong { acquire(access.ordering, at: key(place, warp), warp) }
        noteRead(place, warp, lanes: lanes, isAtomic: isStrong)
        noteRemoteUse(place, warp, lane)
        source = DeviceMemory.Place(bytes: place.bytes)
      }
      for index in 0..<i.outputs.count {
        var bits: UInt64 = 0
        if let source { bits = (source + index * size).load(size) }
        if access.element == .s8 {
          bits = UInt64(bitPattern: Int64(Int8(truncatingIfNeeded: bits)))
        } else if access.element == .s16 {
          bits = UInt64(bitPattern: Int64(Int16(truncatingIfNeeded: bits)))
        }
        warp.set(i.outputs[index], lane, bits)
      }
    }
  }

  private func store(_ access: Op.MemoryAccess, _ i: Code.Instruction, _ warp: Warp) {
    let size = access.element.byteCount
    let count = i.inputs.count - 1 - (access.hasPolicy ? 1 : 0)
    let total = size * count
    let isStrong = access.ordering.isStrong
    warp.forEachLane { lane in
      let address = address(i.inputs[0], lane, offset: access.offset, warp)
      let lanes = UInt32(1) << UInt32(lane)
      let target: DeviceMemory.Place
      if access.space == .global {
        guard
          let place = writablePlace(
            address, byteCount: total, alignment: total, warp, lanes: lanes)
        else { return }
        let read = warp.globalRead(address, total, ofOthersThan: lane)
        var isSame = !isStrong
        for index in 0..<count where isSame {
          let bits = warp.get(i.inputs[1 + index], lane)
          let old = (place + index * size).load(size)
          isSame = size == 8 ? bits == old : (bits ^ old) << UInt64(64 - 8 * size) == 0
        }
        if let read, !isSame {
          report(
            .race(address: address, otherWarp: warp.index, otherLocation: location(read)), warp,
            lanes: lanes)
        }
        noteGlobalWrite(
          place, total, address, warp, lanes: lanes, isAtomic: isStrong, isSame: isSame)
        if isStrong { release(access.ordering, at: address, warp, lane) }
        target = place
      } else {
        guard
          let place = sharedPlace(
            UInt32(truncatingIfNeeded: address), access.space, byteCount: total, alignment: total,
            warp, lanes: lanes)
        else { return }
        noteWrite(place, warp, lanes: lanes, isAtomic: isStrong)
        noteRemoteUse(place, warp, lane)
        if isStrong { release(access.ordering, at: key(place, warp), warp, lane) }
        target = DeviceMemory.Place(bytes: place.bytes)
      }
      for index in 0..<count {
        (target + index * size).store(warp.get(i.inputs[1 + index], lane), size)
      }
    }
    if isStrong { progress += 1 }
  }

  // MARK: - Atomics

  private func atomic(_ access: Op.AtomicAccess, _ i: Code.Instruction, _ warp: Warp) {
    let first = i.inputs[1].type
    let size = first.bitWidth / 8
    let isCAS = access.op == .cas
    let count = isCAS ? 1 : i.inputs.count - 1
    warp.forEachLane { lane in
      let address = address(i.inputs[0], lane, offset: access.offset, warp)
      let lanes = UInt32(1) << UInt32(lane)
      for index in 0..<count {
        let operand = warp.get(i.inputs[(isCAS ? 2 : 1) + index], lane)
        let expected = warp.get(i.inputs[1], lane)
        func updated(_ old: UInt64) -> UInt64 {
          isCAS
            ? (old == expected ? operand : old)
            : combine(access.op, old, operand, first, flushes: access.space == .global)
        }
        let old: UInt64
        if access.space == .global {
          guard
            let place = writablePlace(
              address, byteCount: size * count, alignment: size * count, warp, lanes: lanes)
          else { return }
          if !place.isWritten(size * count) {
            report(.uninitialisedRead(.global, address: address), warp, lanes: lanes)
          }
          order(access.ordering, at: address, warp, lane)
          noteGlobalWrite(
            place, size * count, address, warp, lanes: lanes, isAtomic: true, isSame: false)
          let element = place + index * size
          old = element.load(size)
          element.store(updated(old), size)
        } else {
          guard
            let place = sharedPlace(
              UInt32(truncatingIfNeeded: address), access.space, byteCount: size, alignment: size,
              warp, lanes: lanes)
          else { return }
          if access.ordering == .acquire || access.ordering == .acquireRelease {
            acquire(.acquire(access.scope), at: key(place, warp), warp)
          }
          noteRemoteUse(place, warp, lane)
          noteRead(place, warp, lanes: lanes, isAtomic: true)
          noteWrite(place, warp, lanes: lanes, isAtomic: true)
          let element = DeviceMemory.Place(bytes: place.bytes)
          old = element.load(size)
          element.store(updated(old), size)
          order(access.ordering, at: key(place, warp), warp, lane)
        }
        if let result = i.outputs.first { warp.set(result, lane, old) }
      }
    }
    progress += 1
  }

  private func combine(
    _ op: Op.AtomicOp, _ old: UInt64, _ x: UInt64, _ type: ValueType, flushes: Bool
  ) -> UInt64 {
    switch op {
    case .add:
      switch type {
      case .f32:
        let (a, b) = (
          Float(bitPattern: UInt32(truncatingIfNeeded: old)),
          Float(bitPattern: UInt32(truncatingIfNeeded: x))
        )
        let sum =
          flushes ? FloatMath.flush(FloatMath.flush(a) + FloatMath.flush(b)) : a + b
        return UInt64(sum.bitPattern)
      case .f16x2, .bf16x2:
        func half(_ shift: UInt64) -> UInt64 {
          let a = FloatMath.widen(UInt32(truncatingIfNeeded: old >> shift), type)
          let b = FloatMath.widen(UInt32(truncatingIfNeeded: x >> shift), type)
          return UInt64(FloatMath.narrow(FloatMath.oddSum(Double(a), Double(b)), type)) << shift
        }
        return half(0) | half(16)
      default: return old &+ x
      }
    case .min, .max:
      let isLess: Bool =
        switch type {
        case .s32: Int32(truncatingIfNeeded: old) < Int32(truncatingIfNeeded: x)
        case .s64: Int64(bitPattern: old) < Int64(bitPattern: x)
        default: old < x
        }
      return isLess == (op == .min) ? old : x
    case .and: return old & x
    case .or: return old | x
    case .xor: return old ^ x
    case .inc: return old >= x ? 0 : old + 1
    case .exchange, .cas: return x
    }
  }

  // MARK: - Order through memory

  /// Key of a shared location in `released`: no global address has the top bit.
  private func key(_ place: SharedPlace, _ warp: Warp) -> UInt64 {
    1 << 63 | UInt64(warp.block.cluster.index) << 32 | UInt64(place.address)
  }

  private func publication(_ warp: Warp, _ lane: Int) -> Publication {
    var clock = VectorClock(count: agentCount)
    release(warp, lanes: 1 << UInt32(lane), into: &clock)
    return Publication(clock, cluster: warp.block.cluster.index)
  }

  private func acquire(_ ordering: Op.Ordering, at key: UInt64, _ warp: Warp) {
    guard let found = released[key] else { return }
    if case .acquire = ordering {
      found.acquire(warp.clock, cluster: warp.block.cluster.index)
    } else {
      warp.observed.append(found)
    }
  }

  private func release(_ ordering: Op.Ordering, at key: UInt64, _ warp: Warp, _ lane: Int) {
    if case .release = ordering {
      released[key] = publication(warp, lane)
    } else {
      released[key] = warp.fenced
    }
  }

  private func order(_ ordering: Op.AtomicOrdering, at key: UInt64, _ warp: Warp, _ lane: Int) {
    let found = released[key]
    if let found {
      if ordering == .acquire || ordering == .acquireRelease {
        found.acquire(warp.clock, cluster: warp.block.cluster.index)
      } else {
        warp.observed.append(found)
      }
    }
    let mine =
      ordering == .release || ordering == .acquireRelease ? publication(warp, lane) : warp.fenced
    guard let mine else { return }
    if var all = found {
      all.merge(mine)
      released[key] = all
    } else {
      released[key] = mine
    }
  }
}

extension Op.Ordering {
  /// Whether the access takes part in synchronisation.
  var isStrong: Bool { self != .weak }
}

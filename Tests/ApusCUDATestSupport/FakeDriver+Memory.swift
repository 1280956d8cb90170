internal import ApusCUDA
internal import CApusDriver

extension FakeDriver {
  func addMemory(_ table: inout DriverTable) {
    table.memGetInfo = { free, total in
      self.call("cuMemGetInfo") { state in
        let current = state.current
        let used = state.memory.values.filter { $0.context == current }
        total.pointee = state.configuration.memoryByteCount
        free.pointee = total.pointee - used.reduce(0) { $0 + $1.byteCount }
        return state.contextStatus
      }
    }
    table.memAlloc = { address, byteCount in
      self.call("cuMemAlloc") { state in
        let status = state.notCapturing
        return status == 0 ? state.allocate(byteCount, address) : status
      }
    }
    table.memFree = { address in
      self.call("cuMemFree") { state in
        let status = state.captureStatus
        return status == 0 ? state.free(address) : status
      }
    }
    table.memAllocAsync = { address, byteCount, stream in
      self.call("cuMemAllocAsync") { state in
        let status = state.checkStream(stream)
        return status == 0 ? state.allocate(byteCount, address) : status
      }
    }
    table.memFreeAsync = { address, stream in
      self.call("cuMemFreeAsync") { state in
        if stream > 2, state.objects[stream]?.kind != .stream { return FakeState.invalidHandle }
        return state.free(address)
      }
    }
    table.memHostAlloc = { address, byteCount, _ in
      self.call("cuMemHostAlloc") { state in
        let status = state.notCapturing
        if status != 0 { return status }
        let place = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
        state.pinned[UInt(bitPattern: place)] = byteCount
        address.pointee = place
        return FakeState.ok
      }
    }
    table.memFreeHost = { address in
      self.call("cuMemFreeHost") { state in
        guard state.pinned.removeValue(forKey: UInt(bitPattern: address)) != nil else {
          return FakeState.invalidValue
        }
        address.deallocate()
        return FakeState.ok
      }
    }
  }

  func addCopies(_ table: inout DriverTable) {
    table.memcpyHtoD = { to, from, byteCount in
      self.call("cuMemcpyHtoD") { state in
        let status = max(state.notCapturing, state.checkMemory(to, byteCount))
        if status != 0 { return status }
        return state.run(.copy(to: to, from: Self.number(from), byteCount: byteCount))
      }
    }
    table.memcpyDtoH = { to, from, byteCount in
      self.call("cuMemcpyDtoH") { state in
        let status = max(state.notCapturing, state.checkMemory(from, byteCount))
        if status != 0 { return status }
        return state.run(.copy(to: Self.number(to), from: from, byteCount: byteCount))
      }
    }
    table.memcpyHtoDAsync = { to, from, byteCount, stream in
      self.call("cuMemcpyHtoDAsync") { state in
        let status = state.checkMemory(to, byteCount)
        if status != 0 { return status }
        return state.enqueue(
          .copy(to: to, from: Self.number(from), byteCount: byteCount), on: stream)
      }
    }
    table.memcpyDtoHAsync = { to, from, byteCount, stream in
      self.call("cuMemcpyDtoHAsync") { state in
        let status = state.checkMemory(from, byteCount)
        if status != 0 { return status }
        return state.enqueue(
          .copy(to: Self.number(to), from: from, byteCount: byteCount), on: stream)
      }
    }
    table.memcpyDtoDAsync = { to, from, byteCount, stream in
      self.call("cuMemcpyDtoDAsync") { state in
        let status = max(state.checkMemory(to, byteCount), state.checkMemory(from, byteCount))
        if status != 0 { return status }
        return state.enqueue(.copy(to: to, from: from, byteCount: byteCount), on: stream)
      }
    }
    table.memcpyPeerAsync = { to, toContext, from, fromContext, byteCount, stream in
      self.call("cuMemcpyPeerAsync") { state in
        guard state.allocation(to, byteCount)?.context == toContext,
          state.allocation(from, byteCount)?.context == fromContext
        else { return FakeState.invalidValue }
        return state.enqueue(.copy(to: to, from: from, byteCount: byteCount), on: stream)
      }
    }
    table.memsetD8Async = { to, byte, count, stream in
      self.call("cuMemsetD8Async") { state in
        let status = state.checkMemory(to, count)
        if status != 0 { return status }
        return state.enqueue(.fill(to: to, pattern: [byte], count: count), on: stream)
      }
    }
    table.memsetD32Async = { to, word, count, stream in
      self.call("cuMemsetD32Async") { state in
        let status = state.checkMemory(to, 4 * count)
        if status != 0 { return status }
        let pattern = withUnsafeBytes(of: word.littleEndian) { [UInt8]($0) }
        return state.enqueue(.fill(to: to, pattern: pattern, count: count), on: stream)
      }
    }
  }

  private static func number(_ pointer: UnsafeRawPointer) -> UInt64 {
    UInt64(UInt(bitPattern: pointer))
  }

  static func write(_ text: String, to buffer: UnsafeMutablePointer<CChar>, capacity: Int) {
    if capacity <= 0 { return }
    let bytes = text.utf8.prefix(capacity - 1)
    for (index, byte) in bytes.enumerated() { buffer[index] = CChar(bitPattern: byte) }
    buffer[bytes.count] = 0
  }
}

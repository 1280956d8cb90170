internal import ApusCUDA

extension GPUSelfCheck {
  func checkDevice() throws -> String {
    let device = context.device.properties
    try require(device.warpSize == 32, "warpSize must be 32; found \(device.warpSize)")
    try require(device.multiprocessorCount > 0, "no multiprocessors")
    let (free, total) = try context.memory()
    try require(free > 0 && free <= total, "free \(free) of \(total) bytes")
    let address = try context.device.pciAddress()
    return "\(device.name) at \(address), compute capability \(device.capability), "
      + "\(device.multiprocessorCount) multiprocessors, \(device.memoryByteCount >> 20) MiB, "
      + "\(device.l2ByteCount >> 20) MiB L2, \(device.sharedBytesPerBlockOptIn) shared bytes a "
      + "block, CUDA \(driver.version), \(contexts.count) devices"
  }

  func checkCopies() throws -> String {
    let count = 100_003
    let values = (0..<count).map { UInt32(truncatingIfNeeded: $0 &* 2_654_435_761) }
    let stream = try Stream(in: context)
    let first = try DeviceBuffer(byteCount: 4 * count, in: context)
    let second = try DeviceBuffer(byteCount: 4 * count, in: context)
    try context.copy(values, to: first.view)
    try stream.copy(from: first.view, to: second.view)
    let pinned = try PinnedBuffer(byteCount: 4 * count, in: context)
    try stream.copy(from: second.view, to: pinned.bytes)
    try stream.synchronize()
    try require(
      pinned.bytes.bindMemory(to: UInt32.self).elementsEqual(values), "values changed on the way")
    // A part of the buffer, filled and copied back with its neighbours.
    let part = try first.view.slice(at: 400, byteCount: 80)
    try stream.fill(part, word: 0xDEAD_BEEF)
    try stream.fill(part.slice(at: 0, byteCount: 4), byte: 0x7F)
    try stream.copy(from: UnsafeRawBufferPointer(pinned.bytes), to: second.view)
    try stream.synchronize()
    var found = [UInt32](repeating: 0, count: count)
    try context.copy(from: first.view, to: &found)
    var expected = values
    for i in 100..<120 { expected[i] = 0xDEAD_BEEF }
    expected[100] = 0x7F7F_7F7F
    try require(found == expected, "a fill changed the wrong words")
    try context.copy(from: second.view, to: &found)
    try require(found == values, "values changed on the way back")
    return "\(count) words to the device, across it, to pinned memory and back; a part filled"
  }

  func checkStreamOrderedMemory() throws -> String {
    guard context.device.properties.supportsMemoryPools else {
      throw Stop.skipped("the device has no memory pools")
    }
    let stream = try Stream(in: context)
    var found = [UInt32](repeating: 0, count: 1024)
    for round in 0..<4 {
      let buffer = try DeviceBuffer(byteCount: 4096, on: stream)
      try stream.fill(buffer.view, word: UInt32(round))
      try stream.synchronize()
      try context.copy(from: buffer.view, to: &found)
      try require(found.allSatisfy { $0 == UInt32(round) }, "round \(round) read \(found[0])")
      try buffer.free()
    }
    try stream.synchronize()
    return "4 rounds of allocate, fill, read, free"
  }

  func checkOutOfMemory() throws -> String {
    let total = context.device.properties.memoryByteCount
    let error = try error { () throws(CUDAError) in
      _ = try DeviceBuffer(byteCount: 4 * total, in: context)
    }
    try require(error.name == "CUDA_ERROR_OUT_OF_MEMORY", "\(error)")
    // The process stays usable.
    let buffer = try DeviceBuffer(byteCount: 1 << 20, in: context)
    try context.copy([UInt8](repeating: 3, count: 1 << 20), to: buffer.view)
    return "\(error.name) for \(4 * total) bytes, then 1 MiB works"
  }
}

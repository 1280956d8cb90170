/// Lanes that read the bytes of a word of global memory.
struct LaneReads {
  /// A set of lanes for each byte.
  var lanes = SIMD4<UInt32>()
  /// The last read.
  var instruction = 0
}

/// Reads of global memory that another lane of the warp overwrites: the simulator runs the lanes of a
/// warp together, a GPU need not, so that something must stand between read and write in which the
/// lanes meet. Between warps a write that overtakes a read shows in what is read, under some seed.
extension Warp {
  /// Words that are kept: a loop that never meets does not fill the memory.
  private static let mostReads = 1 << 14

  /// The lanes have met: what they read may be overwritten.
  func forgetGlobalReads() {
    if !globalReads.isEmpty { globalReads.removeAll(keepingCapacity: true) }
  }

  /// Notes a lane's read.
  func noteGlobalRead(_ address: UInt64, _ byteCount: Int, _ lane: Int) {
    if globalReads.count > Self.mostReads { forgetGlobalReads() }
    for byte in address..<address + UInt64(byteCount) {
      globalReads[byte >> 2, default: LaneReads()].lanes[Int(byte & 3)] |= 1 << UInt32(lane)
      globalReads[byte >> 2]?.instruction = pc
    }
  }

  /// The instruction by which another lane read bytes that a lane writes.
  func globalRead(_ address: UInt64, _ byteCount: Int, ofOthersThan lane: Int) -> Int? {
    if globalReads.isEmpty { return nil }
    for byte in address..<address + UInt64(byteCount) {
      guard let reads = globalReads[byte >> 2] else { continue }
      if reads.lanes[Int(byte & 3)] & ~(1 << UInt32(lane)) != 0 { return reads.instruction }
    }
    return nil
  }
}

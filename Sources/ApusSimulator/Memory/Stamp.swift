/// Who accessed bytes last and when, in 64 bits: the unit of race detection.
///
/// Bits 0: written; 1: by an atomic; 2–7: lane (`Knowledge.wholeWarp`, `several`); 8–17: agent;
/// 18–37: instruction; 38–63: epoch. Zero is a byte that nothing wrote.
struct Stamp: Equatable {
  var bits: UInt64

  static let maximumEpoch: UInt32 = 1 << 26 - 1

  @inline(__always)
  init(bits: UInt64) { self.bits = bits }

  @inline(__always)
  init(
    epoch: UInt32, agent: Int, lane: UInt32, instruction: Int, isAtomic: Bool = false,
    isWritten: Bool = true
  ) {
    bits =
      UInt64(epoch) << 38 | UInt64(truncatingIfNeeded: instruction & 0xF_FFFF) << 18
      | UInt64(truncatingIfNeeded: agent) << 8 | UInt64(lane) << 2
      | (isAtomic ? 2 : 0) | (isWritten ? 1 : 0)
  }

  @inline(__always) var isWritten: Bool { bits & 1 != 0 }
  @inline(__always) var isAtomic: Bool { bits & 2 != 0 }
  @inline(__always) var lane: UInt32 { UInt32(truncatingIfNeeded: bits >> 2) & 0x3F }
  @inline(__always) var agent: Int { Int(truncatingIfNeeded: bits >> 8) & 0x3FF }
  @inline(__always) var instruction: Int { Int(truncatingIfNeeded: bits >> 18) & 0xF_FFFF }
  @inline(__always) var epoch: UInt32 { UInt32(truncatingIfNeeded: bits >> 38) }
}

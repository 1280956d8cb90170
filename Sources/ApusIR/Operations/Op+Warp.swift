extension Op {
  /// Group 7: exchange between the lanes of a warp. All are collective over `members`, a set of
  /// lanes (bit i is lane i) that contains every lane executing the node.
  public enum Warp: Sendable, Hashable {
    /// `(x: T, lane: u32) → T` or `→ (T, inRange: pred)`. Each lane receives x of its source lane;
    /// `lane` counts modulo 32, lanes lie in aligned segments of `width`. A source outside the segment gives the lane's
    /// own x and inRange = false. A source that is inactive gives an undefined value. T has 32
    /// bits. PTX § shfl.sync.
    case shfl(ShuffleMode, width: Int, members: UInt32)
    /// `(p: pred) → pred`; `ballot`: `(p: pred) → u32`. PTX § vote.sync.
    case vote(VoteMode, members: UInt32)
    /// `(x: T) → T`. x combined over the members; u32 (all ops) and s32 (add, min, max).
    /// PTX § redux.sync.
    case redux(ReductionOp, members: UInt32)
    /// `() → pred`. True in exactly one member: the same one for equal members, in practice the
    /// lowest. PTX § elect.sync.
    case elect(members: UInt32)
    /// `(x: T) → u32`. The members with the same x; u32, u64. PTX § match.any.sync.
    case matchAny(members: UInt32)
    /// `(x: T) → (u32, pred)`. `members` and true if x is the same in all, else 0 and false; u32,
    /// u64. PTX § match.all.sync.
    case matchAll(members: UInt32)
    /// `()`. Waits for all members and orders their memory accesses. PTX § bar.warp.sync.
    case syncWarp(members: UInt32)
    /// `(x: T) → T`. Transposes an 8×8 matrix of 16-bit elements held as lane l, half h → (row
    /// l/4, column 2(l mod 4) + h). T has 32 bits. All 32 lanes. PTX § movmatrix.
    case movmatrix
  }

  /// Source lane of a shuffle, from this lane i and the operand.
  public enum ShuffleMode: UInt8, Sendable, Hashable, CaseIterable {
    /// i − lane; below the segment: out of range.
    case up
    /// i + lane; above the segment: out of range.
    case down
    /// i XOR lane; above the segment: out of range, below it is allowed.
    case bfly
    /// lane modulo the width, in this lane's segment.
    case idx
  }

  /// What a vote gives.
  public enum VoteMode: UInt8, Sendable, Hashable, CaseIterable {
    /// p in all members.
    case all
    /// p in any member.
    case any
    /// p the same in all members.
    case uni
    /// Bit i: p of lane i; 0 for lanes that are not members.
    case ballot
  }

  /// Combination of `redux`.
  public enum ReductionOp: UInt8, Sendable, Hashable, CaseIterable {
    /// Sum modulo 2^32.
    case add
    /// Minimum.
    case min
    /// Maximum.
    case max
    /// Bitwise AND; u32.
    case and
    /// Bitwise OR; u32.
    case or
    /// Bitwise XOR; u32.
    case xor
  }

  /// All 32 lanes.
  public static let allLanes: UInt32 = .max
}

extension Op {
  /// Group 10: matrix fragments and products. `FragmentLayout` says which element each lane's
  /// register holds. Registers of operands have 32 bits; of any type that fits the elements: u32
  /// always, f16x2 or bf16x2 for theirs, f32 for TF32.
  ///
  /// Products are *in place*: the accumulator variables lead the operands and are the results.
  public enum TensorCore: Sendable, Hashable {
    /// `(address: u32) → [count] T`. Loads `count` (1, 2, 4) 8×8 matrices of 16-bit elements. Row r
    /// of matrix i is the 16 bytes at address + offset of lane 8i + r; lanes from 8·count on give
    /// any valid address. Result i: lane l holds row l/4, columns 2(l mod 4) and the next;
    /// `isTransposed` exchanges rows and columns. T has 32 bits. All 32 lanes. PTX § ldmatrix.
    case ldmatrix(MatrixAccess)
    /// `(address: u32, x: [count] T)`. The inverse of `ldmatrix`. All 32 lanes. PTX § stmatrix.
    case stmatrix(MatrixAccess)
    /// `(d: [·] variable, a: [·], b: [·]) → d`. D = A·B + D of one warp: D 16×8, A 16×k, B k×8.
    /// Products are exact; they are summed with D in f32 (f16) in unspecified order and with
    /// unspecified rounding of the partial sums, so results are compared by tolerance. All 32
    /// lanes. PTX § mma.sync (`.row.col`).
    case mma(MMAShape)
    /// `(d: [·] variable, a: u64 or [4], b: u64, scaleD: pred uniform) → d`. Asynchronous: D = A·B
    /// + (scaleD ? D : 0) of one warpgroup: D 64×n, A 64×k from a descriptor or registers, B k×n
    /// from a descriptor. Negation applies to A or B as a whole. Shared operands are read by the
    /// async proxy. Sums as `mma`; FP8 inputs accumulate with about 14 bits. From issue to the
    /// `wgmmaWait` that covers its group: D and register operands must not be touched, shared
    /// operands not written. Products on the same D execute in order. All four warps of an aligned
    /// warpgroup, all lanes. PTX § wgmma.mma_async.
    case wgmma(WGMMAShape)
    /// `()`. Orders earlier register accesses of this warp before following products: before the
    /// first `wgmma` and after any write to D or A registers. Collective over the warpgroup.
    /// PTX § wgmma.fence.
    case wgmmaFence
    /// `()`. Closes the group of all earlier products not yet in one. Collective over the
    /// warpgroup. PTX § wgmma.commit_group.
    case wgmmaCommit
    /// `()`. Blocks until at most `pending` (0…7) of the newest groups are incomplete. Collective
    /// over the warpgroup. PTX § wgmma.wait_group.
    case wgmmaWait(pending: Int)
  }

  /// Everything about a fragment load or store but its operands.
  public struct MatrixAccess: Sendable, Hashable {
    /// Matrices: 1, 2 or 4.
    public var count: Int
    /// Exchange rows and columns of each matrix.
    public var isTransposed: Bool
    /// Bytes added to the address.
    public var offset: Int

    /// A fragment access.
    public init(count: Int, isTransposed: Bool = false, offset: Int = 0) {
      self.count = count
      self.isTransposed = isTransposed
      self.offset = offset
    }
  }

  /// Element of an A or B operand.
  public enum MatrixElement: UInt8, Sendable, Hashable, CaseIterable {
    /// binary16.
    case f16
    /// bfloat16.
    case bf16
    /// The upper 19 bits of binary32; the low 13 are ignored.
    case tf32
    /// FP8, 4 exponent bits.
    case e4m3
    /// FP8, 5 exponent bits.
    case e5m2

    /// Bits in memory and registers.
    public var bitWidth: Int {
      switch self {
      case .f16, .bf16: 16
      case .tf32: 32
      case .e4m3, .e5m2: 8
      }
    }

    /// Whether this is one of the 8-bit formats, which mix freely.
    public var isFP8: Bool { bitWidth == 8 }
  }

  /// Type of an accumulator.
  public enum AccumulatorType: UInt8, Sendable, Hashable, CaseIterable {
    /// One f32 variable per element.
    case f32
    /// One f16x2 variable per two neighbouring elements; f16 and FP8 operands only.
    case f16

    /// Type of the accumulator variables.
    public var valueType: ValueType { self == .f32 ? .f32 : .f16x2 }
  }

  /// Shape and types of a warp product, m = 16, n = 8.
  public struct MMAShape: Sendable, Hashable {
    /// Inner dimension: 8 or 16 (16-bit), 4 or 8 (TF32), 32 (FP8).
    public var k: Int
    /// Element of A.
    public var a: MatrixElement
    /// Element of B: equal to `a` unless both are FP8.
    public var b: MatrixElement
    /// Type of D.
    public var accumulator: AccumulatorType

    /// A shape; `k` defaults to the larger one of the type.
    public init(
      _ a: MatrixElement, _ b: MatrixElement? = nil, k: Int? = nil,
      accumulator: AccumulatorType = .f32
    ) {
      self.a = a
      self.b = b ?? a
      self.k = k ?? 256 / a.bitWidth
      self.accumulator = accumulator
    }

    /// Variables of D in each lane: 4 f32 or 2 f16x2.
    public var accumulatorCount: Int { accumulator == .f32 ? 4 : 2 }
    /// Registers of A in each lane: 16·k elements over 32 lanes.
    public var aCount: Int { 16 * k * a.bitWidth / 1024 }
    /// Registers of B in each lane: k·8 elements over 32 lanes.
    public var bCount: Int { 8 * k * b.bitWidth / 1024 }
  }

  /// Shape, types and sources of a warpgroup product, m = 64, k = 256 bits of elements.
  public struct WGMMAShape: Sendable, Hashable {
    /// Columns of D: a multiple of 8 in 8…256.
    public var n: Int
    /// Element of A.
    public var a: MatrixElement
    /// Element of B: equal to `a` unless both are FP8.
    public var b: MatrixElement
    /// Type of D.
    public var accumulator: AccumulatorType
    /// Whether A comes from registers (K-major by definition) instead of shared memory.
    public var aInRegisters: Bool
    /// Shared A is M-major; 16-bit elements only.
    public var transposesA: Bool
    /// B is N-major; 16-bit elements only.
    public var transposesB: Bool
    /// Use −A.
    public var negatesA: Bool
    /// Use −B.
    public var negatesB: Bool

    /// A shape.
    public init(
      n: Int, _ a: MatrixElement, _ b: MatrixElement? = nil, accumulator: AccumulatorType = .f32,
      aInRegisters: Bool = false, transposesA: Bool = false, transposesB: Bool = false,
      negatesA: Bool = false, negatesB: Bool = false
    ) {
      self.n = n
      self.a = a
      self.b = b ?? a
      self.accumulator = accumulator
      self.aInRegisters = aInRegisters
      self.transposesA = transposesA
      self.transposesB = transposesB
      self.negatesA = negatesA
      self.negatesB = negatesB
    }

    /// Inner dimension: 16 (16-bit), 8 (TF32), 32 (FP8).
    public var k: Int { 256 / a.bitWidth }
    /// Variables of D in each lane: n/2 f32 or n/4 f16x2.
    public var accumulatorCount: Int { accumulator == .f32 ? n / 2 : n / 4 }
    /// Operands of A: 4 registers or 1 descriptor.
    public var aCount: Int { aInRegisters ? 4 : 1 }
  }
}

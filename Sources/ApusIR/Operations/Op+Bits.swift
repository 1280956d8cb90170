extension Op {
  /// Group 3: bit patterns, comparisons and predicates.
  public enum Bits: Sendable, Hashable {
    /// `(a: T, b: T) → T`. Bitwise AND; pred, u16 and integers of 32 and 64 bits. PTX § and.
    case and
    /// `(a: T, b: T) → T`. Bitwise OR; types as `and`. PTX § or.
    case or
    /// `(a: T, b: T) → T`. Bitwise XOR; types as `and`. PTX § xor.
    case xor
    /// `(a: T) → T`. Bitwise complement; types as `and`. PTX § not.
    case not
    /// `(a: T, n: u32) → T`. Shift left by n, zero from n = width on; integers of 16, 32 and 64
    /// bits. PTX § shl.
    case shl
    /// `(a: T, n: u32) → T`. Shift right by n: zeros for unsigned, the sign for signed types; n ≥
    /// width shifts everything out. Integers of 16, 32 and 64 bits. PTX § shr.
    case shr
    /// `(low: u32, high: u32, n: u32) → u32`. The high word of (high:low) << n. `.wrap`: n mod 32;
    /// `.clamp`: min(n, 32). PTX § shf.l.
    case funnelShiftLeft(FunnelMode)
    /// `(low: u32, high: u32, n: u32) → u32`. The low word of (high:low) >> n. `.wrap`: n mod 32;
    /// `.clamp`: min(n, 32). PTX § shf.r.
    case funnelShiftRight(FunnelMode)
    /// `(a: u32, b: u32, selector: u32) → u32`. Byte i of the result is byte s of (b:a), s = bits
    /// 4i…4i+2 of the selector; bit 4i+3 set replicates that byte's sign over the byte. Selector
    /// bits from 16 on are ignored. PTX § prmt (default mode).
    case prmt
    /// `(a: u32, b: u32, c: u32) → u32`. Each bit from the table: bit (4·a + 2·b + c) of `table`.
    /// AND is 0xC0 with c ignored; (a & b) | c is 0xEA. PTX § lop3.
    case lop3(table: UInt8)
    /// `(a: T) → u32`. Number of ones; u32, u64. PTX § popc.
    case popc
    /// `(a: T) → u32`. Zeros above the highest one, the width for 0; u32, u64. PTX § clz.
    case clz
    /// `(a: T) → T`. Bits in reverse order; u32, u64. PTX § brev.
    case brev
    /// `(a: T, start: u32, length: u32) → T`. Bits start… of `length` (both modulo 256), zero- or
    /// sign-extended as T; past the end the top bit counts as the sign. u32, s32. PTX § bfe.
    case bfe
    /// `(field: u32, base: u32, start: u32, length: u32) → u32`. `base` with `length` bits from
    /// `start` on replaced by the low bits of `field`; both modulo 256. PTX § bfi.
    case bfi
    /// `(a: T, b: T) → pred`. u16, integers of 32 and 64 bits, f32, f16, bf16. PTX § setp.
    case setp(Comparison)
  }

  /// How a funnel shift treats amounts of 32 and more.
  public enum FunnelMode: UInt8, Sendable, Hashable, CaseIterable {
    /// Modulo 32.
    case wrap
    /// At most 32.
    case clamp
  }

  /// A relation. Signedness comes from the operands' type. The first six are false if a
  /// floating-point operand is NaN; `-0 == +0`.
  public enum Comparison: UInt8, Sendable, Hashable, CaseIterable {
    /// a = b.
    case eq
    /// a ≠ b and neither is NaN.
    case ne
    /// a < b.
    case lt
    /// a ≤ b.
    case le
    /// a > b.
    case gt
    /// a ≥ b.
    case ge
    /// a = b or a NaN; floating point only, as the following.
    case equ
    /// a ≠ b or a NaN: the `!=` of IEEE 754.
    case neu
    /// a < b or a NaN.
    case ltu
    /// a ≤ b or a NaN.
    case leu
    /// a > b or a NaN.
    case gtu
    /// a ≥ b or a NaN.
    case geu
    /// Neither is NaN.
    case num
    /// At least one is NaN.
    case nan

    /// Whether only floating-point operands admit the relation.
    public var needsFloat: Bool { rawValue >= Comparison.equ.rawValue }
  }
}

extension Op {
  /// Group 2: arithmetic. *Number types* are u32, s32, u64, s64, f32, f16, bf16, f16x2 and bf16x2;
  /// u16 has no arithmetic. f32 ops never flush subnormals except where `.ftz` is said.
  public enum Arithmetic: Sendable, Hashable {
    /// `(a: T, b: T) → T`. a + b; number types. PTX § add.
    case add
    /// `(a: T, b: T) → T`. a − b; number types. PTX § sub.
    case sub
    /// `(a: T, b: T) → T`. a · b; integers keep the low half. Number types. PTX § mul (`.lo`).
    case mul
    /// `(a: T, b: T, c: T) → T`. a · b + c rounded once; floating-point number types. PTX § fma.
    case fma
    /// `(a: f32, b: f32) → f32`. a + b rounded as `rounding` says. PTX § add.
    case addRounded(Rounding)
    /// `(a: f32, b: f32) → f32`. a · b rounded as `rounding` says. PTX § mul.
    case mulRounded(Rounding)
    /// `(a: f32, b: f32, c: f32) → f32`. a · b + c rounded once as `rounding` says. PTX § fma.
    case fmaRounded(Rounding)
    /// `(a: T, b: T) → T`. The high half of the full product; u32, s32, u64, s64. PTX § mul.hi.
    case mulHigh
    /// `(a: u32, b: u32) → u64`, `(a: s32, b: s32) → s64`. The full product. PTX § mul.wide.
    case mulWide
    /// `(a: T, b: T, c: T) → T`. a · b + c, low half; integers of 32 and 64 bits. PTX § mad.lo.
    case mad
    /// `(a: u32, b: u32, c: u64) → u64`, `(a: s32, b: s32, c: s64) → s64`. The full product of a
    /// and b, plus c modulo 2^64. PTX § mad.wide.
    case madWide
    /// `(a: T, b: T) → T`. Integers (32 and 64 bits): truncated towards zero; b = 0 gives an
    /// unspecified value, no trap. f32: a ÷ b correctly rounded; slow, compiled to a subroutine
    /// that serialises `wgmma`: keep it out of kernels with warpgroup products. PTX § div.
    case div
    /// `(a: T, b: T) → T`. a − b · trunc(a ÷ b), the sign of a; integers of 32 and 64 bits; b = 0
    /// gives an unspecified value. PTX § rem.
    case rem
    /// `(a: T, b: T) → T`. The smaller. Floating point: −0 < +0; if one is NaN, the other; if both
    /// are, NaN. Number types. PTX § min.
    case min
    /// `(a: T, b: T) → T`. The larger; NaN as `min`. Number types. PTX § max.
    case max
    /// `(a: T, b: T) → T`. The smaller; NaN if either is NaN. Floating point. PTX § min.NaN.
    case minNaN
    /// `(a: T, b: T) → T`. The larger; NaN if either is NaN. Floating point. PTX § max.NaN.
    case maxNaN
    /// `(a: T) → T`. −a. Floating point flips the sign bit (of a NaN: unspecified). Signed integers
    /// and floating point. PTX § neg.
    case neg
    /// `(a: T) → T`. |a|; the least integer maps to itself. Signed integers and floating point.
    /// PTX § abs.
    case abs
    /// `(a: T) → T`. A fast approximation; types and error bound with each function.
    case approximate(ApproximateFunction)
    /// `(a: u32, b: u32) → u32`. Both 16-bit halves independently. PTX § min, max, add (`u16x2`,
    /// `s16x2`).
    case packed16(Packed16)
  }

  /// Direction of the one rounding of an f32 op.
  public enum Rounding: UInt8, Sendable, Hashable, CaseIterable {
    /// To the nearest value, ties to even (`rn`).
    case nearestEven
    /// Towards zero (`rz`).
    case towardZero
    /// Towards −∞ (`rm`).
    case down
    /// Towards +∞ (`rp`).
    case up
  }

  /// Fast functions of the special-function unit. The f32 forms flush subnormal inputs and results
  /// to zero of the same sign (`.approx.ftz`). Results may differ between GPUs within the bound,
  /// so the simulator is compared by tolerance.
  public enum ApproximateFunction: UInt8, Sendable, Hashable, CaseIterable {
    /// 2^a; f32 (relative error ≤ 2^−22), f16x2 and f16 (no flush, ≤ 2^−9.9), bf16x2 and bf16
    /// (flushes, ≤ 2^−7). ex2(−∞) = +0, ex2(+∞) = +∞. PTX § ex2.
    case ex2
    /// log₂ a; f32; absolute error ≤ 2^−22 in 0.5…2, else relative. lg2(0) = −∞, of a negative
    /// value NaN. PTX § lg2.
    case lg2
    /// 1 ÷ a; f32; within 1 ulp. rcp(±0) = ±∞, rcp(±∞) = ±0. PTX § rcp.
    case rcp
    /// 1 ÷ √a; f32; relative error ≤ 2^−22.9. rsqrt(+0) = +∞, of a negative value NaN.
    /// PTX § rsqrt.
    case rsqrt
    /// √a; f32; relative error ≤ 2^−23. Of a negative value NaN. PTX § sqrt.
    case sqrt
    /// tanh a; f32 (relative error ≤ 2^−11, does not flush), f16, f16x2, bf16, bf16x2.
    /// tanh(±∞) = ±1. PTX § tanh.
    case tanh
    /// sin a in radians; f32; absolute error ≤ 2^−20.5 in −π…π, grows beyond. PTX § sin.
    case sin
    /// cos a in radians; f32; absolute error ≤ 2^−20.5 in −π…π, grows beyond. PTX § cos.
    case cos
  }

  /// Integer ops on both 16-bit halves of a register.
  public enum Packed16: UInt8, Sendable, Hashable, CaseIterable {
    /// Unsigned maximum.
    case maxUnsigned
    /// Unsigned minimum.
    case minUnsigned
    /// Signed maximum.
    case maxSigned
    /// Signed minimum.
    case minSigned
    /// Sum modulo 2^16.
    case add
  }
}

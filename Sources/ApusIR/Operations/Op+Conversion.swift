extension Op {
  /// Group 4: conversions between number formats. Source and destination types are those of the
  /// operand and the result.
  public enum Conversion: Sendable, Hashable {
    /// `(x: S) → T`. Between integer types: widening extends zeros from unsigned and the sign from
    /// signed sources; narrowing keeps the low bits; same width keeps the bits. PTX § cvt.
    case integer
    /// `(x: S) → T`. From u32, s32, u64 or s64 to f32, rounded to nearest even. PTX § cvt.rn.
    case integerToFloat
    /// `(x: f32) → T`. To u32, s32, u64 or s64: round to an integer as `rounding` says, clamp to
    /// the range of T; NaN gives 0. PTX § cvt.rni, .rzi, .rmi, .rpi.
    case floatToInteger(Rounding)
    /// `(x: f32) → f32`. Round to an integer value as `rounding` says (`down` is floor). ±∞, NaN
    /// and −0 are kept. PTX § cvt.rni.f32.f32.
    case roundToInteger(Rounding)
    /// `(x: S) → f32`. Exact; f16, bf16. NaN stays NaN. PTX § cvt; bf16 on every target as the
    /// upper half of the f32 pattern.
    case widen
    /// `(x: f32) → T`. To f16 or bf16, nearest even; beyond the range ±∞. PTX § cvt.rn.
    case narrow
    /// `(low: f32, high: f32) → T`. To f16x2 or bf16x2, nearest even; beyond the range ±∞. Note
    /// the order: low first; the PTX instruction takes the high element first. PTX § cvt.rn.
    case narrowPair
    /// `(low: f32, high: f32) → u16` or `(x: f16x2) → u16`. To two FP8 codes, the low element in
    /// the low byte; nearest even, beyond the range the largest finite value of its sign, NaN to
    /// NaN. PTX § cvt.rn.satfinite.e4m3x2, .e5m2x2.
    case narrowFP8(FP8Format)
    /// `(codes: u16) → f16x2`. Exact: every FP8 value is a binary16 value; NaN stays NaN, e5m2
    /// infinities stay. PTX § cvt.rn.f16x2.e4m3x2, .e5m2x2.
    case widenFP8(FP8Format)
    /// `(x: f32) → u32`. The f32 pattern rounded to TF32 (10 mantissa bits), to nearest with ties
    /// away from zero; the low 13 bits are zero. PTX § cvt.rna.tf32.f32.
    case tf32
  }

  /// The 8-bit floating-point formats (OCP 8-bit floating point specification).
  public enum FP8Format: UInt8, Sendable, Hashable, CaseIterable {
    /// 4 exponent and 3 mantissa bits, largest 448, no infinity.
    case e4m3
    /// 5 exponent and 2 mantissa bits, largest finite 57344.
    case e5m2
  }
}

/// What a narrowing conversion does with values whose rounded magnitude exceeds the largest finite
/// value of the target.
///
/// Rounding decides, not the raw magnitude: the value is rounded to nearest even as if the
/// exponent range were unbounded, and only a result beyond the largest finite value overflows. So
/// 464 becomes 448 in e4m3 under both rules (a tie, and the code of 448 is even), while 65520
/// overflows f16 (a tie, and the code of 65504 is odd). NaN stays NaN under both rules. Storing to
/// f32, the working precision, keeps infinities under both.
public enum OverflowRule: Sendable, Hashable, CaseIterable {
  /// Overflowing finite values and infinities become the largest finite value with their sign
  /// (OCP OFP8 1.0, saturating mode).
  case saturate
  /// Overflowing finite values and infinities become infinity, or NaN in e4m3, which has no
  /// infinity (OCP OFP8 1.0, non-saturating mode).
  case nonSaturating
}

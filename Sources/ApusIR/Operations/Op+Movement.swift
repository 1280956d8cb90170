extension Op {
  /// Group 1: variables, copies, bit casts.
  public enum Movement: Sendable, Hashable {
    /// `() → T variable` or `(initial: T) → T variable`. Declares a variable, visible to the end
    /// of this region, nested regions included. In a loop body the declaration executes again in
    /// each round. Without an initial value the content is undefined until the first write.
    case variable
    /// `(x: T) → T variable`. Writes the variable named as result in each active lane; lanes that
    /// are not active keep theirs. PTX § mov.
    case assign
    /// `(x: T) → T`. An immutable snapshot of `x`, which later writes of a variable do not change.
    /// PTX § mov.
    case copy
    /// `(p: pred, a: T, b: T) → T`. `a` where `p`, else `b`; any type but `pred`. Both are already
    /// computed: nothing is skipped. PTX § selp.
    case select
    /// `(x: S) → T`. The same bits as another type of the same width; neither is `pred`. The
    /// result is bit-exact, NaN payloads included. PTX § mov.
    case bitcast
    /// `(low: S, high: S) → T`. Two patterns of 16 (32) bits to one of 32 (64): `low` in the low
    /// half. Any type of these widths. PTX § mov (vector form).
    case pack
    /// `(x: S) → (low: T, high: T)`. The two halves of a pattern of 32 or 64 bits; any types of
    /// these widths. PTX § mov (vector form).
    case unpack
  }
}

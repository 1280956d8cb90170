public import ApusCore

/// Writes new tokens into paged K/V or latent caches, converting and scaling on the way.
public enum Append {
  /// Appends the tokens of `arguments` where `problem` says.
  ///
  /// - Throws: `ApusError.argument` with every violation, before anything is written.
  public static func run(
    _ problem: AppendProblem, _ arguments: AppendArguments,
    on backend: any Backend, stream: ExecutionStream = .synchronous
  ) throws(ApusError) {
    try backend.append(problem, arguments, on: stream)
  }
}

/// Merges attention states (o, lse) over disjoint keys: `MergeArguments` has the formula.
public enum MergeStates {
  /// Merges two states, in place, or many.
  ///
  /// - Throws: `ApusError.argument` with every violation, before anything is written.
  public static func run(
    _ arguments: MergeArguments, on backend: any Backend,
    stream: ExecutionStream = .synchronous
  ) throws(ApusError) {
    try backend.merge(arguments, on: stream)
  }
}

/// Rotary position embedding of q and k: `RotaryEmbedding` has the formula.
public enum Rotary {
  /// Rotates q and k by their positions, in place or out of place.
  ///
  /// - Throws: `ApusError.argument` with every violation, before anything is written.
  public static func run(
    _ arguments: RotaryArguments, on backend: any Backend,
    stream: ExecutionStream = .synchronous
  ) throws(ApusError) {
    try backend.rotate(arguments, on: stream)
  }
}

/// Packs booleans into bits, whole or in segments.
public enum PackBits {
  /// Packs the flags of `arguments`.
  ///
  /// - Throws: `ApusError.argument` with every violation, before anything is written.
  public static func run(
    _ arguments: PackBitsArguments, on backend: any Backend,
    stream: ExecutionStream = .synchronous
  ) throws(ApusError) {
    try backend.packBits(arguments, on: stream)
  }
}

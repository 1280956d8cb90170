public import ApusIR

extension Block {
  /// `value` combined over aligned groups of `lanes` (a power of two, 1…32), the same result in
  /// each: a butterfly, log₂ lanes shuffles. `combine` must be associative and commutative.
  public func warpReduce<T: WordScalar>(
    _ value: Value<T>, lanes: Int = warpSize, file: String = #fileID, line: Int = #line,
    _ combine: (_ a: Value<T>, _ b: Value<T>) -> Value<T>
  ) -> Value<T> {
    guard (1...warpSize).contains(lanes), lanes & (lanes - 1) == 0 else {
      elaborationFailure(
        "warpReduce: lanes must be a power of two in 1…32; found \(lanes).", file: file,
        line: line)
      return value
    }
    var result = value
    var distance = lanes / 2
    while distance > 0 {
      result = combine(result, shuffle(result, xor: distance, file: file, line: line))
      distance /= 2
    }
    return `let`(result, file: file, line: line)
  }

  /// The largest value of each group of `lanes`.
  public func warpMax<T: WordScalar & NumberScalar>(
    _ value: Value<T>, lanes: Int = warpSize, file: String = #fileID, line: Int = #line
  ) -> Value<T> {
    warpReduce(value, lanes: lanes, file: file, line: line) { max($0, $1) }
  }

  /// The sum over each group of `lanes`.
  public func warpSum<T: WordScalar & NumberScalar>(
    _ value: Value<T>, lanes: Int = warpSize, file: String = #fileID, line: Int = #line
  ) -> Value<T> {
    warpReduce(value, lanes: lanes, file: file, line: line) { $0 + $1 }
  }

  /// `value` combined over all threads of the block, the same result in each.
  ///
  /// Each warp reduces by shuffles and leaves one element in `scratch`; every thread then combines
  /// those of all warps in order. All threads take part; two barriers, the second after `scratch`
  /// was read, so that it may be used again.
  ///
  /// - Parameter scratch: at least as many elements as the block has warps.
  public func blockReduce<T: WordScalar>(
    _ value: Value<T>, scratch: SharedArray<T>, file: String = #fileID, line: Int = #line,
    _ combine: (_ a: Value<T>, _ b: Value<T>) -> Value<T>
  ) -> Value<T> {
    let warps = launch.warpCount
    require(
      scratch.count >= warps,
      "blockReduce: scratch must have an element per warp; found \(scratch.count) for \(warps).",
      file: file, line: line)
    let own = warpReduce(value, file: file, line: line, combine)
    when(laneIndex == 0, file: file, line: line) {
      store(own, to: scratch[threadIndex >> 5], file: file, line: line)
    }
    syncThreads(file: file, line: line)
    let first = scratch.pointer
    var result = load(first, file: file, line: line)
    for warp in 1..<max(1, warps) {
      result = combine(result, load(first[warp], file: file, line: line))
    }
    syncThreads(file: file, line: line)
    return result
  }

  /// The largest value in the block; see `blockReduce`.
  public func blockMax<T: WordScalar & NumberScalar>(
    _ value: Value<T>, scratch: SharedArray<T>, file: String = #fileID, line: Int = #line
  ) -> Value<T> {
    blockReduce(value, scratch: scratch, file: file, line: line) { max($0, $1) }
  }

  /// The sum over the block; see `blockReduce`.
  public func blockSum<T: WordScalar & NumberScalar>(
    _ value: Value<T>, scratch: SharedArray<T>, file: String = #fileID, line: Int = #line
  ) -> Value<T> {
    blockReduce(value, scratch: scratch, file: file, line: line) { $0 + $1 }
  }
}

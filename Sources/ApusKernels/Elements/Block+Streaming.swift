internal import ApusDSL
internal import ApusIR

extension Caching {
  /// Data read once that the launch itself may write: not kept in L1, coherent.
  static let once = Caching(l1: .noAllocate)
}

extension Value where T == U32 {
  /// The full 64-bit product with a number of the configuration.
  func multipliedWide(by factor: Int) -> Value<U64> { converted(to: U64.self) * factor }
}

extension Block {
  /// On Hopper: lets the next launch start and waits for the ones before this (programmatic
  /// dependent launch); elsewhere nothing. Stands before the first access of memory.
  func startDependents(file: String = #fileID, line: Int = #line) {
    guard isHopper else { return }
    launchDependents(file: file, line: line)
    waitForDependencies(file: file, line: line)
  }

  /// The words where `condition` holds, else zeros.
  func zeroed(_ words: [Value<U32>], unless condition: Value<Pred>) -> [Value<U32>] {
    let zero = constant(0, as: U32.self)
    return words.map { select(condition, $0, zero) }
  }
}

internal import ApusThreads

/// Counts the cases that run each kernel: hand `record` to a back end that tells of its launches, and
/// the counter to `Suite`.
public final class KernelCounter: Sendable {
  private let counts = Lock<[String: Int]>([:])

  /// Symbols of one case.
  private final class Box: Sendable {
    let symbols = Lock<Set<String>>([])
  }

  /// The case that this thread runs.
  @TaskLocal private static var current: Box?

  /// Nothing counted yet.
  public init() {}

  /// Hears of a launch, on the thread that makes it.
  public func record(_ symbol: String) {
    _ = Self.current?.symbols.withLock { $0.insert(symbol) }
  }

  /// Cases by symbol.
  public var cases: [String: Int] { counts.withLock { $0 } }

  /// Runs a check and says what it launched.
  static func recording<Value>(_ body: () -> Value) -> (value: Value, symbols: Set<String>) {
    let box = Box()
    let value = $current.withValue(box) { body() }
    return (value, box.symbols.withLock { $0 })
  }

  /// Counts one case that launched these kernels.
  func add(_ symbols: Set<String>) {
    counts.withLock { counts in
      for symbol in symbols { counts[symbol, default: 0] += 1 }
    }
  }
}

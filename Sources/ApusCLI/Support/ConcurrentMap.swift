import Dispatch
import Foundation

/// `items.map(body)` on all cores; throws the error of the first item that has one.
func concurrentMap<Item: Sendable, Result: Sendable>(
  _ items: [Item], _ body: @Sendable (Item) throws -> Result
) throws -> [Result] {
  let results = ConcurrentResults<Result>(count: items.count)
  DispatchQueue.concurrentPerform(iterations: items.count) { index in
    let item = items[index]
    results.set(index, Swift.Result { try body(item) })
  }
  return try results.all.map { try $0.get() }
}

/// Results by index.
///
/// `@unchecked Sendable`: every access to the mutable state happens under `lock`.
private final class ConcurrentResults<Value: Sendable>: @unchecked Sendable {
  private let lock = NSLock()
  private var values: [Result<Value, any Error>?]

  init(count: Int) {
    values = Array(repeating: nil, count: count)
  }

  func set(_ index: Int, _ value: Result<Value, any Error>) {
    lock.lock()
    defer { lock.unlock() }
    values[index] = value
  }

  /// All results, which are there once every iteration has returned.
  var all: [Result<Value, any Error>] {
    lock.lock()
    defer { lock.unlock() }
    return values.compactMap(\.self)
  }
}

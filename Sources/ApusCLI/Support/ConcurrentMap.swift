import ApusCPU
import ApusThreads

/// `items.map(body)` on all CPUs that the process may use; throws the error of the first item that has
/// one.
func concurrentMap<Item: Sendable, Result: Sendable>(
  _ items: [Item], _ body: @Sendable (Item) throws -> Result
) throws -> [Result] {
  try concurrentMap(items, threadCount: ThreadPool.availableCPUs, body)
}

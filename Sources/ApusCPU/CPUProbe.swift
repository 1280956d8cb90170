internal import CApusSIMD

/// Measured limits of this machine, the denominators of every fraction that benchmarks print.
public struct MachineLimits: Sendable, Hashable {
  /// Threads that were measured together.
  public var threadCount: Int
  /// Bytes read per second beyond the caches by all threads together.
  public var readBytesPerSecond: Double
  /// f32 multiply-adds per second by all threads together, counted as two operations each.
  public var fmaFlopsPerSecond: Double
  /// Operations per second in products of bfloat16 pairs, four for each lane of 32 bits; nil where
  /// the instruction set has none.
  public var dotFlopsPerSecond: Double?
}

extension CPUEngine {
  /// Measures read bandwidth and arithmetic peaks with the engine's instruction set and all its threads.
  ///
  /// Each figure is the best of `repetitions`: limits are what the machine can do when nothing
  /// disturbs it.
  ///
  /// - Parameter bytes: size of the buffer that is read; choose several times the last-level cache.
  public func measureLimits(bytes: Int = 256 << 20, repetitions: Int = 5) -> MachineLimits {
    let perThread = max(bytes / threadCount / 4096 * 4096, 4096)
    let total = perThread * threadCount
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: total, alignment: 4096)
    defer { buffer.deallocate() }
    buffer.initializeMemory(as: UInt8.self, repeating: 1, count: total)
    let base = UInt(bitPattern: buffer)
    let kernels = kernels
    var bestRead = Double.infinity
    var bestFMA = 0.0
    var bestDot: Double?
    for _ in 0..<max(repetitions, 1) {
      let start = ContinuousClock.now
      threads.forEach(threadCount) { part, _ in
        let pointer = UnsafeRawPointer(bitPattern: base + UInt(part * perThread))
        _ = kernels.readProbe(pointer, perThread)
      }
      bestRead = min(bestRead, seconds(ContinuousClock.now - start))
      bestFMA = max(bestFMA, flopsPerSecond(kernels.fmaProbe))
      if let dot = kernels.dot { bestDot = max(bestDot ?? 0, flopsPerSecond(dot.probe)) }
    }
    return MachineLimits(
      threadCount: threadCount, readBytesPerSecond: Double(total) / bestRead,
      fmaFlopsPerSecond: bestFMA, dotFlopsPerSecond: bestDot)
  }

  private static let probeIterations: Int64 = 2_000_000

  /// Operations per second of all threads in a probe of arithmetic.
  private func flopsPerSecond(
    _ probe: @escaping @convention(c) (Int64, UnsafeMutablePointer<Float>?) -> Double
  ) -> Double {
    let start = ContinuousClock.now
    threads.forEach(threadCount) { _, _ in
      var sink: Float = 0
      _ = probe(Self.probeIterations, &sink)
    }
    let elapsed = seconds(ContinuousClock.now - start)
    var sink: Float = 0
    return probe(1, &sink) * Double(Self.probeIterations) * Double(threadCount) / elapsed
  }

  private func seconds(_ duration: Duration) -> Double {
    let parts = duration.components
    return Double(parts.seconds) + Double(parts.attoseconds) * 1e-18
  }
}

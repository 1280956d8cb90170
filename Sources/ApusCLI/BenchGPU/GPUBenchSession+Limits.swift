internal import Apus
internal import ApusCUDA
internal import ApusKernels

extension GPUBenchSession {
  /// Bytes of each array that the streaming kernels move: far beyond the L2.
  private static var streamedByteCount: Int { 1 << 30 }

  /// Bytes a second, read and written ones together, of a kernel that reads `reads` arrays and writes
  /// one or none and does nothing else; measured once a session.
  func streamRate(reads: Int, writes: Bool) throws -> Double {
    let key = StreamKernel(reads: reads, writes: writes)
    if let rate = streamRates[key] { return rate }
    // All arrays together stay below a few gigabytes.
    let byteCount = Self.streamedByteCount / reads
    let inputs = try (0..<reads).map { _ in try normal(.f32, [byteCount / 4]) }
    let output = try output(.f32, [writes ? byteCount / 4 : 4])
    let launch = key.launch(
      inputs: inputs.map { UInt64($0.address) }, output: UInt64(output.address),
      byteCount: byteCount, multiprocessorCount: device.properties.multiprocessorCount)
    let call: GPUCall = { [self] in
      try backend.launcher.launch([launch], on: queue, operation: "apus bench")
    }
    let seconds = try timer.graph([call]).seconds
    guard let samples = GPUSamples(seconds) else { return 0 }
    let rate = Double((reads + (writes ? 1 : 0)) * byteCount) / samples.medianSeconds
    streamRates[key] = rate
    return rate
  }

  /// The read-only and the copy rate.
  func limits() throws -> GPULimits {
    let limits = GPULimits(
      readBytesPerSecond: try streamRate(reads: 1, writes: false),
      copyBytesPerSecond: try streamRate(reads: 1, writes: true))
    dropTensors()
    return limits
  }
}

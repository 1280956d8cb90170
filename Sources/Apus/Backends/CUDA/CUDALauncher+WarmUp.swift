internal import ApusCUDA
package import ApusCore
internal import ApusDSL
package import ApusKernels
internal import ApusThreads
internal import Logging

/// What a warm-up made of one kernel.
package struct KernelWarmUp: Sendable {
  /// The kernel.
  package let symbol: String
  /// Nanoseconds of building, printing and loading; 0 if it was ready before.
  package let nanoseconds: UInt64
  /// How it ended.
  package let outcome: Outcome

  /// How a kernel's warm-up ended.
  package enum Outcome: Sendable {
    /// Ready, and its self-test passed.
    case tested
    /// Ready; it has no self-test, or they are off.
    case untested
    /// The driver's usual code was wrong; that of a lower optimisation level is right and in use.
    case replaced(reasons: [String])
    /// Not usable.
    case failed(ApusError)
  }
}

extension CUDALauncher {
  /// Compiles kernels, several at once, and tests those that bring a sample: a small problem whose
  /// results are known. Kernels that are in the cache already count as ready.
  ///
  /// A kernel whose results are wrong is compiled again without optimisation and tested again; when
  /// that fails too it is not kept, so that no run uses it without compiling it anew.
  package func warmUp(
    _ kernels: [any ShippedKernel], operation: String
  ) -> [KernelWarmUp] {
    let reports = KernelReports()
    let failures = cache.warmUp(
      kernels.map(KernelKey.init), in: context, threadCount: options.compilerThreadCount
    ) { (key) throws(ApusError) in
      let kernel = key.kernel
      let usual = try self.compile(kernel, operation: operation)
      guard self.options.runsSelfTests, let sampled = kernel as? any SampledKernel else {
        reports.add(kernel.symbol, usual.nanoseconds, .untested)
        return usual
      }
      let wrong = try self.selfTest(sampled, usual, operation: operation)
      if wrong.isEmpty {
        reports.add(kernel.symbol, usual.nanoseconds, .tested)
        return usual
      }
      var jit = JITOptions()
      jit.optimizationLevel = 0
      let plain = try self.compile(kernel, jit: jit, operation: operation)
      let stillWrong = try self.selfTest(sampled, plain, operation: operation)
      guard stillWrong.isEmpty else {
        throw ApusError.environment(
          EnvironmentError(
            operation: "\(operation)(\(kernel.symbol))", code: 0,
            text: "the driver's compiler makes code with wrong results, with and without "
              + "optimisation: \(wrong.joined(separator: "; "))",
            remedy: "Update the NVIDIA driver, or use the CPU back end, and report this line."))
      }
      self.options.logger.warning(
        "the driver's compiler makes wrong code of a kernel; unoptimised code is used instead",
        metadata: ["kernel": "\(kernel.symbol)", "found": "\(wrong.joined(separator: "; "))"])
      reports.add(kernel.symbol, usual.nanoseconds + plain.nanoseconds, .replaced(reasons: wrong))
      return plain
    }
    for (key, error) in failures { reports.add(key.kernel.symbol, 0, .failed(error)) }
    let made = reports.bySymbol
    return kernels.map { kernel in
      made[kernel.symbol]
        ?? KernelWarmUp(symbol: kernel.symbol, nanoseconds: 0, outcome: .untested)
    }
  }

  /// What is wrong with a compiled kernel's results on its own sample; empty for nothing.
  func selfTest(
    _ kernel: any SampledKernel, _ compiled: CompiledKernel, operation: String
  ) throws(ApusError) -> [String] {
    let sample = kernel.sample(seed: 1)
    var contents = sample.buffers.map(\.bytes)
    let failure = try wrappingDriver(operation) { () throws(CUDAError) in
      try context.relaxingCaptures(operation) { () throws(CUDAError) in
        try run(sample, compiled, &contents)
      }
    }
    if let failure {
      throw .bug(InternalError(operation: operation, detail: failure.detail))
    }
    return sample.check(contents)
  }

  /// Runs a sample; what is wrong with its launches, if something is.
  private func run(
    _ sample: KernelSample, _ compiled: CompiledKernel, _ contents: inout [[UInt8]]
  ) throws(CUDAError) -> InternalError? {
    let stream = try Stream(in: context)
    var memory: [CUDAAllocation] = []
    for buffer in sample.buffers {
      let allocation = try planMemory.allocate(byteCount: buffer.bytes.count)
      try context.copy(
        buffer.bytes, to: DeviceView(address: allocation.address, byteCount: buffer.bytes.count))
      memory.append(allocation)
    }
    let sequence = LaunchSequence(in: context)
    for launch in sample.launches(memory.map(\.address)) where launch.grid.blockCount > 0 {
      let bug = try compiled.add(launch, lists: 0, workspace: 0, to: sequence, in: context)
      if let bug { return bug }
    }
    try sequence.enqueue(on: stream.handle)
    try stream.synchronize()
    for (index, allocation) in memory.enumerated() {
      let view = DeviceView(address: allocation.address, byteCount: allocation.byteCount)
      try context.copy(from: view, to: &contents[index])
    }
    return nil
  }
}

/// Reports of a warm-up's threads.
private final class KernelReports: Sendable {
  private let made = Lock<[String: KernelWarmUp]>([:])

  func add(_ symbol: String, _ nanoseconds: UInt64, _ outcome: KernelWarmUp.Outcome) {
    made.withLock {
      $0[symbol] = KernelWarmUp(symbol: symbol, nanoseconds: nanoseconds, outcome: outcome)
    }
  }

  var bySymbol: [String: KernelWarmUp] { made.withLock { $0 } }
}

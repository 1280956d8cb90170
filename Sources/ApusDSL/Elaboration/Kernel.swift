public import ApusIR

/// A GPU kernel written in Swift: a struct whose stored properties are its specialisation.
///
/// `body` runs once, when the kernel is built: Swift's `if` and `for` decide and unroll then, while
/// `block.when` and `block.loop` become branches and loops on the device.
///
/// ```swift
/// struct Scale: Kernel {
///   let factor: Float
///   let symbol = "scale"
///   let launch = LaunchBounds(threads: 128)
///   func body(_ block: Block) {
///     let x = block.pointer("x", to: F32.self)
///     let i = block.globalThreadIndex
///     block.store(block.load(x[i]) * factor, to: x[i])
///   }
/// }
/// ```
public protocol Kernel: Sendable {
  /// The entry name: an ASCII identifier, derived from the specialisation.
  var symbol: String { get }
  /// Threads, cluster and residency.
  var launch: LaunchBounds { get }
  /// The oldest GPU the kernel is for; sm_80 unless said otherwise.
  var target: Target { get }
  /// Declares the parameters, in launch order, and emits the code.
  func body(_ block: Block)
}

extension Kernel {
  /// sm_80, the oldest supported.
  public var target: Target { .sm80 }

  /// The kernel's IR: elaborated, legalised for the target, simplified by
  /// `KernelIR.standardPasses` and verified.
  ///
  /// - Parameter target: what the verifier checks against; the kernel's own unless given.
  /// - Throws: `ElaborationError` with every mistake of `body`, or else everything the verifier
  ///   found.
  public func build(
    for target: Target? = nil, file: String = #fileID, line: Int = #line
  ) throws(ElaborationError) -> KernelIR {
    let target = target ?? self.target
    var kernel = try elaborate(for: target, SourceLocation(fileID: file, line: line))
    simplify(&kernel, for: target)
    try verify(kernel, for: target)
    return kernel
  }

  /// Builds as `build` does and says how long each step took.
  public func timedBuild(
    for target: Target? = nil, file: String = #fileID, line: Int = #line
  ) throws(ElaborationError) -> (kernel: KernelIR, times: ConstructionTimes) {
    let target = target ?? self.target
    let clock = ContinuousClock()
    let start = clock.now
    var kernel = try elaborate(for: target, SourceLocation(fileID: file, line: line))
    let elaborated = clock.now
    let emittedNodes = kernel.body.totalNodeCount
    let counted = clock.now
    simplify(&kernel, for: target)
    let simplified = clock.now
    try verify(kernel, for: target)
    let verified = clock.now
    return (
      kernel,
      ConstructionTimes(
        emittedNodes: emittedNodes, keptNodes: kernel.body.totalNodeCount,
        elaboration: elaborated - start, passes: simplified - counted,
        verification: verified - simplified)
    )
  }

  private func elaborate(
    for target: Target, _ location: SourceLocation
  ) throws(ElaborationError) -> KernelIR {
    let emitter = Emitter(symbol: symbol, launch: launch, target: target, at: location)
    body(Block(emitter: emitter))
    let (kernel, failures) = emitter.finish()
    guard failures.isEmpty else {
      throw ElaborationError(symbol: symbol, failures: failures)
    }
    return kernel
  }

  private func simplify(_ kernel: inout KernelIR, for target: Target) {
    kernel = Legalisation.run(kernel, target: target)
    let facts = KernelFacts(kernel, target: target)
    for pass in KernelIR.standardPasses { pass.apply(to: &kernel, knowing: facts) }
    // Leaves no dead code: copies that nothing reads went before.
    SnapshotForwarding.apply(to: &kernel, knowing: facts)
  }

  private func verify(_ kernel: KernelIR, for target: Target) throws(ElaborationError) {
    let diagnostics = Verifier.verify(kernel, target: target)
    guard diagnostics.isEmpty else {
      throw ElaborationError(symbol: symbol, diagnostics: diagnostics)
    }
  }
}

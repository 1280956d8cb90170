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

  /// The kernel's IR: elaborated, simplified by `KernelIR.standardPasses` and verified.
  ///
  /// - Parameter target: what the verifier checks against; the kernel's own unless given.
  /// - Throws: `ElaborationError` with every mistake of `body`, or else everything the verifier
  ///   found.
  public func build(
    for target: Target? = nil, file: String = #fileID, line: Int = #line
  ) throws(ElaborationError) -> KernelIR {
    let emitter = Emitter(
      symbol: symbol, launch: launch, target: target ?? self.target,
      at: SourceLocation(fileID: file, line: line))
    body(Block(emitter: emitter))
    let (raw, failures) = emitter.finish()
    guard failures.isEmpty else {
      throw ElaborationError(symbol: symbol, failures: failures)
    }
    let kernel = KernelIR.standardPasses.reduce(raw) { kernel, pass in pass.run(kernel) }
    let result = DeadCode.run(SnapshotForwarding.run(kernel))
    let diagnostics = Verifier.verify(result, target: target ?? self.target)
    guard diagnostics.isEmpty else {
      throw ElaborationError(symbol: symbol, diagnostics: diagnostics)
    }
    return result
  }
}

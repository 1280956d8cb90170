public import ApusDSL
public import ApusIR
internal import ApusNumerics

/// Dense attention of many query tokens on Hopper: o = softmax(scale · QKᵀ) · V, and lse.
///
/// Blocks stay on their multiprocessor and take tile after tile (`PrefillScheduler`). Within one, a
/// producer warp copies Q, K and V by tensor copies into rings (`PrefillProducer`), and warpgroups of
/// 64 rows each multiply with `wgmma`: the product of the next K tile runs while the softmax of this
/// one is computed (`PrefillConsumer`). Lengths are the same for all requests of a launch; rows and
/// keys beyond them are zeros by the tensor maps' clipping and masked or never stored.
///
/// A value that a row must not see has weight 0 there but stands in the same product as the row's
/// own, which matters for NaN and ∞ only: `HiddenValues` undoes it.
///
/// Sources: arXiv 2205.14135 and 2307.08691 (tiled attention), 2407.08608 (warp roles, ping-pong and
/// overlap within a warpgroup on Hopper).
public struct PrefillKernel: ShippedKernel {
  /// All its choices.
  public let configuration: DensePrefillConfiguration

  /// The kernel of a configuration whose `violations` are empty; another one's build throws them.
  public init(_ configuration: DensePrefillConfiguration) { self.configuration = configuration }

  /// Derived from the configuration.
  public var symbol: String { configuration.symbol }
  /// Attention of many query tokens.
  public var family: KernelFamily { .prefill }
  /// Hopper with its architecture-specific features.
  public var target: Target { .sm90a }
  /// A block per multiprocessor.
  public var launch: LaunchBounds {
    LaunchBounds(threads: configuration.threads, clusterSize: configuration.clusterSize)
  }

  /// Declares the parameters and emits both roles.
  public func body(_ block: Block) {
    let violations = configuration.violations
    guard violations.isEmpty else {
      for violation in violations { block.elaborationFailure("PrefillKernel: \(violation).") }
      return
    }
    switch configuration.element {
    case .f16: body(block, F16.self)
    default: body(block, BF16.self)
    }
  }

  private func body<Element: MatrixScalar>(_ block: Block, _ element: Element.Type) {
    let shared = PrefillSharedMemory<Element>(block, configuration)
    let parameters = PrefillParameters<Element>(block, configuration)
    block.initialise(shared.barriers)
    if configuration.clusterSize > 1 {
      block.arriveCluster()
      block.waitCluster()
    }
    if configuration.overlapsPredecessor { block.waitForDependencies() }

    block.roles { roles in
      roles.role("producer", warps: 0..<4, registers: configuration.producerRegisters) {
        PrefillProducer(block, configuration, parameters, shared).run()
      }
      roles.role(
        "consumer", warps: 4..<4 * (1 + configuration.consumerCount),
        registers: configuration.consumerRegisters
      ) {
        PrefillConsumer(block, configuration, parameters, shared).run()
      }
    }
    if configuration.clusterSize > 1 {
      // A copy or an arrival of the other block must not meet a block that has gone.
      block.arriveCluster()
      block.waitCluster()
    }
  }
}

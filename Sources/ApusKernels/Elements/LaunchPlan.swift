/// The launches of one operator call and the host lists that they read.
public struct LaunchPlan: Sendable {
  /// In order; each depends on those before it.
  public var launches: [KernelLaunch]
  /// Bytes that `LaunchValue.metadata` offsets count from: the back end places them in device
  /// memory, aligned to 16 bytes, before the first launch.
  public var metadata: [UInt8]
  /// Bytes that `LaunchValue.workspace` offsets count from, aligned to 16; need no initial content.
  public var workspaceByteCount: Int

  /// A plan.
  public init(
    launches: [KernelLaunch] = [], metadata: [UInt8] = [], workspaceByteCount: Int = 0
  ) {
    self.launches = launches
    self.metadata = metadata
    self.workspaceByteCount = workspaceByteCount
  }

  /// Appends a list to the metadata at a multiple of 16 bytes.
  mutating func place<Element: BitwiseCopyable>(_ list: [Element]) -> LaunchValue {
    metadata += [UInt8](repeating: 0, count: -metadata.count & 15)
    let offset = metadata.count
    list.withUnsafeBytes { metadata += $0 }
    return .metadata(byteOffset: offset)
  }
}

/// A configuration that a call does not get, and why.
public struct KernelRejection: Sendable, Hashable, CustomStringConvertible {
  /// The configuration.
  public let symbol: String
  /// `requirement; found value`.
  public let reason: String

  /// `sm80_merge_pair_bf16_bf16_v8: strides must be multiples of 16 bytes; found 6`.
  public var description: String { "\(symbol): \(reason)" }
}

/// The configuration that a call gets and those it does not get, best first.
public struct KernelSelection<Kernel: ShippedKernel>: Sendable {
  /// What runs.
  public let kernel: Kernel
  /// What would have been faster, one reason each.
  public let rejected: [KernelRejection]
}

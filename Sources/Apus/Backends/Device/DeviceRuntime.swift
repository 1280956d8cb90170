package import ApusCore
package import ApusKernels

/// Memory of a device that lives as long as this object.
package protocol DeviceAllocation: AnyObject, Sendable {
  /// First byte; 0 when there are none.
  var address: UInt64 { get }
  /// Number of bytes.
  var byteCount: Int { get }
}

/// Where the lists lie that launches name by `LaunchValue.metadata`.
package enum LaunchLists {
  /// In memory of a plan, uploaded when it was made.
  case resident(any DeviceAllocation)
  /// On the host: they go to the device in stream order before the first launch.
  case host([UInt8])
}

/// Launches of one operator call with everything that their arguments refer to.
package struct LaunchBatch {
  /// The launches, in order.
  package var launches: [KernelLaunch]
  /// What `LaunchValue.metadata` counts from.
  package var lists: LaunchLists
  /// What `LaunchValue.workspace` counts from; 0 for none.
  package var workspace: UInt64
  /// Bytes that the launches may touch, apart from lists; asked for by runtimes that check accesses.
  package var operands: @Sendable () -> [OperandSpan]

  /// A batch.
  package init(
    _ launches: [KernelLaunch], lists: LaunchLists = .host([]), workspace: UInt64 = 0,
    operands: @escaping @Sendable () -> [OperandSpan]
  ) {
    self.launches = launches
    self.lists = lists
    self.workspace = workspace
    self.operands = operands
  }
}

/// A batch whose arguments are encoded: enqueuing it again costs little more than the driver's calls.
package protocol PackedLaunches: AnyObject, Sendable {
  /// Enqueues the batch on the stream; with `.synchronous`, waits for it.
  func run(on stream: ExecutionStream, operation: String) throws(ApusError)
}

/// A launcher with memory: what a device back end is built on.
package protocol DeviceRuntime: KernelLauncher {
  /// Blocks of the largest cluster that is not known to be refused; may shrink when a kernel is
  /// prepared that has a larger one.
  var largestCluster: Int { get }

  /// Encodes a batch whose lists are resident, for any number of runs; nil where that saves nothing.
  func pack(_ batch: LaunchBatch, operation: String) throws(ApusError) -> (any PackedLaunches)?

  /// Device memory for a plan. Callers make plans, never runs, of it.
  func allocate(
    byteCount: Int, operation: String
  ) throws(ApusError) -> any DeviceAllocation

  /// Device memory that holds ranges of what `write` writes to host memory of `byteCount` bytes, at
  /// the same places, and zeros behind all of it, when this returns.
  func upload(
    _ ranges: [Range<Int>], of byteCount: Int, zeroCount: Int, operation: String,
    write: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(ApusError) -> any DeviceAllocation

  /// Makes ready for any number of calls of `rewrite` with so many bytes.
  func reserveRewrites(byteCount: Int, operation: String) throws(ApusError)

  /// Changes ranges of device memory to what `write` writes, as `upload` does, in the order of the
  /// stream, without allocation and synchronisation; with `.synchronous`, waits for it.
  func rewrite(
    _ memory: any DeviceAllocation, _ ranges: [Range<Int>], of byteCount: Int,
    on stream: ExecutionStream, operation: String, write: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(ApusError)

  /// Waits for the stream and returns the first bytes of device memory, which are zeros afterwards;
  /// nil, at once, while the stream is captured.
  func take(
    _ byteCount: Int, of memory: any DeviceAllocation, on stream: ExecutionStream, operation: String
  ) throws(ApusError) -> [UInt8]?

  /// Enqueues a batch on the stream; with `.synchronous`, waits for it.
  func run(
    _ batch: LaunchBatch, on stream: ExecutionStream, operation: String
  ) throws(ApusError)
}

extension DeviceRuntime {
  /// Device memory that holds `bytes`, and zeros behind them, when this returns.
  package func upload(
    _ bytes: [UInt8], zeroCount: Int = 0, operation: String
  ) throws(ApusError) -> any DeviceAllocation {
    try upload([0..<bytes.count], of: bytes.count, zeroCount: zeroCount, operation: operation) {
      memory in bytes.withUnsafeBytes { memory.copyMemory(from: $0) }
    }
  }

  /// Clusters of any size that a GPU can have.
  package var largestCluster: Int { 16 }

  /// Launches whose arguments are complete: no lists, no workspace.
  package func launch(
    _ launches: [KernelLaunch], on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    try run(LaunchBatch(launches) { [] }, on: stream, operation: operation)
  }
}

extension LaunchValue {
  /// The value with an address in the place of an offset into the plan's counters, which have left
  /// the lists.
  func resolvingCounters(from counterOffset: Int, at address: UInt64) -> LaunchValue {
    guard case .metadata(let offset) = self, offset >= counterOffset else { return self }
    return .pointer(address &+ UInt64(offset - counterOffset))
  }

  /// The value with addresses in the place of offsets into lists and workspace.
  func resolved(lists: UInt64, workspace: UInt64) -> LaunchValue {
    switch self {
    case .metadata(let offset): .pointer(lists &+ UInt64(bitPattern: Int64(offset)))
    case .workspace(let offset): .pointer(workspace &+ UInt64(bitPattern: Int64(offset)))
    default: self
    }
  }
}

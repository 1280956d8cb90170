/// A kernel in typed form: the one input of the PTX printer, simulator, verifier and text printer.
public struct KernelIR: Sendable, Hashable {
  /// The entry name: an ASCII identifier, stable over releases.
  public var symbol: String
  /// The launch signature, in order.
  public var parameters: [Parameter]
  /// Threads, cluster and residency of a launch.
  public var launch: LaunchBounds
  /// Shared memory, indexed by `SharedID`.
  public var shared: [SharedAllocation]
  /// Named barriers, indexed by `NamedBarrierID`.
  public var barriers: [NamedBarrier]
  /// Pairs of mbarrier arrays that hand stages back and forth.
  public var rings: [Ring]
  /// Every value, indexed by `ValueID`.
  public var values: [ValueInfo]
  /// The code; each thread of each block runs it once.
  public var body: Region

  /// A kernel.
  public init(
    symbol: String, parameters: [Parameter] = [], launch: LaunchBounds,
    shared: [SharedAllocation] = [], barriers: [NamedBarrier] = [], rings: [Ring] = [],
    values: [ValueInfo] = [], body: Region = Region()
  ) {
    self.symbol = symbol
    self.parameters = parameters
    self.launch = launch
    self.shared = shared
    self.barriers = barriers
    self.rings = rings
    self.values = values
    self.body = body
  }

  /// Description of one value. The id must come from this kernel.
  @inlinable
  public subscript(value: ValueID) -> ValueInfo { values[value.index] }

  /// Type of an operand of this kernel.
  @inlinable
  public func type(of operand: Operand) -> ValueType {
    switch operand {
    case .value(let id): values[id.index].type
    case .constant(let constant): constant.type
    }
  }

  /// Bytes of the shared window: the end of the allocation that ends last.
  public var sharedByteCount: Int { shared.map { $0.offset + $0.byteCount }.max() ?? 0 }

  /// Alignment of the shared window: the strictest of its allocations, at least 16.
  public var sharedAlignment: Int { max(16, shared.map(\.alignment).max() ?? 16) }
}

/// Kernels that are printed and loaded together.
public struct ModuleIR: Sendable, Hashable {
  /// The kernels, in print order; symbols are unique.
  public var kernels: [KernelIR]

  /// A module.
  public init(kernels: [KernelIR]) { self.kernels = kernels }
}

/// One launch argument.
public struct Parameter: Sendable, Hashable {
  /// What the argument is.
  public enum Kind: Sendable, Hashable {
    /// A number by value: any type but `pred`.
    case scalar(ValueType)
    /// A global address, 64 bit; `alignment` is promised by the caller in bytes.
    case pointer(alignment: Int)
    /// A 128-byte tensor map by value, 64-byte aligned; its address feeds the tensor copies.
    case tensorMap
    /// A structure by value, read field by field with `parameter`.
    case bytes(count: Int, alignment: Int)
  }

  /// The name in printed code.
  public var name: String
  /// What the argument is.
  public var kind: Kind

  /// An argument.
  public init(name: String, kind: Kind) {
    self.name = name
    self.kind = kind
  }

  /// Size in the parameter block.
  public var byteCount: Int {
    switch kind {
    case .scalar(let type): max(1, type.bitWidth / 8)
    case .pointer: 8
    case .tensorMap: 128
    case .bytes(let count, _): count
    }
  }

  /// Alignment in the parameter block.
  public var alignment: Int {
    switch kind {
    case .scalar, .pointer: byteCount
    case .tensorMap: 64
    case .bytes(_, let alignment): alignment
    }
  }
}

/// Shape and residency of a launch. Blocks are one-dimensional; grids may have three dimensions.
public struct LaunchBounds: Sendable, Hashable {
  /// Threads of each block, exactly; a multiple of 32, at most 1024.
  public var threads: Int
  /// Blocks that must fit on one multiprocessor; bounds registers and shared memory.
  public var minBlocksPerMultiprocessor: Int
  /// Blocks of each cluster along x; 1 for no cluster.
  public var clusterSize: Int

  /// Launch bounds.
  public init(threads: Int, minBlocksPerMultiprocessor: Int = 1, clusterSize: Int = 1) {
    self.threads = threads
    self.minBlocksPerMultiprocessor = minBlocksPerMultiprocessor
    self.clusterSize = clusterSize
  }

  /// Warps of a block.
  public var warpCount: Int { threads / warpSize }

  /// Registers of each thread at entry: the most that lets `minBlocksPerMultiprocessor` blocks
  /// share 65,536 registers, in steps of 8, at most 255 (168 for 384 threads and one block).
  public var registersAtEntry: Int {
    guard threads > 0, minBlocksPerMultiprocessor > 0 else { return 255 }
    return min(255, 65536 / (threads * minBlocksPerMultiprocessor) / 8 * 8)
  }
}

/// Threads of a warp.
public let warpSize = 32
/// Threads of a warpgroup, the unit of `wgmma` and `setmaxnreg`.
public let warpgroupSize = 128

/// Names an entry of `KernelIR.parameters`.
public struct ParameterID: Sendable, Hashable {
  /// The position in the table.
  public let index: Int
  /// The parameter at `index`.
  public init(_ index: Int) { self.index = index }
}

/// Names an entry of `KernelIR.shared`.
public struct SharedID: Sendable, Hashable {
  /// The position in the table.
  public let index: Int
  /// The allocation at `index`.
  public init(_ index: Int) { self.index = index }
}

/// Names an entry of `KernelIR.barriers`.
public struct NamedBarrierID: Sendable, Hashable {
  /// The position in the table.
  public let index: Int
  /// The barrier entry at `index`.
  public init(_ index: Int) { self.index = index }
}

/// A named part of the block's shared window.
///
/// Offsets count from the window's base. Allocations may overlap on purpose (an output staged in
/// a buffer whose contents are spent); the simulator's race tracking checks such reuse.
public struct SharedAllocation: Sendable, Hashable {
  /// What the bytes are.
  public enum Contents: Sendable, Hashable {
    /// Data; uninitialised at entry.
    case bytes
    /// `byteCount / 8` mbarrier objects, each to be initialised with `arrivals` pending arrivals.
    case mbarriers(arrivals: Int)
  }

  /// The name in printed code.
  public var name: String
  /// First byte, from the window's base; a multiple of `alignment`.
  public var offset: Int
  /// Size in bytes.
  public var byteCount: Int
  /// A power of two.
  public var alignment: Int
  /// Data or barriers.
  public var contents: Contents

  /// An allocation.
  public init(
    name: String, offset: Int, byteCount: Int, alignment: Int, contents: Contents = .bytes
  ) {
    self.name = name
    self.offset = offset
    self.byteCount = byteCount
    self.alignment = alignment
    self.contents = contents
  }
}

/// Consecutive hardware barriers of one block that share a meaning and a thread count.
///
/// Barrier `firstID + i` is used with a run-time `i` where roles index them (ping-pong), or with
/// none where `count` is 1.
public struct NamedBarrier: Sendable, Hashable {
  /// The name in printed code.
  public var name: String
  /// The first hardware number; all are within 0…15. Number 0 is what a whole-block barrier uses.
  public var firstID: Int
  /// How many consecutive numbers.
  public var count: Int
  /// Threads that complete one phase, arriving and waiting ones together; a multiple of 32.
  public var threads: Int

  /// A barrier entry.
  public init(name: String, firstID: Int, count: Int = 1, threads: Int) {
    self.name = name
    self.firstID = firstID
    self.count = count
    self.threads = threads
  }
}

/// A ring of stages between roles: producers wait for `empty`, fill a stage and complete `full`;
/// consumers wait for `full`, use the stage and arrive at `empty`. Stage i owns barrier i of both.
///
/// The entry changes nothing in execution; it tells the verifier what belongs together.
public struct Ring: Sendable, Hashable {
  /// The name in printed code.
  public var name: String
  /// Barriers that complete when a stage holds data.
  public var full: SharedID
  /// Barriers that complete when a stage may be overwritten.
  public var empty: SharedID

  /// A ring.
  public init(name: String, full: SharedID, empty: SharedID) {
    self.name = name
    self.full = full
    self.empty = empty
  }
}

/// Warps of a block that run the same code with the same register budget.
public struct Role: Sendable, Hashable {
  /// The role's name: `producer`, `consumer`.
  public var name: String
  /// Warp indices within the block.
  public var warps: Range<Int>
  /// Registers of each thread while the role runs, or nil to keep those of the entry. A multiple
  /// of 8 in 24…256; needs whole warpgroups. Takes effect on sm_90a; other targets ignore it.
  public var registers: Int?

  /// A role.
  public init(name: String, warps: Range<Int>, registers: Int? = nil) {
    self.name = name
    self.warps = warps
    self.registers = registers
  }

  /// Threads of the role.
  public var threadCount: Int { warps.count * warpSize }
}

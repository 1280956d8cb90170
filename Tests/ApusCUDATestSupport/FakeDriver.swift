internal import ApusThreads

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// A CUDA driver in memory: records every call, keeps every handle, runs work at once.
///
/// Strict where a real driver is: a call needs the right context current on its thread, a handle
/// must exist and be of its kind, memory must be allocated, and nothing may synchronise or allocate
/// during a capture. Device addresses are addresses of host memory of its own.
public final class FakeDriver: Sendable {
  /// What the machine has.
  public struct Configuration: Sendable {
    /// Number of devices; all alike.
    public var deviceCount = 2
    /// The driver's version, 1000 * major + 10 * minor.
    public var version: Int32 = 13_000
    /// Compute capability times 10.
    public var capability: Int32 = 90
    /// Blocks of the largest cluster that finds room.
    public var largestCluster: UInt32 = 16
    /// Multiprocessors of each device.
    public var multiprocessorCount: Int32 = 132
    /// Bytes that allocations may take together on one device.
    public var memoryByteCount = 1 << 30
    /// The compiler's information about each module; nil writes a plausible one.
    public var compilerInfo: String?
    /// Whether the driver has cuFuncLoad.
    public var hasFunctionLoad = true
    /// Kernels by symbol; a module has those that its PTX names in `.entry`.
    public var kernels: [String: FakeKernel] = [
      "vector_add": .vectorAdd, "vector_add_after": .vectorAdd, "cluster_rank": .clusterRank,
      "copy_tile": .copyTile,
    ]

    /// Kernels that are not in `kernels`, by symbol, asked for when one is launched.
    public var otherKernels: @Sendable (String) -> FakeKernel? = { _ in nil }

    /// Two devices of compute capability 9.0 under CUDA 13.0.
    public init() {}

    /// The kernel with a symbol.
    func kernel(_ symbol: String) -> FakeKernel? { kernels[symbol] ?? otherKernels(symbol) }
  }

  /// Makes one call fail: the call with number `index`, counted from 0, returns `status` and does
  /// nothing.
  public struct Injection: Sendable, Hashable {
    /// Number of the call.
    public var index: Int
    /// What it returns.
    public var status: Int32

    /// An injection.
    public init(index: Int, status: Int32) {
      self.index = index
      self.status = status
    }
  }

  /// What the machine has.
  public let configuration: Configuration
  let injection: Injection?
  private let state: Lock<FakeState>

  /// A driver in which nothing has happened.
  public init(_ configuration: Configuration = Configuration(), injection: Injection? = nil) {
    self.configuration = configuration
    self.injection = injection
    state = Lock(FakeState(configuration: configuration))
  }

  deinit {
    // Memory that a test leaked on purpose.
    state.withLock { $0.freeAll() }
  }

  /// Names of all driver functions called so far, in order, without those for error texts.
  public var calls: [String] { state.withLock { $0.calls } }

  /// Forgets the calls; numbers of calls for an injection go on.
  public func forgetCalls() { state.withLock { $0.calls = [] } }

  /// What exists and has not been given back, one line each, sorted.
  public var live: [String] { state.withLock { $0.live } }

  /// Kernels that ran, in order, with their launches.
  public var launches: [FakeLaunch] { state.withLock { $0.launches } }

  /// The context that the calling thread has current, 0 for none.
  public var currentContext: UInt { state.withLock { $0.current } }

  /// Makes the primary context of a device current on the calling thread, as a framework does that
  /// ran before Apus. Records no call.
  public func makePrimaryCurrent(device: Int32) {
    state.withLock { state in
      state.foreignRetains.insert(device)
      state.stacks[FakeState.thread] = [FakeState.primary(device)]
      state.foreignDepths[FakeState.thread] = 1
    }
  }

  /// Leaves the calling thread without a context. Records no call.
  public func clearCurrent() {
    state.withLock { state in
      state.stacks[FakeState.thread] = []
      state.foreignDepths[FakeState.thread] = 0
    }
  }

  /// Records a call and runs its effect, unless this call is to fail.
  func call(_ name: String, _ body: (inout FakeState) -> Int32) -> Int32 {
    state.withLock { state in
      state.calls.append(name)
      state.callCount += 1
      if let injection, injection.index == state.callCount - 1 { return injection.status }
      return body(&state)
    }
  }
}

/// A kernel of the fake: the sizes of its parameters and what it does.
public struct FakeKernel: Sendable {
  /// Bytes of each parameter.
  public var parameterByteCounts: [Int]
  /// What a launch does with its parameters' bytes.
  public var body: @Sendable (FakeLaunch) -> Void

  /// A kernel.
  public init(parameterByteCounts: [Int], body: @escaping @Sendable (FakeLaunch) -> Void) {
    self.parameterByteCounts = parameterByteCounts
    self.body = body
  }

  /// `c[i] = a[i] + b[i]` for `i < n`, parameters a, b, c, n: what the PTX of `VectorAdd` does.
  public static let vectorAdd = FakeKernel(parameterByteCounts: [8, 8, 8, 4]) { launch in
    func floats(_ index: Int) -> UnsafeMutablePointer<Float>? {
      UnsafeMutablePointer(bitPattern: UInt(launch.value(index, as: UInt64.self)))
    }
    guard let a = floats(0), let b = floats(1), let c = floats(2) else { return }
    let threads = launch.grid[0] * launch.block[0]
    for i in 0..<min(Int(threads), Int(launch.value(3, as: UInt32.self))) { c[i] = a[i] + b[i] }
  }
}

/// One allocation of the fake: real memory at this address.
public struct FakeMemory: Sendable, Hashable {
  /// First byte.
  public var address: UInt64
  /// Number of bytes.
  public var byteCount: Int
}

extension FakeKernel {
  /// Each block's rank in a one-dimensional cluster: what `cluster_rank` of `CheckKernels` does.
  public static let clusterRank = FakeKernel(parameterByteCounts: [8]) { launch in
    let size = launch.attributes.first { $0[0] == 4 }?[1] ?? 1
    let place = UnsafeMutablePointer<UInt32>(bitPattern: UInt(launch.value(0, as: UInt64.self)))
    for block in 0..<launch.grid[0] { place?[Int(block)] = block % size }
  }

  /// A box of 32 x 16 words through the fake's tensor map: what `copy_tile` does.
  public static let copyTile = FakeKernel(parameterByteCounts: [128, 8, 4, 4]) { launch in
    let words = launch.parameters[0].withUnsafeBytes { [UInt64]($0.bindMemory(to: UInt64.self)) }
    let map = FakeTensorMap(words: words)
    guard let source = UnsafePointer<UInt32>(bitPattern: UInt(map.address)),
      let target = UnsafeMutablePointer<UInt32>(bitPattern: UInt(launch.value(1, as: UInt64.self)))
    else { return }
    let (x, y) = (Int(launch.value(2, as: UInt32.self)), Int(launch.value(3, as: UInt32.self)))
    for i in 0..<map.box[0] * map.box[1] {
      let (column, row) = (x + i % map.box[0], y + i / map.box[0])
      let isInside = column < map.dimensions[0] && row < map.dimensions[1]
      target[i] = isInside ? source[row * map.byteStride / 4 + column] : 0
    }
  }
}

/// What the fake keeps in the 16 words of a tensor map.
public struct FakeTensorMap: Sendable, Hashable {
  /// Address of element 0.
  public var address: UInt64
  /// Elements along each of the map's axes.
  public var dimensions: [Int]
  /// Bytes between neighbours along axes 1….
  public var byteStrides: [Int]
  /// Elements of a box.
  public var box: [Int]
  /// The driver's number of the element type.
  public var elementType: UInt32
  /// The driver's number of the swizzle.
  public var swizzle: UInt32

  var byteStride: Int { byteStrides.first ?? 0 }

  /// The map in a parameter's 128 bytes.
  public init(words: [UInt64]) {
    let rank = Int(words[6] >> 8 & 0xFF)
    address = words[0]
    let low = words[9] & 0xFFFF_FFFF
    let sizes = [words[1], words[2], low, words[9] >> 32, words[10]]
    dimensions = sizes.prefix(max(rank, 2)).map(Int.init)
    byteStrides = [words[3], words[11], words[12], words[13]].prefix(max(rank - 1, 1)).map(Int.init)
    let boxes = [words[4], words[5]] + (0..<3).map { words[14] >> (16 * $0) & 0xFFFF }
    box = boxes.prefix(max(rank, 2)).map(Int.init)
    elementType = UInt32(words[6] & 0xFF)
    swizzle = UInt32(words[7] & 0xFF)
  }
}

/// One launch that the fake ran.
public struct FakeLaunch: Sendable, Hashable {
  /// Symbol of the kernel.
  public var kernel: String
  /// Blocks along x, y, z.
  public var grid: [UInt32]
  /// Threads along x, y, z.
  public var block: [UInt32]
  /// Dynamic shared bytes.
  public var dynamicSharedByteCount: UInt32
  /// Attribute identifiers with the first three words of their values.
  public var attributes: [[UInt32]]
  /// Stream.
  public var stream: UInt
  /// Bytes of each parameter.
  public var parameters: [[UInt8]]
  /// Device memory that is allocated, for the kernel's body alone: empty in `FakeDriver.launches`.
  public var memory: [FakeMemory] = []

  /// Parameter `index` as a number.
  public func value<Value: BitwiseCopyable>(_ index: Int, as type: Value.Type) -> Value {
    parameters[index].withUnsafeBytes { $0.loadUnaligned(as: type) }
  }
}

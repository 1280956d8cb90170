public import Apus
internal import ApusCUDA
public import ApusCore
internal import ApusThreads

/// A CUDA back end for operands in host memory: each call copies its operands to the device, runs, and
/// copies them back.
///
/// The bytes of a call's tensors lie on the device as on the host: operands that share bytes share
/// them there, and addresses keep their remainder modulo 256. Poison fills what lies between them,
/// 0xFF as in `HostBuffer`, so that a read beside an operand yields NaN; a write there is found after
/// the run and thrown as a bug. Everything is copied back, inputs included, so that the suite sees
/// what should not have been written.
public struct StagedBackend: RoutedBackend {
  private let device: CUDABackend
  private let arenas: ArenaPool

  /// That of the device, so that plans say where they run.
  public var name: String { device.name }
  /// Host memory.
  public var memory: MemorySpace { .host }

  /// Stages host operands for a device.
  public init(_ device: CUDABackend) {
    self.device = device
    arenas = ArenaPool(device)
  }

  /// That of the device.
  public func support(for problem: AttentionProblem) -> Support { device.support(for: problem) }

  /// That of the device.
  package func families(for problem: AttentionProblem) -> [AttentionRoute.FamilyName] {
    device.families(for: problem)
  }

  /// That of the device.
  public func plan(
    _ problem: AttentionProblem, operation: String
  ) throws(ApusError) -> any AttentionPlan {
    try device.plan(problem, operation: operation)
  }

  /// Stages and runs.
  public func run(
    _ plan: any AttentionPlan, _ arguments: AttentionArguments, workspace: TensorView?,
    on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    let views = arguments.namedTensors.map(\.view) + (workspace.map { [$0] } ?? [])
    try arenas.staging(views, operation) { (staged) throws(ApusError) in
      try device.run(
        plan, staged.map(arguments), workspace: workspace.map(staged.map), on: stream,
        operation: operation)
    }
  }

  /// Stages and appends.
  public func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    try arenas.staging(arguments.views, "Append.run") { (staged) throws(ApusError) in
      try device.append(problem, staged.map(arguments), on: stream)
    }
  }

  /// Stages and merges.
  public func merge(_ arguments: MergeArguments, on stream: ExecutionStream) throws(ApusError) {
    try arenas.staging(arguments.views, "MergeStates.run") { (staged) throws(ApusError) in
      try device.merge(staged.map(arguments), on: stream)
    }
  }

  /// Stages and rotates.
  public func rotate(_ arguments: RotaryArguments, on stream: ExecutionStream) throws(ApusError) {
    var views = [arguments.q, arguments.k, arguments.qOut, arguments.kOut]
    if case .cosSinCache(let table, _) = arguments.source { views.append(table) }
    try arenas.staging(views, "Rotary.run") { (staged) throws(ApusError) in
      try device.rotate(staged.map(arguments), on: stream)
    }
  }

  /// Stages and packs.
  public func packBits(
    _ arguments: PackBitsArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    try arenas.staging([arguments.flags, arguments.packed], "PackBits.run") {
      (staged) throws(ApusError) in
      var copy = arguments
      copy.flags = staged.map(arguments.flags)
      copy.packed = staged.map(arguments.packed)
      try device.packBits(copy, on: stream)
    }
  }
}

extension StagedBackend: CompilingBackend {
  /// That of the device: staging keeps the alignment of operands.
  package func probe() -> ProbeBackend { device.probe() }

  /// Compiles for the device.
  package func prepare(_ kernel: KernelKey) throws(ApusError) {
    try device.prepare(kernel)
  }

  /// That of the device.
  package func compilationWeight(of kernel: KernelKey) -> Int {
    device.compilationWeight(of: kernel)
  }
}

/// Where the operands of one call lie on the device.
struct StagedSpans {
  /// Disjoint spans of host bytes, with their offsets in the arena.
  fileprivate(set) var spans: [(span: OperandSpan, offset: Int)] = []
  fileprivate(set) var byteCount = 0
  fileprivate let memory: MemorySpace
  fileprivate var base: UInt64 = 0

  /// Bytes of poison between spans, at least.
  static let guardByteCount = 256
  /// Host bytes that a call may stage.
  static let largestCall = 4 << 30

  /// Lays out the host views among `views`; those elsewhere are left to the back end.
  fileprivate init(_ views: [TensorView], memory: MemorySpace) {
    self.memory = memory
    let hosted = views.filter { $0.memory == .host && $0.address != 0 && $0.byteCount > 0 }
    var offset = Self.guardByteCount
    for span in OperandSpan.united(hosted.map { OperandSpan("", $0) }) {
      let place = (offset + 255) & ~255 | Int(span.address & 255)
      spans.append((span, place))
      offset = place + span.byteCount + Self.guardByteCount
    }
    byteCount = spans.isEmpty ? 0 : offset
  }

  /// A view of the same elements on the device; one that is not on the host, or nowhere, keeps its
  /// address, and one without bytes only changes its memory.
  func map(_ view: TensorView) -> TensorView {
    guard view.memory == .host else { return view }
    let address = UInt64(view.address)
    let home = spans.first { address >= $0.span.address && address < $0.span.end }
    let moved = home.map { base + UInt64($0.offset) + (address - $0.span.address) } ?? address
    return TensorView(
      address: UInt(moved), byteCount: view.byteCount, scalarType: view.scalarType,
      shape: view.shape, strides: view.strides, memory: memory)
  }
}

/// Device memory that calls borrow: one arena for each call at a time.
private final class ArenaPool: Sendable {
  private let device: CUDABackend
  private let free = Lock<[Arena]>([])

  init(_ device: CUDABackend) { self.device = device }

  func staging(
    _ views: [TensorView], _ operation: String,
    _ body: (StagedSpans) throws(ApusError) -> Void
  ) throws(ApusError) {
    var staged = StagedSpans(views, memory: device.memory)
    guard staged.byteCount <= StagedSpans.largestCall else {
      throw .environment(
        EnvironmentError(
          operation: operation, code: 0, text: "\(staged.byteCount) bytes to stage",
          remedy: "Stage at most \(StagedSpans.largestCall) bytes in a call."))
    }
    let arena = free.withLock { $0.popLast() } ?? Arena()
    defer { free.withLock { $0.append(arena) } }
    do throws(CUDAError) {
      staged.base = try arena.send(staged, in: device.launcher.context)
    } catch {
      throw ApusError(error, operation: operation)
    }
    try body(staged)
    let broken: Int?
    do throws(CUDAError) {
      broken = try arena.fetch(staged)
    } catch {
      throw ApusError(error, operation: operation)
    }
    if let broken {
      throw .bug(
        InternalError(
          operation: operation,
          detail: "a kernel wrote beside its operands, \(staged.place(of: broken))"))
    }
  }
}

extension StagedSpans {
  /// What lies before a broken guard byte.
  fileprivate func place(of offset: Int) -> String {
    guard let before = spans.last(where: { $0.offset <= offset }) else {
      return "before the first operand"
    }
    return "\(offset - before.offset - before.span.byteCount) bytes behind an operand of "
      + "\(before.span.byteCount) bytes"
  }
}

/// Device memory and its host image.
///
/// `@unchecked Sendable`: the pool hands an arena to one call at a time.
private final class Arena: @unchecked Sendable {
  private var image: [UInt8] = []
  private var buffer: Buffer?

  private final class Buffer {
    let memory: DeviceBuffer
    let stream: Stream
    init(byteCount: Int, in context: Context) throws(CUDAError) {
      memory = try DeviceBuffer(byteCount: byteCount, in: context)
      stream = try Stream(in: context)
    }
  }

  /// Copies the operands between poison; returns the arena's address.
  func send(_ staged: StagedSpans, in context: Context) throws(CUDAError) -> UInt64 {
    if staged.byteCount == 0 { return 0 }
    if image.count < staged.byteCount || buffer == nil {
      buffer = nil
      let capacity = max(1 << 20, staged.byteCount + staged.byteCount / 2)
      image = [UInt8](repeating: HostBuffer.poison, count: capacity)
      buffer = try Buffer(byteCount: capacity, in: context)
    }
    guard let buffer else { return 0 }
    image.withUnsafeMutableBytes { image in
      // Spans of the call before may lie anywhere.
      UnsafeMutableRawBufferPointer(rebasing: image[..<staged.byteCount])
        .initializeMemory(as: UInt8.self, repeating: HostBuffer.poison)
      for (span, offset) in staged.spans {
        guard let source = UnsafeRawPointer(bitPattern: UInt(span.address)) else { continue }
        UnsafeMutableRawBufferPointer(rebasing: image[offset..<offset + span.byteCount])
          .copyMemory(from: UnsafeRawBufferPointer(start: source, count: span.byteCount))
      }
    }
    try transfer(staged.byteCount) { (stream, bytes, view) throws(CUDAError) in
      try stream.copy(from: UnsafeRawBufferPointer(bytes), to: view)
    }
    return buffer.memory.address
  }

  /// Copies the operands back; returns the offset of the first guard byte that was written.
  func fetch(_ staged: StagedSpans) throws(CUDAError) -> Int? {
    guard staged.byteCount > 0 else { return nil }
    try transfer(staged.byteCount) { (stream, bytes, view) throws(CUDAError) in
      try stream.copy(from: view, to: bytes)
    }
    return image.withUnsafeBytes { image in
      var guardStart = 0
      for (span, offset) in staged.spans {
        if let target = UnsafeMutableRawPointer(bitPattern: UInt(span.address)) {
          UnsafeMutableRawBufferPointer(start: target, count: span.byteCount)
            .copyMemory(
              from: UnsafeRawBufferPointer(rebasing: image[offset..<offset + span.byteCount]))
        }
        if let broken = image[guardStart..<offset].firstIndex(where: { $0 != HostBuffer.poison }) {
          return broken
        }
        guardStart = offset + span.byteCount
      }
      return image[guardStart..<staged.byteCount].firstIndex { $0 != HostBuffer.poison }
    }
  }

  private func transfer(
    _ byteCount: Int,
    _ body: (Stream, UnsafeMutableRawBufferPointer, DeviceView) throws(CUDAError) -> Void
  ) throws(CUDAError) {
    guard let buffer else { return }
    let (stream, address) = (buffer.stream, buffer.memory.address)
    let done: Result<Void, CUDAError> = image.withUnsafeMutableBytes { bytes in
      Result { () throws(CUDAError) in
        try body(
          stream, UnsafeMutableRawBufferPointer(rebasing: bytes[..<byteCount]),
          DeviceView(address: address, byteCount: byteCount))
        try stream.synchronize()
      }
    }
    try done.get()
  }
}

internal import ApusCUDA
internal import CApusDriver

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Everything a `FakeDriver` knows. Statuses are the driver's.
struct FakeState {
  enum Kind: String { case stream, event, module, function, graph, executable, userObject }

  struct Object {
    var kind: Kind
    var context: UInt
    var name = ""
  }

  struct Allocation {
    var byteCount: Int
    var context: UInt
  }

  /// Work that a stream does, or a graph remembers.
  enum Work {
    case launch(FakeLaunch)
    case copy(to: UInt64, from: UInt64, byteCount: Int)
    case fill(to: UInt64, pattern: [UInt8], count: Int)
    case event
  }

  static let ok: Int32 = 0
  static let invalidValue: Int32 = 1
  static let outOfMemory: Int32 = 2
  static let invalidContext: Int32 = 201
  static let invalidHandle: Int32 = 400
  static let notFound: Int32 = 500
  static let illegalAddress: Int32 = 700
  static let captureUnsupported: Int32 = 900
  static let legacyStream: UInt = 0

  let configuration: FakeDriver.Configuration
  var calls: [String] = []
  var callCount = 0
  var launches: [FakeLaunch] = []
  var isInitialized = false
  var retains: [Int32: Int] = [:]
  var foreignRetains: Set<Int32> = []
  var stacks: [UInt: [UInt]] = [:]
  /// Contexts that a thread had before Apus came.
  var foreignDepths: [UInt: Int] = [:]
  var objects: [UInt: Object] = [:]
  var memory: [UInt64: Allocation] = [:]
  var pinned: [UInt: Int] = [:]
  var captures: [UInt: [Work]] = [:]
  /// Mode and thread of each capture.
  var captureModes: [UInt: (mode: Int32, thread: UInt)] = [:]
  /// Captures that a forbidden call has ended.
  var invalidated: Set<UInt> = []
  /// What threads allow themselves during captures; 0 is global.
  var threadModes: [UInt: Int32] = [:]
  /// The graph that each capture will become.
  var captureGraphs: [UInt: UInt] = [:]
  /// Values that graphs and executables keep.
  var kept: [UInt: [UserObject]] = [:]
  /// User objects that no graph has taken.
  var userObjects: [UInt: UserObject] = [:]
  var graphs: [UInt: [Work]] = [:]
  var eventTimes: [UInt: Double] = [:]
  var symbols: [UInt: String] = [:]
  var clock = 0.0
  var peers: Set<[UInt]> = []
  private var nextHandle: UInt = 0x5000

  init(configuration: FakeDriver.Configuration) { self.configuration = configuration }

  static var thread: UInt {
    #if canImport(Darwin)
      UInt(bitPattern: pthread_self())
    #else
      UInt(pthread_self())
    #endif
  }

  static func primary(_ device: Int32) -> UInt { 0x1000 + UInt(device) }

  var current: UInt { stacks[Self.thread]?.last ?? 0 }

  func device(of context: UInt) -> Int32 { Int32(context) - 0x1000 }

  /// Success if there is such a device.
  func check(device: Int32) -> Int32 {
    if !isInitialized { return 3 }
    return (0..<configuration.deviceCount).contains(Int(device)) ? Self.ok : 101
  }

  /// Success if the thread has a context.
  var contextStatus: Int32 { current == 0 ? Self.invalidContext : Self.ok }

  mutating func add(_ kind: Kind, _ name: String = "") -> UInt {
    nextHandle += 16
    objects[nextHandle] = Object(kind: kind, context: current, name: name)
    return nextHandle
  }

  /// Success if `handle` is a `kind` of the current context.
  func check(_ handle: UInt, _ kind: Kind) -> Int32 {
    if current == 0 { return Self.invalidContext }
    guard let object = objects[handle], object.kind == kind else { return Self.invalidHandle }
    return object.context == current ? Self.ok : Self.invalidContext
  }

  /// Success if `stream` is a stream of the current context or a default one.
  func checkStream(_ stream: UInt) -> Int32 {
    stream <= 2 ? contextStatus : check(stream, .stream)
  }

  mutating func remove(_ handle: UInt, _ kind: Kind) -> Int32 {
    guard objects[handle]?.kind == kind else { return Self.invalidHandle }
    objects[handle] = nil
    graphs[handle] = nil
    eventTimes[handle] = nil
    symbols[handle] = nil
    kept[handle] = nil
    if kind == .module { objects = objects.filter { $0.value.name != "of \(handle)" } }
    return Self.ok
  }

  mutating func allocate(_ byteCount: Int, _ address: UnsafeMutablePointer<UInt64>) -> Int32 {
    if current == 0 { return Self.invalidContext }
    if byteCount <= 0 { return Self.invalidValue }
    let used = memory.values.filter { $0.context == current }.reduce(0) { $0 + $1.byteCount }
    if byteCount > configuration.memoryByteCount - used { return Self.outOfMemory }
    let place = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 256)
    // Fresh device memory holds anything but what a test hopes for.
    memset(place, 0xCD, byteCount)
    address.pointee = UInt64(UInt(bitPattern: place))
    memory[address.pointee] = Allocation(byteCount: byteCount, context: current)
    return Self.ok
  }

  mutating func free(_ address: UInt64) -> Int32 {
    guard memory.removeValue(forKey: address) != nil else { return Self.invalidValue }
    UnsafeMutableRawPointer(bitPattern: UInt(address))?.deallocate()
    return Self.ok
  }

  /// The allocation that has these bytes.
  func allocation(_ address: UInt64, _ byteCount: Int) -> Allocation? {
    memory.first { start, allocation in
      address >= start
        && address - start + UInt64(byteCount) <= UInt64(allocation.byteCount)
    }?.value
  }

  /// Success if these bytes are allocated on the current context's device, or on a peer's.
  func checkMemory(_ address: UInt64, _ byteCount: Int) -> Int32 {
    guard let found = allocation(address, byteCount) else { return Self.invalidValue }
    if found.context == current || peers.contains([current, found.context]) { return Self.ok }
    return Self.invalidValue
  }

  /// Does work at once, or remembers it if its stream is captured.
  mutating func enqueue(_ work: Work, on stream: UInt) -> Int32 {
    let status = checkStream(stream)
    if status != 0 { return status }
    if captures[stream] != nil {
      captures[stream]?.append(work)
      return Self.ok
    }
    return run(work)
  }

  mutating func run(_ work: Work) -> Int32 {
    clock += 0.001
    switch work {
    case .launch(let launch):
      launches.append(launch)
      var whole = launch
      whole.memory = memory.map { FakeMemory(address: $0.key, byteCount: $0.value.byteCount) }
      configuration.kernel(launch.kernel)?.body(whole)
    case .copy(let to, let from, let byteCount):
      guard let target = UnsafeMutableRawPointer(bitPattern: UInt(to)),
        let source = UnsafeRawPointer(bitPattern: UInt(from))
      else { return Self.illegalAddress }
      target.copyMemory(from: source, byteCount: byteCount)
    case .fill(let to, let pattern, let count):
      guard let target = UnsafeMutablePointer<UInt8>(bitPattern: UInt(to)) else {
        return Self.illegalAddress
      }
      for i in 0..<count * pattern.count { target[i] = pattern[i % pattern.count] }
    case .event: break
    }
    return Self.ok
  }

  /// A value that graphs share; goes with the last of them.
  final class UserObject {
    let value: UnsafeMutableRawPointer
    let destroy: @Sendable (UnsafeMutableRawPointer) -> Void

    init(
      _ value: UnsafeMutableRawPointer,
      _ destroy: @escaping @Sendable (UnsafeMutableRawPointer) -> Void
    ) {
      self.value = value
      self.destroy = destroy
    }

    deinit { destroy(value) }
  }

  /// Status of a call that captures forbid to threads that have not relaxed them: it ends those
  /// captures, as the driver does.
  var notCapturing: Int32 {
    mutating get { current == 0 ? Self.invalidContext : captureStatus }
  }

  /// The same for calls that need no context.
  var captureStatus: Int32 {
    mutating get {
      let mode = threadModes[Self.thread] ?? 0
      if mode == 2 { return Self.ok }
      let ended = captureModes.filter { capture in
        capture.value.mode != 2
          && (capture.value.thread == Self.thread || mode == 0 && capture.value.mode == 0)
      }
      invalidated.formUnion(ended.keys)
      return ended.isEmpty ? Self.ok : Self.captureUnsupported
    }
  }

  var live: [String] {
    let handles = objects.filter { $0.value.kind != .function }.map {
      "\($0.value.kind.rawValue) of device \(device(of: $0.value.context))"
    }
    let allocations = memory.values.map {
      "\($0.byteCount) bytes of device \(device(of: $0.context))"
    }
    let contexts = retains.filter { $0.value > 0 }.map {
      "\($0.value) references to the context of device \($0.key)"
    }
    let host = pinned.values.map { "\($0) pinned bytes" }
    let open = captures.map { _ in "a capture" }
    let stacked = stacks.filter { $0.value.count > foreignDepths[$0.key] ?? 0 }.map { _ in
      "a pushed context"
    }
    return (handles + allocations + contexts + host + open + stacked).sorted()
  }

  mutating func freeAll() {
    for address in memory.keys { UnsafeMutableRawPointer(bitPattern: UInt(address))?.deallocate() }
    for address in pinned.keys { UnsafeMutableRawPointer(bitPattern: address)?.deallocate() }
    memory = [:]
    pinned = [:]
  }
}

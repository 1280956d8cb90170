internal import ApusCore
internal import ApusNumerics

/// One allocation between two guard zones, all bytes `0xFF` at first: NaN in every floating type,
/// −1 in every integer type.
final class HostBuffer {
  /// What the buffer holds, for messages.
  let name: String
  /// The bytes that operators may touch.
  let bytes: UnsafeMutableRawBufferPointer
  private let allocation: UnsafeMutableRawBufferPointer

  /// The byte of unwritten memory.
  static let poison: UInt8 = 0xFF
  private static let guardByteCount = 192

  /// `byteCount` bytes, `shift` bytes past a 64-byte boundary.
  init(name: String, byteCount: Int, shift: Int = 0) {
    self.name = name
    let total = byteCount + shift + 2 * Self.guardByteCount
    allocation = .allocate(byteCount: total, alignment: 64)
    _ = allocation.initializeMemory(as: UInt8.self, repeating: Self.poison)
    let start = Self.guardByteCount + shift
    bytes = .init(rebasing: allocation[start..<start + byteCount])
  }

  deinit { allocation.deallocate() }

  /// Everything, guard zones included.
  func snapshot() -> [UInt8] { [UInt8](allocation) }

  /// Offset of `bytes` within a snapshot.
  var snapshotOffset: Int {
    guard let base = bytes.baseAddress, let start = allocation.baseAddress else {
      return Self.guardByteCount
    }
    return base - start
  }

  /// Whether no byte outside `bytes` was written.
  var guardsAreIntact: Bool {
    let start = snapshotOffset
    return allocation[..<start].allSatisfy { $0 == Self.poison }
      && allocation[(start + bytes.count)...].allSatisfy { $0 == Self.poison }
  }
}

/// The memory of one case. Views made here are valid as long as it lives.
final class CaseMemory {
  private(set) var buffers: [HostBuffer] = []

  /// How the elements of a tensor are spread.
  enum Spread: Sendable, Hashable {
    /// Row-major without gaps.
    case dense
    /// Gaps of 1 to 9 elements after rows of every outer dimension.
    case gaps
    /// The first two dimensions swapped in memory.
    case swapped
  }

  /// A poisoned tensor in a buffer of exactly its size.
  func tensor(
    _ name: String, _ type: ScalarType, _ shape: [Int], spread: Spread = .dense, shift: Int = 0
  ) -> TensorView {
    let strides = Self.strides(shape, spread)
    let probe = TensorView(
      address: 64, byteCount: .max, scalarType: type, shape: shape, strides: strides)
    let byteCount = probe.requiredByteCount ?? 0
    let buffer = HostBuffer(name: name, byteCount: byteCount, shift: shift * type.byteCount)
    buffers.append(buffer)
    return TensorView(
      address: UInt(bitPattern: buffer.bytes.baseAddress), byteCount: byteCount, scalarType: type,
      shape: shape, strides: strides)
  }

  private static func strides(_ shape: [Int], _ spread: Spread) -> [Int] {
    switch spread {
    case .dense: return TensorView.denseStrides(shape)
    case .gaps:
      var strides = [Int](repeating: 1, count: shape.count)
      var running = 1
      for axis in shape.indices.reversed() {
        strides[axis] = running
        running = running * Swift.max(shape[axis], 1) + [8, 1, 3, 9][axis % 4]
      }
      return strides
    case .swapped:
      guard shape.count >= 2 else { return TensorView.denseStrides(shape) }
      var swapped = shape
      swapped.swapAt(0, 1)
      var strides = TensorView.denseStrides(swapped)
      strides.swapAt(0, 1)
      return strides
    }
  }

  /// Bytes of every buffer but those named.
  func snapshots(except names: Set<String> = []) -> [String: [UInt8]] {
    var result: [String: [UInt8]] = [:]
    for buffer in buffers where !names.contains(buffer.name) {
      result[buffer.name] = buffer.snapshot()
    }
    return result
  }

  /// Names of the buffers whose bytes differ from those of a snapshot.
  func changed(since snapshots: [String: [UInt8]]) -> [String] {
    buffers.compactMap { buffer in
      guard let before = snapshots[buffer.name], before != buffer.snapshot() else { return nil }
      return buffer.name
    }
  }

  /// The named buffer.
  func buffer(_ name: String) -> HostBuffer? { buffers.first { $0.name == name } }

  /// Names of the buffers that were written outside their bytes.
  var brokenGuards: [String] { buffers.filter { !$0.guardsAreIntact }.map(\.name) }
}

extension TensorView {
  /// Element at `index`, widened.
  func value(_ index: [Int]) -> Float { value(at: offset(index)) }

  /// Element at an offset in elements, widened; NaN for a tensor without address or of integers.
  func value(at offset: Int) -> Float {
    guard let base = hostPointer, let type = elementType else { return .nan }
    return type.load(base, at: offset)
  }

  /// Rounds `value` into the element at `index`.
  func set(_ value: Float, _ index: [Int]) { set(value, at: offset(index)) }

  /// Rounds `value` into the element at an offset in elements.
  func set(_ value: Float, at offset: Int) {
    guard let base = mutableHostPointer, let type = elementType else { return }
    type.store(value, to: base, at: offset, overflow: .nonSaturating)
  }

  /// Rounds `values` into consecutive elements from an offset, and reads back what was stored.
  func store(_ values: inout [Float], at offset: Int) {
    guard let base = mutableHostPointer, let type = elementType else { return }
    for i in values.indices {
      type.store(values[i], to: base, at: offset + i)
      values[i] = type.load(base, at: offset + i)
    }
  }

  /// Stored bits of the element at an offset in elements.
  func bits(at offset: Int) -> UInt32 {
    guard let base = hostPointer else { return 0 }
    let width = scalarType.byteCount
    var result: UInt32 = 0
    for byte in 0..<Swift.min(width, 4) {
      let loaded = base.load(fromByteOffset: offset * width + byte, as: UInt8.self)
      result |= UInt32(loaded) << UInt32(8 * byte)
    }
    return result
  }

  /// Sets every byte of the element at an offset in elements to the poison.
  func poison(at offset: Int) {
    guard let base = mutableHostPointer else { return }
    let width = scalarType.byteCount
    for byte in 0..<width {
      base.storeBytes(of: HostBuffer.poison, toByteOffset: offset * width + byte, as: UInt8.self)
    }
  }

  /// Every index of the tensor in row-major order.
  func forEachIndex(_ body: ([Int]) -> Void) {
    guard !shape.contains(0) else { return }
    var index = [Int](repeating: 0, count: shape.count)
    while true {
      body(index)
      var axis = shape.count - 1
      while axis >= 0 {
        index[axis] += 1
        if index[axis] < shape[axis] { break }
        index[axis] = 0
        axis -= 1
      }
      if axis < 0 { return }
    }
  }

  /// Fills every element with rounded standard normal values.
  func fillNormal(_ random: inout CaseRandom, deviation: Float = 1) {
    var one: [Float] = []
    forEachIndex { index in
      random.fillNormal(&one, count: 1, deviation: deviation)
      set(one[0], index)
    }
  }
}

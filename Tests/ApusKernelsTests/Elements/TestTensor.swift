import ApusCore
import ApusKernels
import ApusNumerics
import ApusSimulator
import ApusTestSupport

/// A strided tensor that exists twice: in this process, for the definition, and in simulated device
/// memory, for the kernel. Bytes between its elements are random, so that stray writes show.
final class TestTensor {
  let type: ScalarType
  let shape: [Int]
  let strides: [Int]
  /// Bytes before element 0.
  let lead: Int
  let storage: UnsafeMutableRawBufferPointer
  fileprivate(set) var deviceBase: UInt64 = 0

  /// - Parameters:
  ///   - padding: elements added to the extent of each dimension but the first when strides are made.
  ///   - lead: elements before the first one.
  ///   - order: dimensions from the slowest to the fastest; their own order unless given.
  init(
    _ type: ScalarType, _ shape: [Int], padding: [Int]? = nil, lead: Int = 0, order: [Int]? = nil,
    random: inout SplitMix64
  ) {
    self.type = type
    self.shape = shape
    var strides = [Int](repeating: 1, count: shape.count)
    var running = 1
    for axis in (order ?? Array(shape.indices)).reversed() {
      strides[axis] = running
      running *= max(1, shape[axis]) + (padding?[axis] ?? 0)
    }
    self.strides = strides
    self.lead = lead * type.byteCount
    storage = .allocate(byteCount: self.lead + running * type.byteCount + 16, alignment: 256)
    for index in storage.indices { storage[index] = UInt8.random(in: 0...255, using: &random) }
  }

  deinit { storage.deallocate() }

  private func view(_ base: UInt, _ memory: MemorySpace) -> TensorView {
    TensorView(
      address: base + UInt(lead), byteCount: storage.count - lead, scalarType: type, shape: shape,
      strides: strides, memory: memory)
  }

  var host: TensorView { view(UInt(bitPattern: storage.baseAddress), .host) }
  var device: TensorView { view(UInt(deviceBase), .cuda(device: 0)) }

  /// Every index, the last dimension fastest.
  var indices: [[Int]] {
    shape.reduce([[]]) { prefixes, extent in
      prefixes.flatMap { prefix in (0..<extent).map { prefix + [$0] } }
    }
  }

  func offset(_ index: [Int]) -> Int { zip(index, strides).reduce(0) { $0 + $1.0 * $1.1 } }

  /// Fills all elements with values rounded to the type.
  func fill(_ value: (_ index: [Int]) -> Float) {
    guard let element = type.elementType, let base = storage.baseAddress else { return }
    for index in indices {
      element.store(value(index), to: base + lead, at: offset(index), overflow: .nonSaturating)
    }
  }

  /// Fills a tensor of bytes or indices.
  func fillIntegers(_ value: (_ index: [Int]) -> Int) {
    for index in indices {
      let place = lead + offset(index) * type.byteCount
      withUnsafeBytes(of: value(index).littleEndian) { bytes in
        for byte in 0..<type.byteCount { storage[place + byte] = bytes[byte] }
      }
    }
  }

  /// The element in this process's copy.
  func float(_ index: [Int]) -> Float {
    guard let element = type.elementType, let base = storage.baseAddress else { return .nan }
    return element.load(base + lead, at: offset(index))
  }

  /// Raw bits of an element.
  func bits(_ index: [Int]) -> UInt64 {
    let place = lead + offset(index) * type.byteCount
    return (0..<type.byteCount).reduce(0) { $0 | UInt64(storage[place + $1]) << (8 * UInt64($1)) }
  }

  /// A copy with the same bytes.
  func copy() -> TestTensor { TestTensor(copying: self) }

  private init(copying other: TestTensor) {
    (type, shape, strides, lead) = (other.type, other.shape, other.strides, other.lead)
    storage = .allocate(byteCount: other.storage.count, alignment: 256)
    storage.copyMemory(from: UnsafeRawBufferPointer(other.storage))
  }
}

/// Simulated device memory with tensors in it.
struct TestDevice {
  var memory = GlobalMemory()
  private(set) var tensors: [TestTensor] = []

  /// Copies a tensor to the device as it is now.
  mutating func bind(_ name: String, _ tensor: TestTensor, isWritable: Bool = false) {
    tensor.deviceBase = memory.bind(
      name, bytes: Array(tensor.storage), isWritable: isWritable)
    tensors.append(tensor)
  }

  /// Copies everything back from the device.
  func readBack() {
    for tensor in tensors {
      let bytes: [UInt8] = memory.elements(at: tensor.deviceBase, as: UInt8.self)
      tensor.storage.copyBytes(from: bytes)
    }
  }
}

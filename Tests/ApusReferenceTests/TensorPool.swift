import ApusCore
import ApusNumerics

/// Owns the memory of the tensors of one test.
final class TensorPool {
  private var allocations: [UnsafeMutableRawBufferPointer] = []

  deinit { for allocation in allocations { allocation.deallocate() } }

  /// Uninitialised bytes are 0xFF: NaN in every floating type.
  private func allocate(_ byteCount: Int) -> UnsafeMutableRawBufferPointer {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Swift.max(byteCount, 1), alignment: 16)
    for index in buffer.indices { buffer[index] = 0xFF }
    allocations.append(buffer)
    return UnsafeMutableRawBufferPointer(rebasing: buffer[..<byteCount])
  }

  /// A dense tensor filled with NaN.
  func tensor(_ type: ElementType, _ shape: [Int]) -> TensorView {
    let count = shape.reduce(1, *)
    return TensorView(allocate(count * type.byteCount), ScalarType(type), shape: shape)
  }

  /// A dense tensor of the given values, rounded to the type without saturation.
  func tensor(_ type: ElementType, _ shape: [Int], _ values: [Float]) -> TensorView {
    let view = tensor(type, shape)
    precondition(values.count == shape.reduce(1, *), "\(values.count) values for \(shape)")
    for (index, value) in values.enumerated() {
      if let base = view.mutableHostPointer {
        type.store(value, to: base, at: index, overflow: .nonSaturating)
      }
    }
    return view
  }

  /// A dense u8 tensor.
  func bytes(_ values: [UInt8]) -> TensorView {
    let buffer = allocate(values.count)
    buffer.copyBytes(from: values)
    return TensorView(buffer, .u8, shape: [values.count])
  }
}

/// Runs `body` with a pool that outlives it.
func withPool<Result>(_ body: (TensorPool) throws -> Result) rethrows -> Result {
  let pool = TensorPool()
  return try withExtendedLifetime(pool) { try body(pool) }
}

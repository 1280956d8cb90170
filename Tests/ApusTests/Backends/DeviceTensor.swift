import Apus
import ApusCUDA

/// A dense tensor in the memory of a device, real or fake, for tests.
final class DeviceTensor: Sendable {
  let view: TensorView
  private let buffer: DeviceBuffer

  init(
    _ type: ScalarType, _ shape: [Int], on launcher: CUDALauncher, values: [Float] = []
  ) throws {
    let count = shape.reduce(1, *)
    buffer = try DeviceBuffer(byteCount: count * type.byteCount, in: launcher.context)
    view = TensorView(
      address: UInt(buffer.address), byteCount: buffer.byteCount, scalarType: type, shape: shape,
      strides: TensorView.denseStrides(shape), memory: launcher.memory)
    guard let element = type.elementType, !values.isEmpty else { return }
    var bytes = [UInt8](repeating: 0, count: buffer.byteCount)
    bytes.withUnsafeMutableBytes { raw in
      guard let base = raw.baseAddress else { return }
      for (index, value) in values.enumerated() { element.store(value, to: base, at: index) }
    }
    try launcher.context.copy(bytes, to: buffer.view)
  }

  /// All elements.
  func values(on launcher: CUDALauncher) throws -> [Float] {
    var bytes = [UInt8](repeating: 0, count: buffer.byteCount)
    try launcher.context.copy(from: buffer.view, to: &bytes)
    guard let element = view.elementType else { return bytes.map(Float.init) }
    return bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return [] }
      return (0..<raw.count / element.byteCount).map { element.load(base, at: $0) }
    }
  }
}

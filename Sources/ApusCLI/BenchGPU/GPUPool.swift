internal import Apus
internal import ApusCUDA
internal import ApusNumerics

/// Device memory full of standard normal numbers of one type, out of which cases take their inputs.
///
/// A block of 2²³ numbers is made on the host and repeated over the whole pool, each time rotated
/// further, so that no two operands of a case are equal.
final class GPUPool {
  private let buffer: DeviceBuffer
  private var next = 0

  /// Bytes of the pool.
  var byteCount: Int { buffer.byteCount }

  /// A pool of at least `byteCount` bytes.
  init(_ type: ElementType, byteCount: Int, inputs: inout BenchInputs, on stream: ApusCUDA.Stream)
    throws
  {
    let block = try inputs.normal(type, [1 << 23])
    let blockByteCount = block.view.byteCount
    buffer = try DeviceBuffer(byteCount: max(byteCount, blockByteCount), in: stream.context)
    let first = try buffer.view.slice(at: 0, byteCount: blockByteCount)
    try block.withBytes { try stream.copy(from: $0, to: first) }
    var offset = blockByteCount
    // A prime number of elements, so that repetitions do not line up with rows.
    let step = 4099 * type.byteCount
    var start = step
    while offset < buffer.byteCount {
      let part = min(blockByteCount - start, buffer.byteCount - offset)
      try stream.copy(
        from: first.slice(at: start, byteCount: part),
        to: buffer.view.slice(at: offset, byteCount: part))
      offset += part
      start = (start + step) % blockByteCount
    }
    try stream.synchronize()
  }

  /// The next `byteCount` bytes, at a multiple of 256; the front again when they run out.
  func take(byteCount: Int) throws(CUDAError) -> DeviceView {
    if next + byteCount > buffer.byteCount { next = 0 }
    let view = try buffer.view.slice(at: next, byteCount: byteCount)
    next += (byteCount + 255) / 256 * 256
    return view
  }
}

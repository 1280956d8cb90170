internal import ApusCore
internal import ApusKernels
internal import ApusThreads

/// What rotary kernels multiply positions with, in device memory: made at the first rotation with an
/// embedding, and kept as long as the back end, since captured rotations read it at each replay.
///
/// Rotations by positions that lie on the device so have nothing left to copy.
final class RotaryTables: Sendable {
  private struct Key: Hashable {
    var rope: RotaryEmbedding
    var rotaryDim: Int
  }

  /// Tables that are kept. A model has one or two; rotations with more embeddings than this copy
  /// theirs from the host.
  static let limit = 128

  private let tables = Lock<[Key: any DeviceAllocation]>([:])

  /// The address of an embedding's table; nil where there are too many.
  func address(
    of rope: RotaryEmbedding, rotaryDim: Int, on runtime: any DeviceRuntime, operation: String
  ) throws(ApusError) -> OperandSpan? {
    let key = Key(rope: rope, rotaryDim: rotaryDim)
    let (found, isFull) = tables.withLock { ($0[key], $0.count >= Self.limit) }
    if let found { return span(found) }
    if isFull { return nil }
    let bytes = RotaryKernel.fractions(of: rope, rotaryDim: rotaryDim).withUnsafeBytes {
      [UInt8]($0)
    }
    let made = try runtime.upload(bytes, operation: operation)
    // Two threads may both have made one: the first stays.
    return span(
      tables.withLock {
        if let first = $0[key] { return first }
        $0[key] = made
        return made
      })
  }

  private func span(_ table: any DeviceAllocation) -> OperandSpan {
    OperandSpan(
      name: "fractions", address: table.address, byteCount: table.byteCount, isWritable: false)
  }
}

package import ApusCore

extension CPUEngine {
  /// Packs validated booleans, segment after segment.
  package func packBits(_ arguments: PackBitsArguments) {
    let bytes = PackBitsArguments.byteIndptr(arguments.indptr)
    let isParallel = arguments.indptr.end > 1_000_000
    threads.forEach(arguments.indptr.batch, parallel: isParallel) { segment, _ in
      guard let flags = arguments.flags.hostPointer,
        let packed = arguments.packed.mutableHostPointer
      else { return }
      let source = flags + arguments.indptr.offsets[segment]
      let target = packed + bytes.offsets[segment]
      let count = arguments.indptr.length(segment)
      for byte in 0..<bytes.length(segment) {
        var value: UInt8 = 0
        for index in byte * 8..<min(byte * 8 + 8, count)
        where source.load(fromByteOffset: index, as: UInt8.self) != 0 {
          value |= arguments.bitOrder.bit(index)
        }
        target.storeBytes(of: value, toByteOffset: byte, as: UInt8.self)
      }
    }
  }
}

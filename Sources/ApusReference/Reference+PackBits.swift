public import ApusCore

extension Reference {
  /// Booleans as bits: element `i` of a segment is bit `i % 8` (little, from the least significant)
  /// or bit `7 − i % 8` (big) of byte `i / 8` of that segment; a byte that is not 0 is true.
  ///
  /// Each segment starts a new byte; unused bits of its last byte are 0. Little is the order of
  /// attention masks, big that of `numpy.packbits`. Nothing is written.
  ///
  /// - Returns: the packed bytes of all segments, one after another.
  /// - Throws: `ArgumentError` with every violation.
  public static func packBits(_ arguments: PackBitsArguments) throws(ArgumentError) -> [UInt8] {
    try arguments.validate(memory: .host, operation: "Reference.packBits")
    let flags = HostTensor(arguments.flags)
    var packed: [UInt8] = []
    for segment in 0..<arguments.indptr.batch {
      for (i, element) in arguments.indptr.rows(segment).enumerated() {
        if i % 8 == 0 { packed.append(0) }
        if flags.byte([element]) != 0 {
          packed[packed.count - 1] += arguments.bitOrder == .little ? 1 << (i % 8) : 128 >> (i % 8)
        }
      }
    }
    return packed
  }
}

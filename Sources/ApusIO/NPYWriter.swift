/// Writes NPY files, format version 1.0.
public enum NPYWriter {
  /// Writes one row-major array to the file at `path`, replacing it as a whole or not at all.
  ///
  /// `content.name` is not stored. bf16 and FP8 are stored as unsigned integers of their size (see
  /// ``FileScalarType/numpyDescr``). The elements begin at a multiple of 64 bytes.
  ///
  /// - Throws: ``FileError`` for a shape that does not match its bytes and for failing system
  ///   calls. An earlier file at `path` is then unchanged, unless the error is from flushing the
  ///   folder after the new file took its place.
  public static func write(_ content: TensorContent, to path: String) throws(FileError) {
    do throws(FileError.Reason) {
      try AtomicFile.replace(path: path, with: chunks(content))
    } catch {
      throw FileError(operation: "NPYWriter.write", path: path, reason: error)
    }
  }

  /// The file's content: everything before the elements, then the elements.
  static func chunks(_ content: TensorContent) throws(FileError.Reason) -> [[UInt8]] {
    try content.validate(tensor: nil)
    return [encode(content), content.bytes]
  }

  /// Everything before the elements. With at most `maximumRank` dimensions of 19 digits the
  /// dictionary stays under 500 bytes, far below version 1.0's limit of 65 535.
  private static func encode(_ content: TensorContent) -> [UInt8] {
    let dimensions = content.shape.map(String.init).joined(separator: ", ")
    let tuple = content.shape.count == 1 ? "(\(dimensions),)" : "(\(dimensions))"
    let dictionary =
      "{'descr': '\(content.scalarType.numpyDescr)', 'fortran_order': False, 'shape': \(tuple), }"
    let prefix = NPYHeader.signature + [1, 0]
    let unpadded = prefix.count + 2 + dictionary.utf8.count + 1
    let padding = (64 - unpadded % 64) % 64
    let text = Array(dictionary.utf8) + repeatElement(UInt8(ascii: " "), count: padding) + [0x0A]
    return prefix + [UInt8(text.count & 0xFF), UInt8(text.count >> 8)] + text
  }
}

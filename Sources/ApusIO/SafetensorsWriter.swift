/// Writes safetensors files.
public enum SafetensorsWriter {
  /// Writes `tensors` and `metadata` to the file at `path`, replacing it as a whole or not at all.
  ///
  /// The same tensors give the same file, byte for byte, in whatever order they are passed: larger
  /// element types come first, then names in UTF-8 order, so that every tensor is aligned for its
  /// type; metadata keys are sorted likewise. The header is padded with spaces to a multiple of 8.
  ///
  /// - Throws: ``FileError`` for duplicate or reserved names, shapes that do not match their bytes,
  ///   and failing system calls. An earlier file at `path` is then unchanged, unless the error is
  ///   from flushing the folder after the new file took its place.
  public static func write(
    _ tensors: [TensorContent], metadata: [String: String] = [:], to path: String
  ) throws(FileError) {
    do throws(FileError.Reason) {
      try AtomicFile.replace(path: path, with: chunks(tensors, metadata: metadata))
    } catch {
      throw FileError(operation: "SafetensorsWriter.write", path: path, reason: error)
    }
  }

  /// The file's content: prefix and header, then each tensor's bytes.
  static func chunks(
    _ tensors: [TensorContent], metadata: [String: String]
  ) throws(FileError.Reason) -> [[UInt8]] {
    let ordered = try order(tensors)
    return [try encode(ordered, metadata: metadata)] + ordered.map(\.bytes)
  }

  /// The tensors in file order, each checked.
  private static func order(
    _ tensors: [TensorContent]
  ) throws(FileError.Reason) -> [TensorContent] {
    var names: Set<String> = []
    for tensor in tensors {
      guard tensor.name != SafetensorsHeader.metadataKey else { throw .reservedName(tensor.name) }
      guard names.insert(tensor.name).inserted else { throw .duplicateName(tensor.name) }
      try tensor.validate(tensor: tensor.name)
    }
    return tensors.sorted { a, b in
      a.scalarType.byteCount == b.scalarType.byteCount
        ? a.name.utf8.lexicographicallyPrecedes(b.name.utf8)
        : a.scalarType.byteCount > b.scalarType.byteCount
    }
  }

  /// The length prefix and the padded header of `tensors`, whose data follow in this order.
  private static func encode(
    _ tensors: [TensorContent], metadata: [String: String]
  ) throws(FileError.Reason) -> [UInt8] {
    var entries: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
        .map { "\(jsonString($0.key)):\(jsonString($0.value))" }
      entries.append(
        "\(jsonString(SafetensorsHeader.metadataKey)):{\(pairs.joined(separator: ","))}")
    }
    var offset = 0
    for tensor in tensors {
      let end = offset + tensor.bytes.count
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      entries.append(
        "\(jsonString(tensor.name)):{\"dtype\":\"\(tensor.scalarType.safetensorsName)\","
          + "\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}")
      offset = end
    }
    var text = Array("{\(entries.joined(separator: ","))}".utf8)
    text += repeatElement(UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
    guard text.count <= SafetensorsHeader.maximumByteCount else {
      throw .headerTooLong(
        byteCount: UInt64(text.count), limit: SafetensorsHeader.maximumByteCount)
    }
    return withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text
  }

  /// `text` as a JSON string; only what RFC 8259 requires is escaped.
  private static func jsonString(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{0}"..<" ":
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}

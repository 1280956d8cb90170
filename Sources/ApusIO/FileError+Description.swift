#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

extension FileError: CustomStringConvertible {
  /// The whole error on one line: `operation("path"): requirement; found value. remedy`.
  public var description: String {
    let place = path.isEmpty ? operation : "\(operation)(\(quoted(path, limit: 4096)))"
    return "\(place): \(reason)"
  }
}

extension FileError.Reason: CustomStringConvertible {
  /// The part after the operation: `requirement; found value. remedy`.
  public var description: String {
    switch self {
    case .system, .pathContainsNUL, .notRegularFile, .fileTooShort:
      return fileSystemDescription
    case .headerTooLong, .headerBeyondFile, .syntax, .integerTooLarge:
      return headerDescription
    case .duplicateName, .reservedName, .duplicateField, .missingField, .unknownField,
      .unknownScalarType, .rankTooLarge, .invalidShape, .byteCountMismatch, .elementSizeMismatch:
      return tensorDescription
    case .reversedOffsets, .outsideData, .overlap, .hole, .unknownTensor:
      return dataDescription
    case .notNPY, .unsupportedVersion, .fortranOrder, .bigEndian, .structuredType,
      .reinterpretation:
      return npyDescription
    }
  }

  private var fileSystemDescription: String {
    switch self {
    case .system(let call, let code):
      let text = String(cString: strerror(code))
      return "\(call) must succeed; found errno \(code) (\(text)). "
        + "Check the path, its permissions and the space left."
    case .pathContainsNUL:
      return "the path must not contain NUL; found one. Remove it."
    case .notRegularFile:
      return "the path must lead to a regular file; found a folder, device or pipe. "
        + "Name the tensor file itself."
    case .fileTooShort(let byteCount, let minimum):
      return "the file must have at least \(minimum) bytes; found \(byteCount). "
        + "It is truncated: copy it again."
    default: return ""
    }
  }

  private var headerDescription: String {
    switch self {
    case .headerTooLong(let byteCount, let limit):
      return "the header must have at most \(limit) bytes; found a stated length of "
        + "\(byteCount). The file is damaged or of another format."
    case .headerBeyondFile(let byteCount, let available):
      return "the header must end within the file; found a stated length of \(byteCount) with "
        + "\(available) bytes left. The file is truncated, damaged or of another format."
    case .syntax(let offset, let expected, let found):
      return "the header must have \(expected) at byte \(offset); found \(byteName(found)). "
        + "Write the file again with a conforming writer."
    case .integerTooLarge(let offset):
      return "an integer must be below 2^63; found a larger one at byte \(offset). "
        + "Write the file again with a conforming writer."
    default: return ""
    }
  }

  private var tensorDescription: String {
    switch self {
    case .duplicateName(let name):
      return "names must be distinct; found \(quoted(name)) twice. Rename one of them."
    case .reservedName(let name):
      return "a tensor must not have the name the format reserves; found \(quoted(name)). "
        + "Rename the tensor."
    case .duplicateField(let tensor, let field):
      return "\(subject(tensor)) must have each field once; found \(quoted(field)) twice. "
        + "Write the file again with a conforming writer."
    case .missingField(let tensor, let field):
      return "\(subject(tensor)) must have the field \(quoted(field)); found none. "
        + "Write the file again with a conforming writer."
    case .unknownField(let tensor, let field):
      return "\(subject(tensor)) must have only the fields its format defines; "
        + "found \(quoted(field)). Remove the field."
    case .unknownScalarType(let tensor, let name):
      return unknownScalarTypeDescription(tensor: tensor, name: name)
    case .rankTooLarge(let tensor, let limit):
      return "\(subject(tensor)) must have at most \(limit) dimensions; found more. "
        + "Merge dimensions before storing it."
    case .invalidShape(let tensor, let shape, let scalarType):
      return "\(subject(tensor)) must have non-negative dimensions and fewer than 2^63 bytes; "
        + "found shape \(shape) of \(scalarType). Check the shape."
    case .byteCountMismatch(let tensor, let shape, let scalarType, let expected, let found):
      return "\(subject(tensor)) of shape \(shape) and type \(scalarType) must have \(expected) "
        + "bytes; found \(found). The data is truncated or the shape is wrong."
    case .elementSizeMismatch(let tensor, let scalarType, let typeByteCount):
      return "elements of \(subject(tensor)), stored as \(scalarType), must be read as a type of "
        + "\(scalarType.byteCount) bytes; found one of \(typeByteCount) bytes. "
        + "Choose the type of that size."
    default: return ""
    }
  }

  private var dataDescription: String {
    switch self {
    case .reversedOffsets(let tensor, let begin, let end):
      return "\(subject(tensor)) must begin before it ends; found data_offsets "
        + "[\(begin), \(end)]. Write the file again with a conforming writer."
    case .outsideData(let tensor, let begin, let end, let dataByteCount):
      return "\(subject(tensor)) must lie within the \(dataByteCount) bytes of data; found "
        + "data_offsets [\(begin), \(end)]. The file is truncated: copy it again."
    case .overlap(let tensor, let begin, let end, let other, let otherEnd):
      return "tensors must not share bytes; found \(quoted(tensor)) at [\(begin), \(end)] while "
        + "\(quoted(other)) ends at \(otherEnd). Write the file again with a conforming writer."
    case .hole(let begin, let end, let dataByteCount):
      return "tensors must cover all \(dataByteCount) bytes of data; found [\(begin), \(end)] "
        + "unused. Write the file again with a conforming writer."
    case .unknownTensor(let name, let nearest, let available):
      let hint = nearest.map { "Did you mean \(quoted($0))? " } ?? ""
      return "the file must contain the tensor; found no \(quoted(name)). "
        + hint + "Available: \(list(available))."
    default: return ""
    }
  }

  private var npyDescription: String {
    switch self {
    case .notNPY:
      return "the file must begin with the bytes 93 4E 55 4D 50 59 (\\x93NUMPY); found others. "
        + "Name an .npy file (an .npz archive must be unpacked first)."
    case .unsupportedVersion(let major, let minor):
      return "the format version must be 1.0, 2.0 or 3.0; found \(major).\(minor). "
        + "Save the array again with numpy.save."
    case .fortranOrder(let shape):
      return "the array must be stored row by row; found fortran_order True with shape \(shape). "
        + "Save numpy.ascontiguousarray(array) instead."
    case .bigEndian(let descr):
      return "elements must be little-endian; found descr \(quoted(descr)). "
        + "Save array.astype(array.dtype.newbyteorder('<')) instead."
    case .structuredType:
      return "elements must be numbers; found a record type. Save each field as its own array."
    case .reinterpretation(let stored, let requested):
      return "the requested type must have the size of the stored type \(stored), "
        + "\(stored.byteCount) bytes; found \(requested) of \(requested.byteCount) bytes. "
        + "Request a type of that size."
    default: return ""
    }
  }

  private func unknownScalarTypeDescription(tensor: String?, name: String) -> String {
    guard tensor != nil else {
      let supported = FileScalarType.allCases.filter(\.isNumPyType).map(\.numpyDescr)
      return "the descr must be one of \(supported.joined(separator: " ")); "
        + "found \(quoted(name)). "
        + "Convert the array; save bfloat16 as a uint16 view and FP8 as a uint8 view."
    }
    let supported = FileScalarType.allCases.map(\.safetensorsName)
    let nearest = nearestName(to: name.uppercased(), among: supported)
    let hint = nearest.map { " Did you mean \(quoted($0))?" } ?? " Convert the tensor."
    return "\(subject(tensor)) must have a dtype among \(supported.joined(separator: " ")); "
      + "found \(quoted(name))." + hint
  }
}

extension FileError.HeaderElement: CustomStringConvertible {
  /// The element in words, such as `',' or '}'`.
  public var description: String {
    switch self {
    case .character(let byte): byteName(byte)
    case .either(let first, let second): "\(byteName(first)) or \(byteName(second))"
    case .string: "a quoted string"
    case .stringContent: "a valid UTF-8 character, escape or closing quote"
    case .nonNegativeInteger: "a non-negative integer without fraction, exponent or leading zero"
    case .boolean: "True or False"
    case .padding: "only padding"
    }
  }
}

private func subject(_ tensor: String?) -> String {
  tensor.map { "tensor \(quoted($0))" } ?? "the array"
}

/// The byte as a printable character in quotes, else in hexadecimal; nil is the end.
private func byteName(_ byte: UInt8?) -> String {
  guard let byte else { return "the end of the header" }
  guard (0x20...0x7E).contains(byte) else {
    let digits = String(byte, radix: 16, uppercase: true)
    return "byte 0x" + (digits.count == 1 ? "0" : "") + digits
  }
  return "'\(Character(Unicode.Scalar(byte)))'"
}

/// `text` in double quotes with controls escaped, so that a hostile name can neither flood a log
/// nor steer a terminal.
private func quoted(_ text: String, limit: Int = 80) -> String {
  var result = "\""
  for (index, scalar) in text.unicodeScalars.enumerated() {
    guard index < limit else { return result + "...\"" }
    switch scalar {
    case "\"", "\\": result += "\\\(scalar)"
    default:
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator:
        result += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
  }
  return result + "\""
}

private func list(_ names: [String], limit: Int = 8) -> String {
  guard !names.isEmpty else { return "no tensors" }
  let shown = names.prefix(limit).map { quoted($0) }.joined(separator: ", ")
  return names.count > limit ? "\(shown) and \(names.count - limit) more" : shown
}

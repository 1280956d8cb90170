/// The state of parsing one safetensors header.
struct SafetensorsHeaderParser {
  typealias Reason = FileError.Reason
  typealias Tensor = SafetensorsHeader.Tensor

  private(set) var tensors: [Tensor] = []
  private(set) var metadata: [String: String] = [:]

  private var scanner: HeaderScanner
  private let dataOffset: Int
  private let dataByteCount: Int

  /// `header` is the JSON text, which begins `origin` bytes into the file and is followed by
  /// `dataByteCount` bytes of data.
  init(header: [UInt8], origin: Int, dataByteCount: Int) {
    scanner = HeaderScanner(header, origin: origin)
    dataOffset = origin + header.count
    self.dataByteCount = dataByteCount
  }

  mutating func run() throws(Reason) {
    var names: Set<String> = []
    // Collected in locals: `self` may not be touched while its scanner runs the closure.
    var tensors: [Tensor] = []
    var metadata: [String: String] = [:]
    let (offset, count) = (dataOffset, dataByteCount)
    try scanner.sequence(UInt8(ascii: "{"), UInt8(ascii: "}")) { (scanner) throws(Reason) in
      let name = try scanner.jsonString()
      guard names.insert(name).inserted else { throw .duplicateName(name) }
      try scanner.colon()
      if name == SafetensorsHeader.metadataKey {
        metadata = try Self.metadata(&scanner)
      } else {
        tensors.append(
          try Self.tensor(name, &scanner, dataOffset: offset, dataByteCount: count))
      }
    }
    try scanner.end { $0 == UInt8(ascii: " ") }
    self.tensors = tensors.sorted {
      ($0.byteRange.lowerBound, $0.byteRange.upperBound)
        < ($1.byteRange.lowerBound, $1.byteRange.upperBound)
    }
    self.metadata = metadata
    try checkCoverage()
  }

  private static func metadata(
    _ scanner: inout HeaderScanner
  ) throws(Reason) -> [String: String] {
    var result: [String: String] = [:]
    try scanner.sequence(UInt8(ascii: "{"), UInt8(ascii: "}")) { (scanner) throws(Reason) in
      let key = try scanner.jsonString()
      try scanner.colon()
      guard result.updateValue(try scanner.jsonString(), forKey: key) == nil else {
        throw .duplicateName(key)
      }
    }
    return result
  }

  private static func tensor(
    _ name: String, _ scanner: inout HeaderScanner, dataOffset: Int, dataByteCount: Int
  ) throws(Reason) -> Tensor {
    var scalarType: FileScalarType?
    var shape: [Int]?
    var offsets: (begin: Int, end: Int)?
    try scanner.sequence(UInt8(ascii: "{"), UInt8(ascii: "}")) { (scanner) throws(Reason) in
      let field = try scanner.jsonString()
      try scanner.colon()
      let isRepeated: Bool
      switch field {
      case "dtype":
        isRepeated = scalarType != nil
        let text = try scanner.jsonString()
        guard let type = FileScalarType(safetensorsName: text) else {
          throw .unknownScalarType(tensor: name, name: text)
        }
        scalarType = type
      case "shape":
        isRepeated = shape != nil
        shape = try Self.shape(&scanner, tensor: name)
      case "data_offsets":
        isRepeated = offsets != nil
        offsets = try Self.offsets(&scanner)
      default:
        throw .unknownField(tensor: name, field: field)
      }
      guard !isRepeated else { throw .duplicateField(tensor: name, field: field) }
    }
    guard let scalarType else { throw .missingField(tensor: name, field: "dtype") }
    guard let shape else { throw .missingField(tensor: name, field: "shape") }
    guard let (begin, end) = offsets else {
      throw .missingField(tensor: name, field: "data_offsets")
    }
    guard begin <= end else { throw .reversedOffsets(tensor: name, begin: begin, end: end) }
    guard end <= dataByteCount else {
      throw .outsideData(tensor: name, begin: begin, end: end, dataByteCount: dataByteCount)
    }
    guard let expected = scalarType.byteCount(ofShape: shape) else {
      throw .invalidShape(tensor: name, shape: shape, scalarType: scalarType)
    }
    guard expected == end - begin else {
      throw .byteCountMismatch(
        tensor: name, shape: shape, scalarType: scalarType, expected: expected,
        found: end - begin)
    }
    return Tensor(
      name: name, scalarType: scalarType, shape: shape,
      byteRange: dataOffset + begin..<dataOffset + end)
  }

  private static func shape(
    _ scanner: inout HeaderScanner, tensor: String
  ) throws(Reason) -> [Int] {
    var shape: [Int] = []
    try scanner.sequence(UInt8(ascii: "["), UInt8(ascii: "]")) { (scanner) throws(Reason) in
      guard shape.count < maximumRank else {
        throw .rankTooLarge(tensor: tensor, limit: maximumRank)
      }
      shape.append(try scanner.nonNegativeInteger())
    }
    return shape
  }

  /// Reads exactly `[begin, end]`.
  private static func offsets(
    _ scanner: inout HeaderScanner
  ) throws(Reason) -> (begin: Int, end: Int) {
    try scanner.require(UInt8(ascii: "["))
    scanner.skipWhitespace()
    let begin = try scanner.nonNegativeInteger()
    scanner.skipWhitespace()
    try scanner.require(UInt8(ascii: ","))
    scanner.skipWhitespace()
    let end = try scanner.nonNegativeInteger()
    scanner.skipWhitespace()
    try scanner.require(UInt8(ascii: "]"))
    return (begin, end)
  }

  /// Requires that the sorted tensors lie end to end from the first byte of data to the last.
  ///
  /// Sorted by begin, then end, an empty tensor is accepted wherever one tensor ends and the next
  /// begins, and refused inside another.
  private func checkCoverage() throws(Reason) {
    var covered = 0
    var previous = ""
    for tensor in tensors {
      let begin = tensor.byteRange.lowerBound - dataOffset
      let end = tensor.byteRange.upperBound - dataOffset
      guard begin >= covered else {
        throw .overlap(
          tensor: tensor.name, begin: begin, end: end, other: previous, otherEnd: covered)
      }
      guard begin == covered else {
        throw .hole(begin: covered, end: begin, dataByteCount: dataByteCount)
      }
      covered = end
      previous = tensor.name
    }
    guard covered == dataByteCount else {
      throw .hole(begin: covered, end: dataByteCount, dataByteCount: dataByteCount)
    }
  }
}

/// The three entries of an NPY header's dictionary.
struct NPYHeaderFields {
  typealias Reason = FileError.Reason

  private var descr: String?
  private var fortranOrder: Bool?
  private var shape: [Int]?

  mutating func parse(_ header: HeaderScanner) throws(Reason) {
    var scanner = header
    var fields = self
    try scanner.sequence(UInt8(ascii: "{"), UInt8(ascii: "}"), allowingTrailingComma: true) {
      (scanner) throws(Reason) in
      try fields.parseEntry(&scanner)
    }
    try scanner.end { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }
    self = fields
  }

  private mutating func parseEntry(_ scanner: inout HeaderScanner) throws(Reason) {
    let field = try scanner.pythonString()
    try scanner.colon()
    let isRepeated: Bool
    switch field {
    case "descr":
      isRepeated = descr != nil
      guard scanner.current != UInt8(ascii: "["), scanner.current != UInt8(ascii: "(") else {
        throw .structuredType
      }
      descr = try scanner.pythonString()
    case "fortran_order":
      isRepeated = fortranOrder != nil
      fortranOrder = try Self.boolean(&scanner)
    case "shape":
      isRepeated = shape != nil
      shape = try Self.shape(&scanner)
    default:
      throw .unknownField(tensor: nil, field: field)
    }
    guard !isRepeated else { throw .duplicateField(tensor: nil, field: field) }
  }

  private static func boolean(_ scanner: inout HeaderScanner) throws(Reason) -> Bool {
    let start = scanner
    for (word, value) in [("True", true), ("False", false)] {
      scanner = start
      if word.utf8.allSatisfy({ scanner.take($0) }) { return value }
    }
    scanner = start
    throw scanner.unexpected(.boolean)
  }

  /// Reads a tuple; one element needs its comma, since `(3)` is an integer in Python.
  private static func shape(_ scanner: inout HeaderScanner) throws(Reason) -> [Int] {
    var shape: [Int] = []
    let (count, trailingComma) = try scanner.sequence(
      UInt8(ascii: "("), UInt8(ascii: ")"), allowingTrailingComma: true
    ) { (scanner) throws(Reason) in
      guard shape.count < maximumRank else { throw .rankTooLarge(tensor: nil, limit: maximumRank) }
      shape.append(try scanner.nonNegativeInteger())
    }
    guard count != 1 || trailingComma else {
      throw .syntax(
        offset: scanner.origin + scanner.position - 1, expected: .character(UInt8(ascii: ",")),
        found: UInt8(ascii: ")"))
    }
    return shape
  }

  /// The element type and shape of a complete, supported header.
  func checked() throws(Reason) -> (FileScalarType, [Int]) {
    guard let descr else { throw .missingField(tensor: nil, field: "descr") }
    guard let fortranOrder else { throw .missingField(tensor: nil, field: "fortran_order") }
    guard let shape else { throw .missingField(tensor: nil, field: "shape") }
    guard let scalarType = FileScalarType(numpyDescr: descr) else {
      let littleEndian = "<" + descr.dropFirst()
      throw descr.hasPrefix(">") && FileScalarType(numpyDescr: littleEndian) != nil
        ? .bigEndian(descr: descr) : .unknownScalarType(tensor: nil, name: descr)
    }
    // With at most one dimension other than 1, or no elements, both orders are the same bytes.
    let orderMatters = shape.count { $0 != 1 } > 1 && !shape.contains(0)
    guard !fortranOrder || !orderMatters else { throw .fortranOrder(shape: shape) }
    return (scalarType, shape)
  }
}

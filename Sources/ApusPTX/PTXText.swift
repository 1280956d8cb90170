import ApusIR

/// Text that grows at its end, as bytes: appending words of a few letters to a `String` costs more
/// than making them.
struct PTXText {
  private var bytes: [UInt8] = []

  /// Reserves room for so many more bytes.
  mutating func reserve(_ count: Int) { bytes.reserveCapacity(bytes.count + count) }

  /// The text.
  var string: String { String(decoding: bytes, as: UTF8.self) }

  /// Bytes of the text.
  var count: Int { bytes.count }

  /// Copies the text to a place of a buffer and returns the place behind it.
  func copy(to buffer: UnsafeMutableBufferPointer<UInt8>, at start: Int) -> Int {
    bytes.withUnsafeBufferPointer { Self.copy($0, to: buffer, at: start) }
  }

  /// As the other `copy`, of words.
  static func copy(
    _ text: String, to buffer: UnsafeMutableBufferPointer<UInt8>, at start: Int
  ) -> Int {
    var text = text
    return text.withUTF8 { copy($0, to: buffer, at: start) }
  }

  private static func copy(
    _ bytes: UnsafeBufferPointer<UInt8>, to buffer: UnsafeMutableBufferPointer<UInt8>,
    at start: Int
  ) -> Int {
    guard let source = bytes.baseAddress, let target = buffer.baseAddress else { return start }
    (target + start).initialize(from: source, count: bytes.count)
    return start + bytes.count
  }

  /// Appends words.
  mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

  /// Appends spaces.
  mutating func append(spaces count: Int) {
    for _ in 0..<count { bytes.append(0x20) }
  }

  /// Appends one ASCII character.
  mutating func append(ascii byte: UInt8) { bytes.append(byte) }

  /// Appends `, `.
  mutating func appendComma() {
    bytes.append(0x2C)
    bytes.append(0x20)
  }

  /// Appends a number in decimal digits.
  mutating func append(_ number: Int) {
    guard number >= 10 else { return bytes.append(0x30 + UInt8(truncatingIfNeeded: number)) }
    append(number / 10)
    bytes.append(0x30 + UInt8(truncatingIfNeeded: number % 10))
  }

  /// Appends the low bits as so many upper-case hexadecimal digits.
  mutating func append(hexadecimal bits: UInt64, digits: Int) {
    for place in (0..<digits).reversed() {
      let digit = UInt8(truncatingIfNeeded: bits >> UInt64(4 * place) & 15)
      bytes.append(digit < 10 ? 0x30 + digit : 0x37 + digit)
    }
  }
}

/// The name of a register: its file and its number there, or none.
struct RegisterName {
  /// The number above three bits of the prefix; -1 for none.
  private let code: Int32

  /// No name yet.
  static let none = RegisterName(code: -1)

  private init(code: Int32) { self.code = code }

  /// A register of a file.
  init(_ prefix: RegisterPrefix, _ number: Int) {
    code = Int32(truncatingIfNeeded: number << 3 | prefix.index)
  }

  /// Whether there is a name.
  var exists: Bool { code >= 0 }

  /// The letter of the file.
  var letter: UInt8 { RegisterPrefix.letters[Int(code & 7)] }

  /// The number in the file.
  var number: Int { Int(code >> 3) }

  /// `%r3`.
  var text: String {
    var text = PTXText()
    text.append(self)
    return text.string
  }
}

extension PTXText {
  /// Appends `%r3`.
  mutating func append(_ register: RegisterName) {
    append(ascii: 0x25)
    append(ascii: register.letter)
    append(register.number)
  }
}

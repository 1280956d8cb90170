/// One file per rule of the safetensors header, each breaking only that rule, and the unusual ones
/// that must be accepted.
let safetensorsCases: [FileCase] =
  acceptedSafetensors + structuralSafetensors + fieldSafetensors + dataSafetensors

private func entry(_ dtype: String, _ shape: String, _ offsets: String) -> String {
  "{\"dtype\":\"\(dtype)\",\"shape\":\(shape),\"data_offsets\":\(offsets)}"
}

private func one(_ name: String, _ text: String, data: Int = 0, error: String?) -> FileCase {
  FileCase(
    name: name, bytes: safetensors(text, data: data),
    error: error.map { "SafetensorsHeader.parse: \($0)" })
}

private let rewrite = "Write the file again with a conforming writer."

private let acceptedSafetensors = [
  one("valid-no-tensors", "{}", error: nil),
  one("valid-padded", "{\"a\":\(entry("F32", "[2]", "[0,8]"))}     ", data: 8, error: nil),
  one("valid-scalar", "{\"a\":\(entry("I64", "[]", "[0,8]"))}", data: 8, error: nil),
  one(
    "valid-empty-tensors",
    "{\"a\":\(entry("F32", "[0,3]", "[0,0]")),\"b\":\(entry("U8", "[4]", "[0,4]")),"
      + "\"c\":\(entry("F64", "[2,0]", "[4,4]"))}", data: 4, error: nil),
  one(
    "valid-white-space-and-order",
    "{ \"b\" : { \"data_offsets\" : [ 2 , 4 ] , \"shape\" : [ 1 , 2 ] , \"dtype\" : \"BOOL\" } ,\n\t"
      + "\"a\":\(entry("F16", "[1]", "[0,2]"))\r\n}", data: 4, error: nil),
  one(
    "valid-escapes",
    "{\"__metadata__\":{\"k\\n\":\"\\\"\\\\\\/\\b\\f\\r\\t\"},"
      + "\"\\u0061\\ud83e\\udD85\u{E9}\":\(entry("U8", "[1]", "[0,1]"))}", data: 1, error: nil),
  one(
    "valid-all-types",
    "{"
      + ["F64", "I64", "U64", "F32", "I32", "U32", "F16", "BF16", "I16", "U16"].enumerated()
      .map { index, type in
        let size = index < 3 ? 8 : index < 6 ? 4 : 2
        let begin = index < 3 ? 8 * index : index < 6 ? 24 + 4 * (index - 3) : 36 + 2 * (index - 6)
        return "\"\(type)\":\(entry(type, "[1]", "[\(begin),\(begin + size)]"))"
      }.joined(separator: ",")
      + ["F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"].enumerated()
      .map { ",\"\($1)\":\(entry($1, "[1]", "[\(44 + $0),\(45 + $0)]"))" }.joined() + "}",
    data: 49, error: nil),
]

private let structuralSafetensors: [FileCase] = [
  FileCase(
    name: "empty-file", bytes: [],
    error: "SafetensorsHeader.parse: the file must have at least 8 bytes; found 0. "
      + "It is truncated: copy it again."),
  FileCase(
    name: "short-prefix", bytes: [2, 0, 0, 0, 0, 0, 0],
    error: "SafetensorsHeader.parse: the file must have at least 8 bytes; found 7. "
      + "It is truncated: copy it again."),
  FileCase(
    name: "header-length-max", bytes: [UInt8](repeating: 0xFF, count: 16),
    error: "SafetensorsHeader.parse: the header must have at most 100000000 bytes; found a stated "
      + "length of 18446744073709551615. The file is damaged or of another format."),
  FileCase(
    name: "header-beyond-file", bytes: littleEndian(UInt64(3)) + Array("{}".utf8),
    error: "SafetensorsHeader.parse: the header must end within the file; found a stated length "
      + "of 3 with 2 bytes left. The file is truncated, damaged or of another format."),
  one(
    "empty-header", "",
    error: "the header must have '{' at byte 8; found the end of the header. \(rewrite)"),
  one(
    "leading-space", " {}", error: "the header must have '{' at byte 8; found ' '. \(rewrite)"),
  one(
    "top-level-array", "[]", error: "the header must have '{' at byte 8; found '['. \(rewrite)"),
  one(
    "trailing-garbage", "{} x",
    error: "the header must have only padding at byte 11; found 'x'. \(rewrite)"),
  one(
    "trailing-newline", "{}\n",
    error: "the header must have only padding at byte 10; found byte 0x0A. \(rewrite)"),
  one(
    "trailing-comma", "{\"a\":\(entry("U8", "[0]", "[0,0]")),}",
    error: "the header must have a quoted string at byte 61; found '}'. \(rewrite)"),
  one(
    "missing-colon", "{\"a\" 1}",
    error: "the header must have ':' at byte 13; found '1'. \(rewrite)"),
  one(
    "missing-comma", "{\"a\":\(entry("U8", "[0]", "[0,0]")) \"b\"",
    error: "the header must have ',' or '}' at byte 61; found '\"'. \(rewrite)"),
  one(
    "unquoted-name", "{a:1}",
    error: "the header must have a quoted string at byte 9; found 'a'. \(rewrite)"),
  one(
    "unclosed-string", "{\"a",
    error: "the header must have a valid UTF-8 character, escape or closing quote at byte 11; "
      + "found the end of the header. \(rewrite)"),
  one(
    "control-character", "{\"a\u{1}\":0}",
    error: "the header must have a valid UTF-8 character, escape or closing quote at byte 11; "
      + "found byte 0x01. \(rewrite)"),
  one(
    "bad-escape", "{\"\\x\":0}",
    error: "the header must have a valid UTF-8 character, escape or closing quote at byte 11; "
      + "found 'x'. \(rewrite)"),
  one(
    "lone-high-surrogate", "{\"\\ud800\":0}",
    error: "the header must have a valid UTF-8 character, escape or closing quote at byte 16; "
      + "found '\"'. \(rewrite)"),
  one(
    "lone-low-surrogate", "{\"\\udc00\":0}",
    error: "the header must have a valid UTF-8 character, escape or closing quote at byte 16; "
      + "found '\"'. \(rewrite)"),
  FileCase(
    name: "ill-formed-utf8", bytes: safetensors(Array("{\"ab".utf8) + [0xC0, 0x80, 0x22]),
    error: "SafetensorsHeader.parse: the header must have a valid UTF-8 character, escape or "
      + "closing quote at byte 12; found byte 0xC0. \(rewrite)"),
  one(
    "deep-arrays", String(repeating: "[", count: 1000),
    error: "the header must have '{' at byte 8; found '['. \(rewrite)"),
  one(
    "deep-objects", String(repeating: "{\"a\":", count: 1000),
    error: "tensor \"a\" must have only the fields its format defines; found \"a\". "
      + "Remove the field."),
  one(
    "deep-shape", "{\"a\":{\"shape\":" + String(repeating: "[", count: 1000),
    error: "the header must have a non-negative integer without fraction, exponent or leading "
      + "zero at byte 23; found '['. \(rewrite)"),
]

private let fieldSafetensors = [
  one(
    "duplicate-name",
    "{\"a\":\(entry("U8", "[0]", "[0,0]")),\"\\u0061\":\(entry("U8", "[0]", "[0,0]"))}",
    error: "names must be distinct; found \"a\" twice. Rename one of them."),
  one(
    "duplicate-metadata", "{\"__metadata__\":{},\"__metadata__\":{}}",
    error: "names must be distinct; found \"__metadata__\" twice. Rename one of them."),
  one(
    "duplicate-metadata-key", "{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}",
    error: "names must be distinct; found \"k\" twice. Rename one of them."),
  one(
    "metadata-number", "{\"__metadata__\":{\"k\":1}}",
    error: "the header must have a quoted string at byte 29; found '1'. \(rewrite)"),
  one(
    "metadata-string", "{\"__metadata__\":\"k\"}",
    error: "the header must have '{' at byte 24; found '\"'. \(rewrite)"),
  one(
    "duplicate-field", "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}",
    error: "tensor \"a\" must have each field once; found \"dtype\" twice. \(rewrite)"),
  one(
    "missing-dtype", "{\"a\":{\"shape\":[0],\"data_offsets\":[0,0]}}",
    error: "tensor \"a\" must have the field \"dtype\"; found none. \(rewrite)"),
  one(
    "missing-shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}",
    error: "tensor \"a\" must have the field \"shape\"; found none. \(rewrite)"),
  one(
    "missing-offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}",
    error: "tensor \"a\" must have the field \"data_offsets\"; found none. \(rewrite)"),
  one(
    "unknown-field", "{\"a\":{\"strides\":[1]}}",
    error: "tensor \"a\" must have only the fields its format defines; found \"strides\". "
      + "Remove the field."),
  one(
    "unknown-dtype", "{\"a\":\(entry("C64", "[0]", "[0,0]"))}",
    error: "tensor \"a\" must have a dtype among \(dtypes); found \"C64\". "
      + "Did you mean \"F64\"?"),
  one(
    "foreign-dtype", "{\"a\":\(entry("quaternion", "[0]", "[0,0]"))}",
    error: "tensor \"a\" must have a dtype among \(dtypes); found \"quaternion\". "
      + "Convert the tensor."),
  one(
    "dtype-number", "{\"a\":{\"dtype\":8}}",
    error: "the header must have a quoted string at byte 22; found '8'. \(rewrite)"),
  one(
    "shape-number", "{\"a\":{\"shape\":8}}",
    error: "the header must have '[' at byte 22; found '8'. \(rewrite)"),
  number("negative", "-1", found: "'-'", at: 23),
  number("fraction", "1.0", found: "'.'", at: 24),
  number("exponent", "1e3", found: "'e'", at: 24),
  number("leading-zero", "01", found: "'0'", at: 23),
  number("string", "\"1\"", found: "'\"'", at: 23),
  one(
    "integer-too-large", "{\"a\":{\"shape\":[9223372036854775808]}}",
    error: "an integer must be below 2^63; found a larger one at byte 23. \(rewrite)"),
  one(
    "rank-17", "{\"a\":\(entry("U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]"))}", data: 1,
    error: "tensor \"a\" must have at most 16 dimensions; found more. "
      + "Merge dimensions before storing it."),
  one(
    "one-offset", "{\"a\":\(entry("U8", "[0]", "[0]"))}",
    error: "the header must have ',' at byte 56; found ']'. \(rewrite)"),
  one(
    "three-offsets", "{\"a\":\(entry("U8", "[0]", "[0,0,0]"))}",
    error: "the header must have ']' at byte 58; found ','. \(rewrite)"),
]

private let dtypes = "F64 F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32 I16 I8 U64 U32 U16 U8 BOOL"

private func number(_ kind: String, _ text: String, found: String, at offset: Int) -> FileCase {
  one(
    "dimension-\(kind)", "{\"a\":{\"shape\":[\(text)]}}",
    error: "the header must have a non-negative integer without fraction, exponent or leading "
      + "zero at byte \(offset); found \(found). \(rewrite)")
}

private let dataSafetensors = [
  one(
    "shape-overflow", "{\"a\":\(entry("F64", "[4611686018427387904,4]", "[0,0]"))}",
    error: "tensor \"a\" must have non-negative dimensions and fewer than 2^63 bytes; found shape "
      + "[4611686018427387904, 4] of F64. Check the shape."),
  one(
    "shape-overflow-with-zero", "{\"a\":\(entry("F64", "[4611686018427387904,4,0]", "[0,0]"))}",
    error: "tensor \"a\" must have non-negative dimensions and fewer than 2^63 bytes; found shape "
      + "[4611686018427387904, 4, 0] of F64. Check the shape."),
  one(
    "size-mismatch", "{\"a\":\(entry("F32", "[2]", "[0,4]"))}", data: 4,
    error: "tensor \"a\" of shape [2] and type F32 must have 8 bytes; found 4. "
      + "The data is truncated or the shape is wrong."),
  one(
    "reversed-offsets", "{\"a\":\(entry("F32", "[1]", "[4,0]"))}", data: 4,
    error: "tensor \"a\" must begin before it ends; found data_offsets [4, 0]. \(rewrite)"),
  one(
    "outside-data", "{\"a\":\(entry("F32", "[2]", "[0,8]"))}", data: 7,
    error: "tensor \"a\" must lie within the 7 bytes of data; found data_offsets [0, 8]. "
      + "The file is truncated: copy it again."),
  one(
    "offsets-max", "{\"a\":\(entry("U8", "[1]", "[9223372036854775806,9223372036854775807]"))}",
    error: "tensor \"a\" must lie within the 0 bytes of data; found data_offsets "
      + "[9223372036854775806, 9223372036854775807]. The file is truncated: copy it again."),
  one(
    "overlap", "{\"b\":\(entry("U8", "[8]", "[4,12]")),\"a\":\(entry("U8", "[8]", "[0,8]"))}",
    data: 12,
    error: "tensors must not share bytes; found \"b\" at [4, 12] while \"a\" ends at 8. \(rewrite)"),
  one(
    "empty-inside-another",
    "{\"a\":\(entry("U8", "[8]", "[0,8]")),\"b\":\(entry("U8", "[0]", "[4,4]"))}", data: 8,
    error: "tensors must not share bytes; found \"b\" at [4, 4] while \"a\" ends at 8. \(rewrite)"),
  one(
    "hole-at-start", "{\"a\":\(entry("U8", "[4]", "[4,8]"))}", data: 8,
    error: "tensors must cover all 8 bytes of data; found [0, 4] unused. \(rewrite)"),
  one(
    "hole-between", "{\"a\":\(entry("U8", "[2]", "[0,2]")),\"b\":\(entry("U8", "[2]", "[3,5]"))}",
    data: 5, error: "tensors must cover all 5 bytes of data; found [2, 3] unused. \(rewrite)"),
  one(
    "hole-at-end", "{\"a\":\(entry("U8", "[4]", "[0,4]"))}", data: 5,
    error: "tensors must cover all 5 bytes of data; found [4, 5] unused. \(rewrite)"),
]

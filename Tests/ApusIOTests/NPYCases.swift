import ApusIO

/// One file per rule of the NPY header, each breaking only that rule, and the unusual ones that
/// must be accepted.
let npyCases: [FileCase] = acceptedNPY + structuralNPY + fieldNPY

private func dictionary(
  _ descr: String, fortran: String = "False", _ shape: String
) -> String {
  "{'descr': '\(descr)', 'fortran_order': \(fortran), 'shape': \(shape), }\n"
}

private func one(
  _ name: String, _ text: String, data: Int = 0, major: UInt8 = 1, error: String?
) -> FileCase {
  FileCase(
    name: name, bytes: npy(text, data: data, major: major),
    error: error.map { "NPYHeader.parse: \($0)" })
}

private func raw(_ name: String, _ bytes: [UInt8], error: String) -> FileCase {
  FileCase(name: name, bytes: bytes, error: "NPYHeader.parse: \(error)")
}

private let rewrite = "Write the file again with a conforming writer."

private let acceptedNPY =
  FileScalarType.allCases.filter { FileScalarType(numpyDescr: $0.numpyDescr) == $0 }.map {
    one("valid-\($0)", dictionary($0.numpyDescr, "(2,)"), data: 2 * $0.byteCount, error: nil)
  } + [
    one("valid-scalar", dictionary("<f4", "()"), data: 4, error: nil),
    one("valid-empty", dictionary("<f4", "(0, 3)"), error: nil),
    one("valid-version-2", dictionary("<f4", "(1, 2)"), data: 8, major: 2, error: nil),
    one("valid-version-3", dictionary("<f4", "(1, 2)"), data: 8, major: 3, error: nil),
    one(
      "valid-fortran-vector", dictionary("<f4", fortran: "True", "(1, 2)"), data: 8, error: nil),
    one(
      "valid-other-order", "{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"|u1\"}", data: 2,
      error: nil),
  ]

private let structuralNPY = [
  raw(
    "empty-file", [],
    error: "the file must have at least 10 bytes; found 0. It is truncated: copy it again."),
  raw(
    "short-prefix", npySignature + [1, 0, 8],
    error: "the file must have at least 10 bytes; found 9. It is truncated: copy it again."),
  raw(
    "short-prefix-version-2", npySignature + [2, 0, 8, 0],
    error: "the file must have at least 12 bytes; found 10. It is truncated: copy it again."),
  raw("zip-archive", [0x50, 0x4B, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0], error: notNPY),
  raw(
    "version-4", npySignature + [4, 0, 0, 0, 0, 0],
    error: "the format version must be 1.0, 2.0 or 3.0; found 4.0. "
      + "Save the array again with numpy.save."),
  raw(
    "version-1-1", npySignature + [1, 1, 0, 0],
    error: "the format version must be 1.0, 2.0 or 3.0; found 1.1. "
      + "Save the array again with numpy.save."),
  raw(
    "header-length-max", npySignature + [2, 0, 0xFF, 0xFF, 0xFF, 0xFF],
    error: "the header must have at most 1048576 bytes; found a stated length of 4294967295. "
      + "The file is damaged or of another format."),
  raw(
    "header-beyond-file", npySignature + [1, 0, 9, 0] + Array("{}".utf8),
    error: "the header must end within the file; found a stated length of 9 with 2 bytes left. "
      + "The file is truncated, damaged or of another format."),
  one(
    "empty-header", "",
    error: "the header must have '{' at byte 10; found the end of the header. \(rewrite)"),
  one("list", "[]", error: "the header must have '{' at byte 10; found '['. \(rewrite)"),
  one(
    "trailing-garbage", dictionary("<f4", "(2,)") + "x", data: 8,
    error: "the header must have only padding at byte 68; found 'x'. \(rewrite)"),
  one(
    "unclosed-string", "{'descr",
    error: "the header must have a valid UTF-8 character, escape or closing quote at byte 17; "
      + "found the end of the header. \(rewrite)"),
  one(
    "escape", "{'\\x64escr': 1}",
    error: "the header must have a valid UTF-8 character, escape or closing quote at byte 12; "
      + "found '\\'. \(rewrite)"),
  one(
    "deep-tuples", "{'shape': " + String(repeating: "(", count: 1000),
    error: "the header must have a non-negative integer without fraction, exponent or leading "
      + "zero at byte 21; found '('. \(rewrite)"),
]

private let notNPY =
  "the file must begin with the bytes 93 4E 55 4D 50 59 (\\x93NUMPY); found others. "
  + "Name an .npy file (an .npz archive must be unpacked first)."

private let descrs = "<f8 <f4 <f2 <i8 <i4 <i2 |i1 <u8 <u4 <u2 |u1 |b1"

private func unknown(_ name: String, _ descr: String) -> FileCase {
  one(
    "descr-\(name)", dictionary(descr, "(1,)"), data: 8,
    error: "the descr must be one of \(descrs); found \"\(descr)\". "
      + "Convert the array; save bfloat16 as a uint16 view and FP8 as a uint8 view.")
}

private let fieldNPY = [
  unknown("complex", "<c8"), unknown("object", "|O"), unknown("void", "<V2"),
  unknown("text", "<U4"), unknown("empty", ""), unknown("native-order", "=f4"),
  unknown("unsized", "<f"),
  one(
    "big-endian", dictionary(">f4", "(1,)"), data: 4,
    error: "elements must be little-endian; found descr \">f4\". "
      + "Save array.astype(array.dtype.newbyteorder('<')) instead."),
  one(
    "structured", "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }", data: 4,
    error: "elements must be numbers; found a record type. Save each field as its own array."),
  one(
    "fortran-order", dictionary("<f4", fortran: "True", "(2, 3)"), data: 24,
    error: "the array must be stored row by row; found fortran_order True with shape [2, 3]. "
      + "Save numpy.ascontiguousarray(array) instead."),
  one(
    "fortran-order-number", dictionary("<f4", fortran: "1", "(1,)"), data: 4,
    error: "the header must have True or False at byte 44; found '1'. \(rewrite)"),
  one(
    "shape-integer", dictionary("<f4", "2"), data: 8,
    error: "the header must have '(' at byte 60; found '2'. \(rewrite)"),
  one(
    "shape-without-comma", dictionary("<f4", "(2)"), data: 8,
    error: "the header must have ',' at byte 62; found ')'. \(rewrite)"),
  one(
    "shape-negative", dictionary("<f4", "(-1,)"), data: 4,
    error: "the header must have a non-negative integer without fraction, exponent or leading "
      + "zero at byte 61; found '-'. \(rewrite)"),
  one(
    "integer-too-large", dictionary("<f4", "(99999999999999999999,)"),
    error: "an integer must be below 2^63; found a larger one at byte 61. \(rewrite)"),
  one(
    "shape-overflow", dictionary("<f8", "(2305843009213693952, 2)"),
    error: "the array must have non-negative dimensions and fewer than 2^63 bytes; found shape "
      + "[2305843009213693952, 2] of F64. Check the shape."),
  one(
    "rank-17", dictionary("|u1", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"), data: 1,
    error: "the array must have at most 16 dimensions; found more. "
      + "Merge dimensions before storing it."),
  one(
    "truncated-data", dictionary("<f4", "(2, 3)"), data: 23,
    error: "the array of shape [2, 3] and type F32 must have 24 bytes; found 23. "
      + "The data is truncated or the shape is wrong."),
  one(
    "trailing-data", dictionary("<f4", "()"), data: 5,
    error: "the array of shape [] and type F32 must have 4 bytes; found 5. "
      + "The data is truncated or the shape is wrong."),
  one(
    "missing-descr", "{'fortran_order': False, 'shape': ()}", data: 4,
    error: "the array must have the field \"descr\"; found none. \(rewrite)"),
  one(
    "missing-fortran-order", "{'descr': '<f4', 'shape': ()}", data: 4,
    error: "the array must have the field \"fortran_order\"; found none. \(rewrite)"),
  one(
    "missing-shape", "{'descr': '<f4', 'fortran_order': False}", data: 4,
    error: "the array must have the field \"shape\"; found none. \(rewrite)"),
  one(
    "duplicate-field", "{'shape': (), 'shape': ()}",
    error: "the array must have each field once; found \"shape\" twice. \(rewrite)"),
  one(
    "unknown-field", "{'strides': ()}",
    error: "the array must have only the fields its format defines; found \"strides\". "
      + "Remove the field."),
]

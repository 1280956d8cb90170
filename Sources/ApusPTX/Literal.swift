import ApusIR

/// A constant as PTX reads it: `true` and `false` as 1 and 0, integers decimal up to 16 bits and
/// hexadecimal above, f32 as exact bit patterns (`0f3F800000`), other floats as hexadecimal bits.
func literal(_ constant: Constant) -> String {
  switch constant.type {
  case .pred: return constant.bits == 0 ? "0" : "1"
  case .s32, .s64: return constant.integer.map(String.init) ?? "0"
  case .u16, .u32, .u64:
    return constant.bits < 1 << 16
      ? String(constant.bits) : "0x" + String(constant.bits, radix: 16)
  case .f32: return "0f" + hex(constant.bits, digits: 8)
  case .f16, .bf16: return "0x" + hex(constant.bits, digits: 4)
  case .f16x2, .bf16x2: return "0x" + hex(constant.bits, digits: 8)
  }
}

extension PTXText {
  /// Appends `literal(constant)`.
  mutating func append(literal constant: Constant) {
    switch constant.type {
    case .f32:
      append("0f")
      append(hexadecimal: constant.bits, digits: 8)
    case .u16, .u32, .u64:
      guard constant.bits < 1 << 16 else { return append(ApusPTX.literal(constant)) }
      append(Int(truncatingIfNeeded: constant.bits))
    default: append(ApusPTX.literal(constant))
    }
  }
}

private func hex(_ bits: UInt64, digits: Int) -> String {
  let text = String(bits, radix: 16, uppercase: true)
  return String(repeating: "0", count: max(0, digits - text.count)) + text
}

/// `0xffffffff`: a set of lanes.
func laneMask(_ members: UInt32) -> String { "0x" + String(members, radix: 16) }

extension ValueType {
  /// Whether instructions take literals of the type: PTX has none of 16-bit floating point, and
  /// predicates come in registers only.
  var hasLiterals: Bool {
    switch self {
    case .u16, .u32, .s32, .u64, .s64, .f32: true
    case .pred, .f16, .bf16, .f16x2, .bf16x2: false
    }
  }

  /// `b32`: the untyped type of the width.
  var bits: String {
    switch bitWidth {
    case 1: "pred"
    case 16: "b16"
    case 32: "b32"
    default: "b64"
    }
  }

  /// Type of `mov` and `selp`; f32 keeps its own for its literals.
  var moveType: String { self == .f32 ? "f32" : bits }
}

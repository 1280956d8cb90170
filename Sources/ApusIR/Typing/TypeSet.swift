/// A set of register types.
public struct TypeSet: OptionSet, Sendable, Hashable {
  /// Bit i is the type with raw value i.
  public let rawValue: UInt16

  /// The set with these bits.
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The set of the listed types.
  public init(_ types: ValueType...) {
    self.init(rawValue: types.reduce(0) { $0 | 1 << UInt16($1.rawValue) })
  }

  /// Whether the set has `type`.
  public func contains(_ type: ValueType) -> Bool { rawValue >> UInt16(type.rawValue) & 1 == 1 }

  /// The types of the set, in the order of their declaration.
  public var types: [ValueType] { ValueType.allCases.filter { contains($0) } }

  /// The types with a predicate.
  static func all(where condition: (ValueType) -> Bool) -> TypeSet {
    TypeSet(
      rawValue: ValueType.allCases.filter(condition).reduce(0) { $0 | 1 << UInt16($1.rawValue) })
  }

  /// 16-bit types.
  public static let width16 = all { $0.bitWidth == 16 }
  /// 32-bit types.
  public static let width32 = all { $0.bitWidth == 32 }
  /// 64-bit types.
  public static let width64 = all { $0.bitWidth == 64 }
  /// Everything but `pred`.
  public static let data = all { $0 != .pred }
  /// Every type.
  public static let any = all { _ in true }
  /// Integers of 32 and 64 bits.
  public static let integers = all { $0.isInteger && $0.bitWidth >= 32 }
  /// u16 and the integers of 32 and 64 bits.
  public static let allIntegers = all { $0.isInteger }
  /// Scalar and packed floating point.
  public static let floats = all { $0.isFloat }
  /// Types with arithmetic.
  public static let numbers: TypeSet = [integers, floats]
  /// Types of bitwise ops.
  public static let bits: TypeSet = [allIntegers, TypeSet(.pred)]
}

extension TypeSet: CustomStringConvertible {
  /// `f32`, `u32|s32`.
  public var description: String { types.map(\.description).joined(separator: "|") }
}

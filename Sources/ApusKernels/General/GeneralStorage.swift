internal import ApusDSL
internal import ApusIR
public import ApusNumerics

/// What a general kernel knows of the type of q or o, which each of its threads touches once: one
/// kernel serves all types with cheap conversions, and the launch says which it is.
public enum GeneralStorage: String, Sendable, Hashable, CaseIterable {
  /// f32, f16 or bf16, as `GeneralStorage.code` of the launch says.
  case plain
  /// FP8 with 3 bits of mantissa.
  case e4m3
  /// FP8 with 2 bits of mantissa.
  case e5m2

  /// The storage that holds a type.
  public init(_ type: ElementType) {
    switch type {
    case .f32, .f16, .bf16: self = .plain
    case .e4m3: self = .e4m3
    case .e5m2: self = .e5m2
    }
  }

  /// The types, each with the code that a launch gives.
  var types: [(code: Int, type: ElementType)] {
    switch self {
    case .plain: [(0, .f32), (1, .f16), (2, .bf16)]
    case .e4m3: [(0, .e4m3)]
    case .e5m2: [(0, .e5m2)]
    }
  }

  /// Bytes of the smallest type, which all addresses are multiples of.
  var byteCount: Int { self == .plain ? 2 : 1 }

  /// The number by which a launch names a type.
  static func code(_ type: ElementType) -> Int {
    switch type {
    case .f32, .e4m3, .e5m2: 0
    case .f16: 1
    case .bf16: 2
    }
  }
}

extension Block {
  /// Calls `body` with the type that a launch names.
  func whenType(
    _ storage: GeneralStorage, is code: Value<U32>, file: String = #fileID, line: Int = #line,
    _ body: (ElementType) -> Void
  ) {
    guard storage == .plain else {
      for (_, type) in storage.types { body(type) }
      return
    }
    for (number, type) in storage.types {
      when(code == number, .uniform, file: file, line: line) { body(type) }
    }
  }
}

import ApusIR

extension Op.Arithmetic {
  /// The opcode on operands of `type`.
  ///
  /// Sums and products say `.rn`: without it the compiler may contract them into fused
  /// multiply-adds (PTX § add, § mul), and results would not be those of the language.
  func opcode(_ type: ValueType) -> String {
    let rounded = type.isFloat ? ".rn" : ""
    return switch self {
    case .add: "add\(rounded).\(type)"
    case .sub: "sub\(rounded).\(type)"
    case .mul: "mul\(type.isFloat ? ".rn" : ".lo").\(type)"
    case .fma: "fma.rn.\(type)"
    case .addRounded(let rounding): "add.\(rounding).f32"
    case .mulRounded(let rounding): "mul.\(rounding).f32"
    case .fmaRounded(let rounding): "fma.\(rounding).f32"
    case .mulHigh: "mul.hi.\(type)"
    case .mulWide: "mul.wide.\(type)"
    case .mad: "mad.lo.\(type)"
    case .madWide: "mad.wide.\(type)"
    case .div: "div\(rounded).\(type)"
    case .rem: "rem.\(type)"
    case .min: "min.\(type)"
    case .max: "max.\(type)"
    case .minNaN: "min.NaN.\(type)"
    case .maxNaN: "max.NaN.\(type)"
    case .neg: "neg.\(type)"
    case .abs: "abs.\(type)"
    case .approximate(let function): function.opcode(type)
    case .packed16: Op.arithmetic(self).mnemonic
    }
  }
}

extension Op.ApproximateFunction {
  fileprivate func opcode(_ type: ValueType) -> String {
    switch self {
    case .ex2:
      switch type {
      case .f16, .f16x2: "ex2.approx.\(type)"
      default: "ex2.approx.ftz.\(type)"
      }
    case .tanh: "tanh.approx.\(type)"
    case .lg2, .rcp, .rsqrt, .sqrt, .sin, .cos: "\(self).approx.ftz.\(type)"
    }
  }
}

import ApusIR

extension Op.Arithmetic {
  /// The opcode on operands of `type`.
  ///
  /// Sums and products say `.rn`: without it the compiler may contract them into fused
  /// multiply-adds (PTX § add, § mul), and results would not be those of the language.
  func opcode(_ type: ValueType) -> String {
    let rounded = type.isFloat ? ".rn." : "."
    let name = type.description
    return switch self {
    case .add: "add" + rounded + name
    case .sub: "sub" + rounded + name
    case .mul: (type.isFloat ? "mul.rn." : "mul.lo.") + name
    case .fma: "fma.rn." + name
    case .addRounded(let rounding): "add.\(rounding).f32"
    case .mulRounded(let rounding): "mul.\(rounding).f32"
    case .fmaRounded(let rounding): "fma.\(rounding).f32"
    case .mulHigh: "mul.hi." + name
    case .mulWide: "mul.wide." + name
    case .mad: "mad.lo." + name
    case .madWide: "mad.wide." + name
    case .div: "div" + rounded + name
    case .rem: "rem." + name
    case .min: "min." + name
    case .max: "max." + name
    case .minNaN: "min.NaN." + name
    case .maxNaN: "max.NaN." + name
    case .neg: "neg." + name
    case .abs: "abs." + name
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
    case .tanh: "tanh.approx." + type.description
    case .lg2, .rcp, .rsqrt, .sqrt, .sin, .cos: description + ".approx.ftz." + type.description
    }
  }
}

extension Op {
  /// The op's name in IR text: PTX's verb, then modifiers, then what PTX has no word for.
  public var mnemonic: String {
    switch self {
    case .movement(let op): "\(op)"
    case .arithmetic(let op): op.mnemonic
    case .bits(let op): op.mnemonic
    case .conversion(let op): op.mnemonic
    case .special(let register): register.mnemonic
    case .memory(let op): op.mnemonic
    case .warp(let op): op.mnemonic
    case .synchronisation(let op): op.mnemonic
    case .copy(let op): op.mnemonic
    case .tensorCore(let op): op.mnemonic
    case .control(let op): op.mnemonic
    }
  }
}

extension Op.Rounding: CustomStringConvertible {
  /// PTX's modifier: `rn`, `rz`, `rm`, `rp`.
  public var description: String {
    switch self {
    case .nearestEven: "rn"
    case .towardZero: "rz"
    case .down: "rm"
    case .up: "rp"
    }
  }
}

extension Op.Arithmetic {
  var mnemonic: String {
    switch self {
    case .addRounded(let rounding): "add.\(rounding)"
    case .mulRounded(let rounding): "mul.\(rounding)"
    case .fmaRounded(let rounding): "fma.\(rounding)"
    case .mulHigh: "mul.hi"
    case .mulWide: "mul.wide"
    case .madWide: "mad.wide"
    case .minNaN: "min.nan"
    case .maxNaN: "max.nan"
    case .approximate(let function): "\(function).approx"
    case .packed16(let op):
      switch op {
      case .maxUnsigned: "max.u16x2"
      case .minUnsigned: "min.u16x2"
      case .maxSigned: "max.s16x2"
      case .minSigned: "min.s16x2"
      case .add: "add.u16x2"
      }
    case .add, .sub, .mul, .fma, .mad, .div, .rem, .min, .max, .neg, .abs: "\(self)"
    }
  }
}

extension Op.Bits {
  var mnemonic: String {
    switch self {
    case .funnelShiftLeft(let mode): "shf.l.\(mode)"
    case .funnelShiftRight(let mode): "shf.r.\(mode)"
    case .lop3(let table): "lop3.\(hexadecimal(UInt32(table)))"
    case .setp(let comparison): "setp.\(comparison)"
    case .and, .or, .xor, .not, .shl, .shr, .prmt, .popc, .clz, .brev, .bfe, .bfi: "\(self)"
    }
  }
}

extension Op.Conversion {
  var mnemonic: String {
    switch self {
    case .integer, .widen: "cvt"
    case .integerToFloat, .narrow, .narrowPair: "cvt.rn"
    case .floatToInteger(let rounding): "cvt.\(rounding)i.sat"
    case .roundToInteger(let rounding): "cvt.\(rounding)i"
    case .narrowFP8(let format): "cvt.rn.satfinite.\(format)x2"
    case .widenFP8(let format): "cvt.from.\(format)x2"
    case .tf32: "cvt.rna.tf32"
    }
  }
}

extension Op.SpecialRegister {
  var mnemonic: String {
    switch self {
    case .threadIndex(let axis): "tid.\(axis)"
    case .blockSize(let axis): "ntid.\(axis)"
    case .blockIndex(let axis): "ctaid.\(axis)"
    case .gridSize(let axis): "nctaid.\(axis)"
    case .laneIndex: "laneid"
    case .lanesBelow: "lanemask_lt"
    case .clusterIndex(let axis): "clusterid.\(axis)"
    case .clusterCount(let axis): "nclusterid.\(axis)"
    case .clusterRank: "cluster_ctarank"
    case .clusterSize: "cluster_nctarank"
    case .multiprocessor: "smid"
    case .clock: "clock"
    case .clock64: "clock64"
    case .globalTimer: "globaltimer"
    case .dynamicSharedSize: "dynamic_smem_size"
    }
  }
}

extension Op.Warp {
  var mnemonic: String {
    switch self {
    case .shfl(let mode, let width, _):
      width == warpSize ? "shfl.\(mode)" : "shfl.\(mode).w\(width)"
    case .vote(let mode, _): "vote.\(mode)"
    case .redux(let op, _): "redux.\(op)"
    case .elect: "elect"
    case .matchAny: "match.any"
    case .matchAll: "match.all"
    case .syncWarp: "bar.warp.sync"
    case .movmatrix: "movmatrix"
    }
  }
}

extension Op.Control {
  var mnemonic: String {
    switch self {
    case .if(let form): form == .divergent ? "if" : "if.\(form)"
    case .loop(let form): form == .automatic ? "loop" : "loop.rolled"
    case .breakIf: "break_if"
    case .continueIf: "continue_if"
    case .roles: "roles"
    case .exit: "exit"
    case .trap: "trap"
    case .sleep: "nanosleep"
    case .setMaxRegisters(.increase, _): "setmaxnreg.inc"
    case .setMaxRegisters(.decrease, _): "setmaxnreg.dec"
    case .comment: "comment"
    case .phase: "phase"
    }
  }
}

func hexadecimal(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }

extension Op.ApproximateFunction: CustomStringConvertible {
  /// PTX's verb.
  public var description: String {
    switch self {
    case .ex2: "ex2"
    case .lg2: "lg2"
    case .rcp: "rcp"
    case .rsqrt: "rsqrt"
    case .sqrt: "sqrt"
    case .tanh: "tanh"
    case .sin: "sin"
    case .cos: "cos"
    }
  }
}

extension Op.Comparison: CustomStringConvertible {
  /// PTX's modifier.
  public var description: String {
    switch self {
    case .eq: "eq"
    case .ne: "ne"
    case .lt: "lt"
    case .le: "le"
    case .gt: "gt"
    case .ge: "ge"
    case .equ: "equ"
    case .neu: "neu"
    case .ltu: "ltu"
    case .leu: "leu"
    case .gtu: "gtu"
    case .geu: "geu"
    case .num: "num"
    case .nan: "nan"
    }
  }
}

extension Op.MemoryElement: CustomStringConvertible {
  /// PTX's type.
  public var description: String {
    switch self {
    case .b8: "b8"
    case .s8: "s8"
    case .b16: "b16"
    case .s16: "s16"
    case .b32: "b32"
    case .b64: "b64"
    }
  }
}

extension Op.MatrixElement: CustomStringConvertible {
  /// PTX's type.
  public var description: String {
    switch self {
    case .f16: "f16"
    case .bf16: "bf16"
    case .tf32: "tf32"
    case .e4m3: "e4m3"
    case .e5m2: "e5m2"
    }
  }
}

extension Op.AccumulatorType: CustomStringConvertible {
  /// PTX's type.
  public var description: String {
    switch self {
    case .f32: "f32"
    case .f16: "f16"
    }
  }
}

import ApusIR

/// Every op of the language with every modifier, group by group: the input of the sweep. Ranges
/// that only grow a number (offsets, counts, group numbers) have one or two samples.
enum EveryOp {
  static let groups: [(name: String, variants: [Variant])] = [
    ("movement", movement), ("arithmetic", arithmetic), ("bits", bits),
    ("conversion", conversion), ("special", special), ("memory", memory), ("atomics", atomics),
    ("warp", warp), ("synchronisation", synchronisation), ("copy", copy), ("tensor_core", tensor),
    ("control", control),
  ]

  static let all: [Variant] = groups.flatMap(\.variants)

  static var movement: [Variant] {
    typealias M = Op.Movement
    return Variant.all(.movement(M.variable), operands: 0)
      + [M.variable, .assign, .copy, .bitcast].flatMap {
        Variant.all(.movement($0), operands: 1)
      } + Variant.all(.movement(.select), operands: 3)
      + Variant.all(.movement(.pack), operands: 2)
      + Variant.all(.movement(.unpack), operands: 1, results: 2)
  }

  static var arithmetic: [Variant] {
    typealias A = Op.Arithmetic
    let roundings = Op.Rounding.allCases
    let ops: [(A, Int)] =
      [A.add, .sub, .mul, .mulHigh, .mulWide, .div, .rem, .min, .max, .minNaN, .maxNaN]
      .map { ($0, 2) } + [A.fma, .mad, .madWide].map { ($0, 3) } + [A.neg, .abs].map { ($0, 1) }
      + roundings.map { (A.addRounded($0), 2) } + roundings.map { (A.mulRounded($0), 2) }
      + roundings.map { (A.fmaRounded($0), 3) }
      + Op.ApproximateFunction.allCases.map { (A.approximate($0), 1) }
      + Op.Packed16.allCases.map { (A.packed16($0), 2) }
    return ops.flatMap { Variant.all(.arithmetic($0), operands: $1) }
  }

  static var bits: [Variant] {
    typealias B = Op.Bits
    let modes = Op.FunnelMode.allCases
    let ops: [(B, Int)] =
      [B.and, .or, .xor, .shl, .shr].map { ($0, 2) }
      + [B.not, .popc, .clz, .brev].map { ($0, 1) }
      + modes.map { (B.funnelShiftLeft($0), 3) } + modes.map { (B.funnelShiftRight($0), 3) }
      + [B.prmt, .lop3(table: 0xEA), .lop3(table: 0x02), .bfe].map { ($0, 3) } + [(B.bfi, 4)]
      + Op.Comparison.allCases.map { (B.setp($0), 2) }
    return ops.flatMap { Variant.all(.bits($0), operands: $1) }
  }

  static var conversion: [Variant] {
    typealias C = Op.Conversion
    let roundings = Op.Rounding.allCases
    let formats = Op.FP8Format.allCases
    let ops: [(C, Int)] =
      [C.integer, .integerToFloat, .widen, .narrow, .tf32].map { ($0, 1) } + [(C.narrowPair, 2)]
      + roundings.map { (C.floatToInteger($0), 1) } + roundings.map { (C.roundToInteger($0), 1) }
      + formats.map { (C.narrowFP8($0), 2) } + formats.map { (C.widenFP8($0), 1) }
    return ops.flatMap { Variant.all(.conversion($0), operands: $1) }
  }

  static var special: [Variant] {
    typealias S = Op.SpecialRegister
    let axes = Op.Axis.allCases
    let registers: [S] =
      [
        .laneIndex, .lanesBelow, .clusterRank, .clusterSize, .multiprocessor, .clock, .clock64,
        .globalTimer, .dynamicSharedSize,
      ]
      + axes.flatMap { axis -> [S] in
        [
          .threadIndex(axis), .blockSize(axis), .blockIndex(axis), .gridSize(axis),
          .clusterIndex(axis), .clusterCount(axis),
        ]
      }
    return registers.flatMap { Variant.all(.special($0), operands: 0) }
  }

  static var warp: [Variant] {
    typealias W = Op.Warp
    let lanes = Op.allLanes
    var list: [Variant] = []
    for mode in Op.ShuffleMode.allCases {
      for width in [2, 4, 8, 16, 32] {
        let op = Op.warp(.shfl(mode, width: width, members: lanes))
        list += Variant.all(op, operands: 2) + Variant.all(op, operands: 2, results: 2)
      }
    }
    for mode in Op.VoteMode.allCases {
      list += Variant.all(.warp(.vote(mode, members: 0xFF)), operands: 1)
    }
    for op in Op.ReductionOp.allCases {
      list += Variant.all(.warp(.redux(op, members: lanes)), operands: 1)
    }
    list += Variant.all(.warp(.elect(members: lanes)), operands: 0)
    list += Variant.all(.warp(.matchAny(members: lanes)), operands: 1)
    list += Variant.all(.warp(.matchAll(members: lanes)), operands: 1, results: 2)
    list += Variant.all(.warp(.syncWarp(members: 3)), operands: 0, results: 0)
    return list + Variant.all(.warp(.movmatrix), operands: 1)
  }

  static var control: [Variant] {
    let roles = [
      Role(name: "first", warps: 0..<1), Role(name: "second", warps: 1..<4, registers: 64),
    ]
    let structured: [(Op.Control, [ValueType])] =
      Op.BranchForm.allCases.map { (.if($0), [.pred]) }
      + Op.LoopForm.allCases.map { (.loop($0), []) }
      + [(.breakIf, [.pred]), (.continueIf, [.pred]), (.roles(roles), [.u32])]
    return structured.map { Variant(op: .control($0), operands: $1, results: []) } + markers
  }

  private static var markers: [Variant] {
    [Op.Control.comment("a comment — of two\nlines"), .phase("Phase"), .exit, .trap].map {
      Variant(op: .control($0), operands: [], results: [])
    } + [
      Variant(op: .control(.sleep), operands: [.u32], results: []),
      Variant(
        op: .control(.setMaxRegisters(.decrease, count: 24)), operands: [], results: []),
      Variant(
        op: .control(.setMaxRegisters(.increase, count: 240)), operands: [], results: []),
    ]
  }
}

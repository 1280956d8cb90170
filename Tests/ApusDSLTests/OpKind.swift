import ApusIR

/// The ops of the language without their details. The switches below are exhaustive, so a new op
/// does not compile until it has a kind, and `CoverageTests` fails until it has a statement.
enum OpKind: CaseIterable {
  case variable, assign, copy, select, bitcast, pack, unpack
  case add, sub, mul, fma, addRounded, mulRounded, fmaRounded, mulHigh, mulWide, mad, madWide
  case div, rem, min, max, minNaN, maxNaN, neg, abs, approximate, packed16
  case and, or, xor, not, shl, shr, funnelShiftLeft, funnelShiftRight, prmt, lop3
  case popc, clz, brev, bfe, bfi, setp
  case integer, integerToFloat, floatToInteger, roundToInteger, widen, narrow, narrowPair
  case narrowFP8, widenFP8, tf32
  case threadIndex, blockSize, blockIndex, gridSize, laneIndex, lanesBelow, clusterIndex
  case clusterCount, clusterRank, clusterSize, multiprocessor, clock, clock64, globalTimer
  case dynamicSharedSize
  case parameter, parameterAddress, sharedAddress, ld, st, atom, red, prefetch, mapa
  case shfl, vote, redux, elect, matchAny, matchAll, syncWarp, movmatrix
  case barrierSync, barrierArrive, mbarrierInit, mbarrierInvalidate, mbarrierArrive
  case mbarrierArriveExpect, mbarrierExpect, mbarrierWait, mbarrierTest, fence
  case clusterArrive, clusterWait, gridDependencyWait, gridDependencyLaunch
  case asyncCopy, asyncCommit, asyncWait, asyncArrive, bulkLoad, bulkStore, bulkCopyToCluster
  case bulkPrefetch, bulkCommit, bulkWait, tensorLoad, tensorStore, tensorPrefetch
  case prefetchTensorMap, storeAsync
  case ldmatrix, stmatrix, mma, wgmma, wgmmaFence, wgmmaCommit, wgmmaWait
  case branch, loop, breakIf, continueIf, roles, exit, trap, sleep, setMaxRegisters, comment
  case phase

  init(_ op: Op) {
    self =
      switch op {
      case .movement(let op): Self.movement(op)
      case .arithmetic(let op): Self.arithmetic(op)
      case .bits(let op): Self.bits(op)
      case .conversion(let op): Self.conversion(op)
      case .special(let register): Self.special(register)
      case .memory(let op): Self.memory(op)
      case .warp(let op): Self.warp(op)
      case .synchronisation(let op): Self.synchronisation(op)
      case .copy(let op): Self.copy(op)
      case .tensorCore(let op): Self.tensorCore(op)
      case .control(let op): Self.control(op)
      }
  }

  private static func movement(_ op: Op.Movement) -> OpKind {
    switch op {
    case .variable: .variable
    case .assign: .assign
    case .copy: .copy
    case .select: .select
    case .bitcast: .bitcast
    case .pack: .pack
    case .unpack: .unpack
    }
  }

  private static func arithmetic(_ op: Op.Arithmetic) -> OpKind {
    switch op {
    case .add: .add
    case .sub: .sub
    case .mul: .mul
    case .fma: .fma
    case .addRounded: .addRounded
    case .mulRounded: .mulRounded
    case .fmaRounded: .fmaRounded
    case .mulHigh: .mulHigh
    case .mulWide: .mulWide
    case .mad: .mad
    case .madWide: .madWide
    case .div: .div
    case .rem: .rem
    case .min: .min
    case .max: .max
    case .minNaN: .minNaN
    case .maxNaN: .maxNaN
    case .neg: .neg
    case .abs: .abs
    case .approximate: .approximate
    case .packed16: .packed16
    }
  }

  private static func bits(_ op: Op.Bits) -> OpKind {
    switch op {
    case .and: .and
    case .or: .or
    case .xor: .xor
    case .not: .not
    case .shl: .shl
    case .shr: .shr
    case .funnelShiftLeft: .funnelShiftLeft
    case .funnelShiftRight: .funnelShiftRight
    case .prmt: .prmt
    case .lop3: .lop3
    case .popc: .popc
    case .clz: .clz
    case .brev: .brev
    case .bfe: .bfe
    case .bfi: .bfi
    case .setp: .setp
    }
  }

  private static func conversion(_ op: Op.Conversion) -> OpKind {
    switch op {
    case .integer: .integer
    case .integerToFloat: .integerToFloat
    case .floatToInteger: .floatToInteger
    case .roundToInteger: .roundToInteger
    case .widen: .widen
    case .narrow: .narrow
    case .narrowPair: .narrowPair
    case .narrowFP8: .narrowFP8
    case .widenFP8: .widenFP8
    case .tf32: .tf32
    }
  }

  private static func special(_ register: Op.SpecialRegister) -> OpKind {
    switch register {
    case .threadIndex: .threadIndex
    case .blockSize: .blockSize
    case .blockIndex: .blockIndex
    case .gridSize: .gridSize
    case .laneIndex: .laneIndex
    case .lanesBelow: .lanesBelow
    case .clusterIndex: .clusterIndex
    case .clusterCount: .clusterCount
    case .clusterRank: .clusterRank
    case .clusterSize: .clusterSize
    case .multiprocessor: .multiprocessor
    case .clock: .clock
    case .clock64: .clock64
    case .globalTimer: .globalTimer
    case .dynamicSharedSize: .dynamicSharedSize
    }
  }

  private static func memory(_ op: Op.Memory) -> OpKind {
    switch op {
    case .parameter: .parameter
    case .parameterAddress: .parameterAddress
    case .sharedAddress: .sharedAddress
    case .ld: .ld
    case .st: .st
    case .atom: .atom
    case .red: .red
    case .prefetch: .prefetch
    case .mapa: .mapa
    }
  }

  private static func warp(_ op: Op.Warp) -> OpKind {
    switch op {
    case .shfl: .shfl
    case .vote: .vote
    case .redux: .redux
    case .elect: .elect
    case .matchAny: .matchAny
    case .matchAll: .matchAll
    case .syncWarp: .syncWarp
    case .movmatrix: .movmatrix
    }
  }

  private static func synchronisation(_ op: Op.Synchronisation) -> OpKind {
    switch op {
    case .barrierSync: .barrierSync
    case .barrierArrive: .barrierArrive
    case .mbarrierInit: .mbarrierInit
    case .mbarrierInvalidate: .mbarrierInvalidate
    case .mbarrierArrive: .mbarrierArrive
    case .mbarrierArriveExpect: .mbarrierArriveExpect
    case .mbarrierExpect: .mbarrierExpect
    case .mbarrierWait: .mbarrierWait
    case .mbarrierTest: .mbarrierTest
    case .fence: .fence
    case .clusterArrive: .clusterArrive
    case .clusterWait: .clusterWait
    case .gridDependencyWait: .gridDependencyWait
    case .gridDependencyLaunch: .gridDependencyLaunch
    }
  }

  private static func copy(_ op: Op.Copy) -> OpKind {
    switch op {
    case .async: .asyncCopy
    case .asyncCommit: .asyncCommit
    case .asyncWait: .asyncWait
    case .asyncArrive: .asyncArrive
    case .bulkLoad: .bulkLoad
    case .bulkStore: .bulkStore
    case .bulkCopyToCluster: .bulkCopyToCluster
    case .bulkPrefetch: .bulkPrefetch
    case .bulkCommit: .bulkCommit
    case .bulkWait: .bulkWait
    case .tensorLoad: .tensorLoad
    case .tensorStore: .tensorStore
    case .tensorPrefetch: .tensorPrefetch
    case .prefetchTensorMap: .prefetchTensorMap
    case .storeAsync: .storeAsync
    }
  }

  private static func tensorCore(_ op: Op.TensorCore) -> OpKind {
    switch op {
    case .ldmatrix: .ldmatrix
    case .stmatrix: .stmatrix
    case .mma: .mma
    case .wgmma: .wgmma
    case .wgmmaFence: .wgmmaFence
    case .wgmmaCommit: .wgmmaCommit
    case .wgmmaWait: .wgmmaWait
    }
  }

  private static func control(_ op: Op.Control) -> OpKind {
    switch op {
    case .if: .branch
    case .loop: .loop
    case .breakIf: .breakIf
    case .continueIf: .continueIf
    case .roles: .roles
    case .exit: .exit
    case .trap: .trap
    case .sleep: .sleep
    case .setMaxRegisters: .setMaxRegisters
    case .comment: .comment
    case .phase: .phase
    }
  }
}

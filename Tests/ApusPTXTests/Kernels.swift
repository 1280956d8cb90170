import ApusIR

/// Small real kernels, one for every target and one for Hopper alone.
enum Kernels {
  /// Row softmax of one warp per row: shuffles, a rolled loop, a masked tail.
  static func rowSoftmax() -> KernelIR {
    var b = IRBuilder(
      symbol: "row_softmax_f32", launch: LaunchBounds(threads: 32, minBlocksPerMultiprocessor: 2))
    let source = b.addParameter(name: "source", kind: .pointer(alignment: 4))
    let destination = b.addParameter(name: "destination", kind: .pointer(alignment: 4))
    let columns = b.addParameter(name: "columns", kind: .scalar(.u32))
    let input = b.read(source, .u64)
    let output = b.read(destination, .u64)
    let count = b.read(columns, .u32)
    let lane = b.make(.special(.threadIndex(.x)), [], .u32)
    let row = b.make(.special(.blockIndex(.x)), [], .u32)
    let first = b.make(.arithmetic(.mul), [row, count], .u32)
    b.phase("m = max, l = sum over the row, online")
    let m = b.variable(.f32, initial: .constant(.f32(-.infinity)), name: "m", at: line(10))
    let l = b.variable(.f32, initial: .constant(.f32(0)), name: "l", at: line(11))
    b.columns(from: lane, to: count, first: first, base: input) { b, _, address in
      let x = b.make(
        .memory(.ld(Op.MemoryAccess(.global, .b32, isNonCoherent: true))), [address], .f32)
      let larger = b.make(.arithmetic(.max), [.value(m), x], .f32)
      let scale = b.exponential(.value(m), minus: larger)
      let p = b.exponential(x, minus: larger)
      let sum = b.make(.arithmetic(.fma), [.value(l), scale, p], .f32)
      b.assign(l, sum, at: line(20))
      b.assign(m, larger, at: line(21))
    }
    b.phase("combine the lanes")
    for distance: UInt32 in [16, 8, 4, 2, 1] {
      let shuffle = Op.warp(.shfl(.bfly, width: 32, members: Op.allLanes))
      let otherM = b.make(shuffle, [.value(m), .constant(.u32(distance))], .f32)
      let otherL = b.make(shuffle, [.value(l), .constant(.u32(distance))], .f32)
      let larger = b.make(.arithmetic(.max), [.value(m), otherM], .f32)
      let mine = b.exponential(.value(m), minus: larger)
      let theirs = b.exponential(otherM, minus: larger)
      let part = b.make(.arithmetic(.mul), [otherL, theirs], .f32)
      b.assign(l, b.make(.arithmetic(.fma), [.value(l), mine, part], .f32), at: line(30))
      b.assign(m, larger, at: line(31))
    }
    let inverse = b.make(.arithmetic(.approximate(.rcp)), [.value(l)], .f32)
    b.phase("store")
    let distance = b.make(.arithmetic(.sub), [output, input], .u64)
    b.columns(from: lane, to: count, first: first, base: input) { b, _, address in
      let x = b.make(
        .memory(.ld(Op.MemoryAccess(.global, .b32, isNonCoherent: true))), [address], .f32)
      let p = b.exponential(x, minus: .value(m))
      let y = b.make(.arithmetic(.mul), [p, inverse], .f32)
      let place = b.make(.arithmetic(.add), [address, distance], .u64)
      b.emit(.memory(.st(Op.MemoryAccess(.global, .b32))), [place, y], at: line(40))
    }
    return b.finish()
  }

  /// C[64, 64] = Σ A[64, 64]·B[64, 64] over `tiles`: a producer warpgroup feeds a ring by TMA, a
  /// consumer multiplies, packs, and stores by TMA.
  static func ringProduct() -> KernelIR {
    var b = IRBuilder(symbol: "sm90_ring_product_bf16", launch: LaunchBounds(threads: 256))
    let aMap = b.addParameter(name: "a", kind: .tensorMap)
    let bMap = b.addParameter(name: "b", kind: .tensorMap)
    let cMap = b.addParameter(name: "c", kind: .tensorMap)
    let tiles = b.addParameter(name: "tiles", kind: .scalar(.u32))
    let aTiles = b.addShared(name: "a", byteCount: 16384, alignment: 1024)
    let bTiles = b.addShared(name: "b", byteCount: 16384, alignment: 1024)
    let cTile = b.addShared(name: "c", byteCount: 8192, alignment: 1024)
    let full = b.addShared(name: "full", byteCount: 16, contents: .mbarriers(arrivals: 1))
    let empty = b.addShared(name: "empty", byteCount: 16, contents: .mbarriers(arrivals: 128))
    b.addRing(name: "ring", full: full, empty: empty)
    let stored = b.addBarrier(name: "stored", firstID: 1, threads: 128)
    let all = b.addBarrier(name: "all", firstID: 0, threads: 256)

    let thread = b.make(.special(.threadIndex(.x)), [], .u32)
    let warpOfLane = b.make(.bits(.shr), [thread, .constant(.u32(5))], .u32)
    let warp = b.make(
      .warp(.shfl(.idx, width: 32, members: Op.allLanes)), [warpOfLane, .constant(.u32(0))], .u32)
    let count = b.read(tiles, .u32)
    let fullAddress = b.shared(full)
    let emptyAddress = b.shared(empty)
    let isFirst = b.make(.bits(.setp(.eq)), [thread, .constant(.u32(0))], .pred)
    let initialise = b.region { b in
      for stage in 0..<2 {
        b.emit(
          .synchronisation(.mbarrierInit(offset: 8 * stage)), [fullAddress, .constant(.u32(1))],
          at: line(50))
        b.emit(
          .synchronisation(.mbarrierInit(offset: 8 * stage)), [emptyAddress, .constant(.u32(128))],
          at: line(51))
      }
      b.emit(.synchronisation(.fence(.mbarrierInit)), at: line(52))
    }
    b.emit(.control(.if(.predicated)), [isFirst], regions: [initialise], at: line(53))
    b.emit(.synchronisation(.barrierSync(all)), at: line(54))

    let producer = b.region { b in
      let isLoader = b.make(.bits(.setp(.eq)), [warp, .constant(.u32(0))], .pred)
      let load = b.region { b in
        let elected = b.make(.warp(.elect(members: Op.allLanes)), [], .pred)
        let maps = [aMap, bMap].map { b.make(.memory(.parameterAddress($0)), [], .u64) }
        let bases = [b.shared(aTiles), b.shared(bTiles)]
        b.stages(count) { b, tile, stage, parity in
          let barrier = b.make(.bits(.shl), [stage, .constant(.u32(3))], .u32)
          let isFull = b.make(.arithmetic(.add), [fullAddress, barrier], .u32)
          let isEmpty = b.make(.arithmetic(.add), [emptyAddress, barrier], .u32)
          let other = b.make(.bits(.xor), [parity, .constant(.u32(1))], .u32)
          b.emit(.synchronisation(.mbarrierWait(.init())), [isEmpty, other], at: line(60))
          let issue = b.region { b in
            b.emit(
              .synchronisation(.mbarrierArriveExpect(.init())), [isFull, .constant(.u32(16384))],
              at: line(61))
            let shift = b.make(.bits(.shl), [stage, .constant(.u32(13))], .u32)
            let k = b.make(.bits(.shl), [tile, .constant(.u32(6))], .u32)
            for (map, base) in zip(maps, bases) {
              let place = b.make(.arithmetic(.add), [base, shift], .u32)
              b.emit(
                .copy(.tensorLoad(.init(dimensions: 2))),
                [place, map, k, .constant(.u32(0)), isFull], at: line(62))
            }
          }
          b.emit(.control(.if(.divergent)), [elected], regions: [issue], at: line(63))
        }
      }
      b.emit(.control(.if(.uniform)), [isLoader], regions: [load], at: line(64))
    }

    let consumer = b.region { b in
      let d = (0..<32).map { _ in
        b.variable(.f32, initial: .constant(.f32(0)), name: "d", at: line(70))
      }
      let aDescriptor = b.descriptor(b.shared(aTiles))
      let bDescriptor = b.descriptor(b.shared(bTiles))
      b.stages(count) { b, _, stage, parity in
        let barrier = b.make(.bits(.shl), [stage, .constant(.u32(3))], .u32)
        let isFull = b.make(.arithmetic(.add), [fullAddress, barrier], .u32)
        let isEmpty = b.make(.arithmetic(.add), [emptyAddress, barrier], .u32)
        b.emit(.synchronisation(.mbarrierWait(.init())), [isFull, parity], at: line(71))
        let wide = b.make(.conversion(.integer), [stage], .u64)
        let step = b.make(.bits(.shl), [wide, .constant(.u32(9))], .u64)
        b.emit(.tensorCore(.wgmmaFence), at: line(72))
        for slice: UInt64 in 0..<4 {
          let offset = b.make(.arithmetic(.add), [step, .constant(.u64(2 * slice))], .u64)
          let left = b.make(.arithmetic(.add), [aDescriptor, offset], .u64)
          let right = b.make(.arithmetic(.add), [bDescriptor, offset], .u64)
          b.accumulate(
            .wgmma(Op.WGMMAShape(n: 64, .bf16)), into: d,
            [left, right, .constant(.pred(true))], at: line(73))
        }
        b.emit(.tensorCore(.wgmmaCommit), at: line(74))
        b.emit(.tensorCore(.wgmmaWait(pending: 0)), at: line(75))
        b.emit(.synchronisation(.mbarrierArrive(.init())), [isEmpty], at: line(76))
      }
      b.phase("pack and store")
      let c = b.shared(cTile)
      let lane = b.make(.bits(.and), [thread, .constant(.u32(127))], .u32)
      let row = b.make(.bits(.shl), [lane, .constant(.u32(6))], .u32)
      let place = b.make(.arithmetic(.add), [c, row], .u32)
      for chunk in 0..<4 {
        let packed = (0..<4).map { pair in
          b.make(
            .conversion(.narrowPair),
            [.value(d[8 * chunk + 2 * pair]), .value(d[8 * chunk + 2 * pair + 1])], .bf16x2)
        }
        let access = Op.MatrixAccess(count: 4, offset: 16 * chunk)
        b.emit(.tensorCore(.stmatrix(access)), [place] + packed, at: line(80))
      }
      b.emit(.synchronisation(.fence(.proxyAsync(.shared))), at: line(81))
      b.emit(.synchronisation(.barrierSync(stored)), at: line(82))
      let isStorer = b.make(.bits(.setp(.eq)), [lane, .constant(.u32(0))], .pred)
      let map = b.make(.memory(.parameterAddress(cMap)), [], .u64)
      let store = b.region { b in
        b.emit(
          .copy(.tensorStore(.init(dimensions: 2), reduction: nil)),
          [map, .constant(.u32(0)), .constant(.u32(0)), c], at: line(83))
        b.emit(.copy(.bulkCommit), at: line(84))
        b.emit(.copy(.bulkWait(pending: 0, isReadOnly: true)), at: line(85))
      }
      b.emit(.control(.if(.divergent)), [isStorer], regions: [store], at: line(86))
    }
    let roles = [
      Role(name: "producer", warps: 0..<4, registers: 40),
      Role(name: "consumer", warps: 4..<8, registers: 232),
    ]
    b.emit(.control(.roles(roles)), [warp], regions: [producer, consumer], at: line(90))
    return b.finish()
  }
}

extension IRBuilder {
  fileprivate mutating func make(_ op: Op, _ operands: [Operand], _ type: ValueType) -> Operand {
    .value(value(op, operands, type: type, at: line(1)))
  }

  fileprivate mutating func read(_ id: ParameterID, _ type: ValueType) -> Operand {
    make(.memory(.parameter(id, offset: 0)), [], type)
  }

  fileprivate mutating func shared(_ id: SharedID) -> Operand {
    make(.memory(.sharedAddress(id, offset: 0)), [], .u32)
  }

  fileprivate mutating func phase(_ text: String) { emit(.control(.phase(text)), at: line(1)) }

  /// 2^((x − m)·log₂e).
  fileprivate mutating func exponential(_ x: Operand, minus m: Operand) -> Operand {
    let difference = make(.arithmetic(.sub), [x, m], .f32)
    let scaled = make(.arithmetic(.mul), [difference, .constant(.f32(1.442695))], .f32)
    return make(.arithmetic(.approximate(.ex2)), [scaled], .f32)
  }

  /// Descriptor of a K-major tile of 128-byte rows with 128-byte swizzle.
  fileprivate mutating func descriptor(_ address: Operand) -> Operand {
    let masked = make(.bits(.and), [address, .constant(.u32(0x3FFFF))], .u32)
    let units = make(.bits(.shr), [masked, .constant(.u32(4))], .u32)
    let wide = make(.conversion(.integer), [units], .u64)
    return make(.bits(.or), [wide, .constant(.u64(1 << 62 | 64 << 32 | 1 << 16))], .u64)
  }

  /// A loop over column addresses of a row, 32 apart.
  fileprivate mutating func columns(
    from lane: Operand, to count: Operand, first: Operand, base: Operand,
    _ body: (inout IRBuilder, Operand, Operand) -> Void
  ) {
    let column = variable(.u32, initial: lane, name: "column", at: line(2))
    let loop = region { b in
      let isDone = b.make(.bits(.setp(.ge)), [.value(column), count], .pred)
      b.emit(.control(.breakIf), [isDone], at: line(3))
      let index = b.make(.arithmetic(.add), [first, .value(column)], .u32)
      let address = b.make(.arithmetic(.madWide), [index, .constant(.u32(4)), base], .u64)
      body(&b, .value(column), address)
      b.assign(
        column, b.make(.arithmetic(.add), [.value(column), .constant(.u32(32))], .u32), at: line(4))
    }
    emit(.control(.loop(.rolled)), regions: [loop], at: line(5))
  }

  /// A loop over tiles with the stage (mod 2) and its parity.
  fileprivate mutating func stages(
    _ count: Operand, _ body: (inout IRBuilder, Operand, Operand, Operand) -> Void
  ) {
    let tile = variable(.u32, initial: .constant(.u32(0)), name: "tile", at: line(6))
    let loop = region { b in
      let isDone = b.make(.bits(.setp(.ge)), [.value(tile), count], .pred)
      b.emit(.control(.breakIf), [isDone], at: line(7))
      let stage = b.make(.bits(.and), [.value(tile), .constant(.u32(1))], .u32)
      let round = b.make(.bits(.shr), [.value(tile), .constant(.u32(1))], .u32)
      let parity = b.make(.bits(.and), [round, .constant(.u32(1))], .u32)
      body(&b, .value(tile), stage, parity)
      b.assign(
        tile, b.make(.arithmetic(.add), [.value(tile), .constant(.u32(1))], .u32), at: line(8))
    }
    emit(.control(.loop(.automatic)), regions: [loop], at: line(9))
  }
}

import ApusDSL
import ApusIR

/// Kernels that use every statement of the front end, topic by topic.
enum Statements {
  static let all = [
    Sketch(symbol: "values", target: .sm90a) { arithmetic($0) },
    Sketch(symbol: "bits", target: .sm90a) { bits($0) },
    Sketch(symbol: "conversions", target: .sm90a) { conversions($0) },
    Sketch(symbol: "memory", target: .sm90a) { memory($0) },
    Sketch(symbol: "warp", target: .sm90a) { warp($0) },
    Sketch(symbol: "control", target: .sm90a) { control($0) },
    Sketch(symbol: "copies", target: .sm90a) { copies($0) },
    Sketch(
      symbol: "cluster", launch: LaunchBounds(threads: 128, clusterSize: 2), target: .sm90a
    ) { cluster($0) },
    Sketch(symbol: "products", target: .sm90a) { products($0) },
    Sketch(symbol: "warpgroup", target: .sm90a) { warpgroup($0) },
    Sketch(symbol: "roles", launch: LaunchBounds(threads: 256), target: .sm90a) { roles($0) },
  ]

  static func arithmetic(_ block: Block) {
    let out = block.pointer("out", to: F32.self)
    let a = block.parameter("a", F32.self)
    let b = block.parameter("b", F32.self)
    var x = a + b - a * b
    x = fma(x, a, b) + fma(a, b, 1) + fma(a, 2, b)
    x = add(x, a, rounding: .down) + mul(x, b, rounding: .up)
    x = fma(x, a, b, rounding: .towardZero) + div(a, b) + min(a, b) + max(a, 0)
    x = minNaN(x, a) + maxNaN(x, b) - abs(-x)
    x = ex2(x) + lg2(x) + rcp(x) + rsqrt(x) + sqrt(x) + tanh(x) + sin(x) + cos(x)
    x = select(x.isNaN, a, select(a.compared(.ltu, to: b), x, b))
    block.store(x, to: out)
    let i = block.parameter("i", U32.self)
    let s = i.bitcast(to: S32.self)
    let wide = madWide(i, i, i.multipliedWide(by: i))
    let signed = madWide(s, s, s.multipliedWide(by: s))
    let u = i / 3 + i % 3 + i.multipliedHigh(by: i) + mad(i, i, i)
    block.store(u.combinedHalves(.maxSigned, i), to: out.cast(to: U32.self)[1])
    block.store(wide, to: out.cast(to: U64.self)[1])
    block.store(signed, to: out.cast(to: S64.self)[2])
    let variable = block.variable(U32.self, "v")
    block.assign(variable, i)
    block.store(variable.value, to: out.cast(to: U32.self)[6])
  }

  static func bits(_ block: Block) {
    let out = block.pointer("out", to: U32.self)
    let a = block.parameter("a", U32.self)
    let b = block.parameter("b", U32.self)
    var x = (a & b) | (a ^ ~b)
    x = x.shifted(left: a) ^ x.shifted(right: b) ^ (x << 1) ^ (x >> 2)
    x = x.funnelShifted(left: a, high: b) ^ x.funnelShifted(right: a, high: b, mode: .clamp)
    x = x.permuted(with: a, selector: 0x5410) ^ x.permuted(with: a, selector: b)
    x = lop3(x, a, b, table: 0x96) ^ x.populationCount ^ x.leadingZeroCount ^ x.bitsReversed
    x = x.bitField(start: 3, length: 5) ^ x.bitField(start: a, length: b)
    x = x.replacingBits(start: 8, length: 8, by: a)
    let wide = x.packed(high: a)
    x = x ^ wide.populationCount ^ wide.leadingZeroCount ^ wide.bitsReversed.words.high
    block.store(x, to: out)
    block.store(x.bitcast(to: S32.self).bitField(start: 1, length: 4), to: out.cast(to: S32.self))
  }

  static func conversions(_ block: Block) {
    let out = block.pointer("out", to: U32.self)
    let a = block.parameter("a", F32.self)
    let i = a.converted(to: S32.self, rounding: .towardZero)
    let f = i.converted(to: F32.self) + a.rounded(.down)
    let half = f.converted(to: F16.self)
    let brain = f.converted(to: BF16.self)
    let halves = half.packed(high: half)
    let brains =
      brain.packed(high: f.converted(to: BF16.self)) * f.converted(to: BF16x2.self, high: f)
    let codes = halves.converted(to: .e4m3).packed(high: f.converted(to: .e5m2, high: a))
    let (low, high) = codes.converted(to: F16x2.self, from: .e4m3)
    let sum = low.floats.low + high.floats.high + brains.floats.low
    block.store(sum.tf32, to: out)
    block.store((codes.halves.low.converted(to: U32.self)), to: out[1])
    block.store(codes.converted(to: U64.self), to: out.cast(to: U64.self)[1])
  }

  static func memory(_ block: Block) {
    let fields = block.bytes("fields", count: 32)
    let address = fields.field(U64.self, offset: 8)
    let codes = GlobalPointer<U8>(address: address)
    let halves = codes.cast(to: S16.self).advanced(bytes: 64)
    let words = GlobalPointer<U32>(address: fields.address)
    let array = block.shared("array", U32.self, count: 128)
    let over = block.shared("over", F32.self, count: 16, over: array)
    let tiles = block.tiles("tiles", BF16.self, count: 2, rows: 8, columns: 64, swizzle: .bytes128)
    let lane = block.threadIndex
    let bytes = block.load(codes[lane << 2], count: 4)
    let extended = block.load(halves[lane << 1], count: 2, .streamed)
    let plain = block.load(
      words[lane], Caching(l1: .evictFirst, policy: CachePolicy.evictFirst, ordering: .weak))
    block.store(bytes[0].word + plain + extended[0].bitcast(to: U32.self), to: array[lane])
    block.syncThreads()
    let back = block.load(array[lane], ordering: .relaxed(.block))
    block.store(back.byte, to: codes[lane])
    block.store(
      [back, back], to: codes.cast(to: U32.self)[lane << 1],
      Caching(l1: .evictLast, policy: CachePolicy.evictLast))
    block.store(block.load(tiles[1][0, 0]), to: codes.cast(to: BF16.self))
    block.prefetch(codes, into: .l1)
    let counter = codes.cast(to: U32.self)
    let old = block.atomic(.add, counter, back)
    let swapped = block.compareAndSwap(counter, expected: old, back, scope: .system)
    block.reduce(.max, into: counter, swapped, ordering: .release)
    let float = back.bitcast(to: F32.self)
    block.reduce(adding: [float, float], into: codes.cast(to: F32.self))
    _ = block.atomic(.exchange, array[0], back)
    _ = block.compareAndSwap(array[0], expected: old, back)
    block.reduce(.xor, into: array[0], back)
    block.pin([float], scratch: over[0])
  }

  static func warp(_ block: Block) {
    let out = block.pointer("out", to: U32.self)
    let lane = block.laneIndex
    let shuffled = block.shuffle(.up, lane, lane: lane & 3, width: 16)
    var x = select(shuffled.isInRange, shuffled.value, block.shuffle(lane, xor: 1))
    x = x + block.shuffle(x, up: 1) + block.shuffle(x, down: 1) + block.shuffle(x, from: lane)
    let odd = x & 1 == 1
    let votes = block.all(odd) | block.any(odd) | block.agree(odd)
    let some = block.vote(.any, odd, members: Op.allLanes)
    x = x + block.ballot(odd) + block.ballot(odd, members: Op.allLanes)
    x = x + block.reduceLanes(.xor, x) + block.matchAny(x)
    x = x + block.reduceLanes(.max, x.bitcast(to: S32.self)).bitcast(to: U32.self)
    let same = block.matchAll(x) | block.matchAll(x.converted(to: U64.self))
    x = x + block.matchAny(x.converted(to: U64.self)) + block.movmatrix(x) + block.lanesBelow
    let elected = block.electOne() & block.electOne(among: Op.allLanes)
    block.syncWarp()
    block.syncWarp(members: Op.allLanes)
    block.when(votes | some | same | elected) { block.store(x, to: out[lane]) }
    block.store(block.globalTimer() + block.clock(), to: out.cast(to: U64.self)[32])
    for register: Op.SpecialRegister in [
      .blockSize(.x), .multiprocessor, .clock, .dynamicSharedSize, .gridSize(.y),
    ] { block.store(block.special(register), to: out[70]) }
    block.store(block.blockIndex(.z) + block.gridSize(), to: out[71])
  }

  static func control(_ block: Block) {
    block.phase("control")
    block.comment("no effect")
    let x = block.pointer("x", to: U32.self)
    let some = block.namedBarrier("some", threads: 128)
    block.waitForDependencies()
    block.loop(block.threadIndex, form: .rolled) { i in
      block.continueIf(i == 3)
      block.breakIf(i == 5)
      block.sleep(nanoseconds: i)
    }
    block.syncThreads()
    block.when(block.warpIndex < 2, .uniform) {
      block.arrive(some)
    } otherwise: {
      block.sync(some)
    }
    block.fence(.acquireRelease(.gpu))
    block.launchDependents()
    block.when(block.load(x) == 0) { block.trap() }
    block.exit()
  }
}

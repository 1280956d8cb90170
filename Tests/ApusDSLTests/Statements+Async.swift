import ApusDSL
import ApusIR

extension Statements {
  static func copies(_ block: Block) {
    let x = block.pointer("x", to: U32.self)
    let map = block.tensorMap("map")
    let tile = block.tile("tile", BF16.self, rows: 8, columns: 64, swizzle: .bytes128)
    let ready = block.mbarriers("ready", arrivals: 1)
    let counted = block.mbarriers("counted", arrivals: 128)
    block.initialise([ready, counted])
    let zero = block.constant(0, as: S32.self)
    let parity = block.constant(0, as: U32.self)
    block.when(block.threadIndex == 0) {
      block.prefetch(map)
      block.prefetchTensor(map, at: [zero, zero])
      block.prefetchBulk(x, bytes: 1024)
      block.expect(ready[0], bytes: block.constant(1024, as: U32.self))
      block.arrive(ready[0], expecting: block.constant(1024, as: U32.self))
      block.copyBulk(
        from: x, to: tile[0, 0], bytes: 1024, signalling: ready[0],
        policy: CachePolicy.evictFirst)
      block.loadTensor(map, at: [zero, zero], to: tile[0, 0], signalling: ready[0])
    }
    _ = block.test(ready[0], parity: parity)
    block.wait(ready[0], parity: parity)
    block.syncThreads()

    block.copyAsync(from: x, to: tile[0, 0], bytesFromLane: block.threadIndex)
    block.arriveAsync(counted[0])
    block.wait(counted[0], parity: parity)
    block.copyAsync(from: x, to: tile[0, 0], bytesFromLane: block.threadIndex)
    let copies = block.commitAsync()
    block.wait(copies)
    block.waitAsync()

    block.fence(.proxyAsync(.shared))
    block.syncThreads()
    block.when(block.threadIndex == 0) {
      block.storeBulk(tile[0, 0], to: x, bytes: 1024)
      let first = block.commitBulk()
      block.storeTensor(
        tile[0, 0], to: map, at: [zero, zero], reduction: .add, policy: CachePolicy.evictNormal)
      let second = block.commitBulk()
      block.waitRead(first)
      block.wait(second)
      block.invalidate(ready[0])
    }
  }

  static func cluster(_ block: Block) {
    let x = block.pointer("x", to: U32.self)
    let map = block.tensorMap("map")
    let ready = block.mbarriers("ready", arrivals: 1)
    let buffer = block.shared("buffer", U32.self, count: 64)
    block.initialise([ready])
    block.syncCluster()
    let peer = block.clusterRank ^ 1
    let remote = buffer.pointer.mapped(toRank: peer)
    let signal = ready[0].mapped(toRank: peer)
    block.when(block.threadIndex == 0) {
      let zero = block.constant(0, as: S32.self)
      let blocks = block.constant(3, as: U32.self).converted(to: U16.self)
      block.arrive(ready[0], expecting: 16 + 8 + 128 + 64)
      block.storeAsync([peer, peer], to: remote, signalling: signal)
      block.copyBulk(
        from: buffer[16], toCluster: remote[32], bytes: 16, signalling: signal)
      block.copyBulk(from: x, to: buffer[48], bytes: 64, signalling: ready[0], blocks: blocks)
      block.loadTensor(
        map, at: [zero], to: buffer[0], signalling: ready[0], blocks: blocks)
      block.store(peer, to: remote[60])
      _ = block.atomic(.add, remote[61], peer, scope: .cluster)
      block.arrive(signal, scope: .cluster)
    }
    block.arriveCluster(.relaxed)
    block.waitCluster()
    block.store(
      block.clusterSize + block.clusterIndex() + block.clusterCount(.y), to: x)
  }

  static func products(_ block: Block) {
    let tile = block.tile("tile", F16.self, rows: 16, columns: 16)
    let d = block.accumulators("d", F16x2.self, count: 2)
    let zero = block.constant(0, as: U32.self)
    let a = block.fragmentA(tile, row: zero, k: zero, as: F16x2.self)
    let b = block.fragmentB(tile, column: zero, k: zero, as: F16x2.self)
    block.mma(into: d, a: a, b: b, shape: Op.MMAShape(.f16, accumulator: .f16))
    let words = block.ldmatrix(tile[0, 0], count: 4, as: U32.self)
    let more = block.ldmatrix(tile[0, 0], count: 2, isTransposed: true, as: U32.self)
    let f = block.accumulators("f", F32.self, count: 4)
    for shape in [
      Op.MMAShape(.bf16), Op.MMAShape(.tf32), Op.MMAShape(.e4m3), Op.MMAShape(.e5m2, .e4m3),
    ] { block.mma(into: f, a: words, b: more, shape: shape) }
    block.stmatrix(d.map(\.value), to: tile[0, 0], isTransposed: true)
  }

  static func warpgroup(_ block: Block) {
    let tile = block.tile("tile", BF16.self, rows: 64, columns: 64, swizzle: .bytes128)
    let out = block.pointer("out", to: F32.self)
    let d = block.registerTile("d", rows: 16, columns: 64)
    let e = block.accumulators("e", F16x2.self, count: 4)
    let descriptor = tile.descriptor(.k)
    block.wgmmaFence()
    block.wgmma(
      into: d, a: WarpgroupOperand<BF16x2>.shared(descriptor), b: tile.descriptor(.mn),
      element: .bf16, accumulates: block.constant(false), transposesB: true, negatesA: true)
    let first = block.wgmmaCommit()
    block.wgmma(
      into: e, a: WarpgroupOperand<U32>.shared(descriptor), b: descriptor,
      shape: Op.WGMMAShape(n: 16, .e4m3, .e5m2, accumulator: .f16))
    let second = block.wgmmaCommit()
    block.wait(first)
    let p = block.operandA(d, column: 0, as: BF16x2.self)
    block.wait(second)
    let held = p.map { block.let($0) }
    block.wgmmaFence()
    block.wgmma(into: d, a: .registers(held), b: descriptor, element: .bf16)
    block.wgmmaCommit()
    block.wgmmaWait()
    block.store(d.row(0)[0].variable.value, to: out)
    block.store(e[0].value, to: out.cast(to: F16x2.self)[1])
    block.setMaxRegisters(128, .decrease)
  }

  static func roles(_ block: Block) {
    block.roles { roles in
      roles.role("a", warps: 0..<4, registers: 24) {}
      roles.role("b", warps: 4..<8, registers: 240) {}
    }
  }
}

extension Block {
  /// 16 bytes per thread, into the thread's own place.
  fileprivate func copyAsync(
    from x: GlobalPointer<U32>, to start: SharedPointer<BF16>, bytesFromLane lane: Value<U32>
  ) {
    copyAsync(
      from: x[lane << 2], to: start[(lane & 63) << 3], sourceBytes: lane & 16, bypassesL1: false,
      policy: CachePolicy.evictFirst)
  }
}

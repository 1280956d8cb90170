import ApusDSL
import ApusIR
import Testing

@Suite struct ElaborationErrorTests {
  /// Messages of failures, which must come before the verifier.
  private func failures(_ emit: @escaping @Sendable (Block) -> Void) -> [String] {
    findings(emit)?.failures.map(\.message) ?? []
  }

  @Test func `a failure names the caller's file and line`() {
    let line = #line + 1
    let error = findings { $0.elaborationFailure("tile: must be even; found 3.") }
    #expect(
      error?.description == "ElaborationErrorTests.swift:\(line): tile: must be even; found 3.")
    #expect(error?.symbol == "k")
  }

  @Test func `all failures are reported, not the first only`() {
    let found = failures { block in
      block.require(true, "unused")
      block.elaborationFailure("a: first.")
      block.require(1 > 2, "b: second.")
    }
    #expect(found == ["a: first.", "b: second."])
  }

  @Test func `an operator's failure has the line of the statement after it`() {
    nonisolated(unsafe) var line = 0
    let error = findings { block in
      let sum = block.threadIndex + (-1)
      line = #line + 1
      _ = block.let(sum)
    }
    #expect(
      error?.failures.map(\.description) == [
        "ElaborationErrorTests.swift:\(line): literal: must be a value of u32; found -1."
      ])
  }

  @Test func `misuse of each statement is named`() {
    #expect(
      failures { block in
        let x = block.pointer("x", to: F32.self)
        _ = block.load(x, count: 3)
      } == ["load: count must be 1, 2 or 4; found 3."])
    #expect(
      failures { block in
        let x = block.pointer("x", to: F32.self)
        block.store([], to: x)
      } == ["store: count must be 1, 2 or 4; found 0."])
    #expect(
      failures { _ = $0.tile("t", BF16.self, rows: 16, columns: 48, swizzle: .bytes128) } == [
        "tile: swizzled rows must be a multiple of 8, columns of 64, without padding; "
          + "found 16 × 48, padding 0."
      ])
    #expect(
      failures { _ = $0.tile("t", BF16.self, rows: 0, columns: 48) } == [
        "tile: rows, columns and count must be positive; found 1 × 0 × 48."
      ])
    #expect(
      failures { _ = $0.tile("t", F32.self, rows: 4, columns: 4)[4, 0] } == [
        "SharedTile: element must be in 4 × 4; found (4, 0)."
      ])
    #expect(
      failures { _ = $0.tile("t", F32.self, rows: 8, columns: 4).descriptor(.k) } == [
        "descriptor: tile must have a swizzle and 16- or 32-bit elements; found none, f32."
      ])
    #expect(
      failures {
        _ = $0.tile("t", BF16.self, rows: 8, columns: 64, swizzle: .bytes128)
          .descriptor(row: 4, .k)
      } == [
        "descriptor: must start at a multiple of 8 rows and of 16 bytes (K-major) or of a panel "
          + "(MN-major); found row 4, column 0."
      ])
    #expect(
      failures { _ = $0.shared("s", F32.self, count: -1) } == [
        "shared: count must not be negative; found -1."
      ])
    #expect(
      failures { _ = $0.shared("s", F32.self, count: 4)[4] } == [
        "SharedArray: index must be in 0..<4; found 4."
      ])
    #expect(
      failures { _ = $0.mbarriers("b", count: 2, arrivals: 1)[2] } == [
        "MBarriers: index must be in 0..<2; found 2."
      ])
    #expect(
      failures { _ = $0.ring("r", stages: 0, emptyArrivals: 1) } == [
        "ring: stages must be positive; found 0."
      ])
    #expect(
      failures { _ = $0.registerTile("d", rows: 8, columns: 8) } == [
        "registerTile: rows must be a multiple of 16, columns of 8; found 8 × 8."
      ])
    #expect(
      failures { _ = $0.warpSum($0.threadIndex, lanes: 3) } == [
        "warpReduce: lanes must be a power of two in 1…32; found 3."
      ])
    #expect(
      failures { _ = $0.blockSum($0.threadIndex, scratch: $0.shared("s", U32.self, count: 1)) }
        == ["blockReduce: scratch must have an element per warp; found 1 for 4."])
    #expect(
      failures { _ = $0.threadIndex.bitcast(to: U64.self) } == [
        "bitcast: widths must agree; found u32 and u64."
      ])
    #expect(
      failures { $0.loop(from: $0.threadIndex, to: $0.threadIndex, step: 0) { _ in } } == [
        "loop: step must be at least 1; found 0."
      ])
    #expect(
      failures { _ = $0.special(.clock64) } == [
        "special: must be a register of 32 bits; found clock64."
      ])
    #expect(
      failures {
        let d = $0.registerTile("d", rows: 16, columns: 8)
        $0.mma(into: d, column: 8, a: [Value<BF16x2>](), b: [])
      } == [
        "mma: must accumulate binary32 in 16 × 8 of 16 × 8; found band 0, column 8, f32."
      ])
    #expect(
      failures {
        let d = $0.registerTile("d", rows: 32, columns: 8)
        $0.wgmma(
          into: d, a: WarpgroupOperand<U32>.registers([]), b: $0.constant(0, as: U64.self),
          element: .bf16)
      } == ["wgmma: tile must have 16 rows per warp; found 32."])
    #expect(
      failures {
        let d = $0.registerTile("d", rows: 16, columns: 16)
        _ = $0.operandA(d, column: 16, as: BF16x2.self)
      }.first == "operandA: column must be a multiple of 16 below 16; found 16.")
  }

  @Test func `misuse of statements for copies, lanes and products is named`() {
    #expect(
      failures {
        let x = $0.pointer("x", to: U32.self)
        $0.prefetchBulk(x, bytes: 24)
      } == ["bulk copy: bytes must be a positive multiple of 16; found 24."])
    #expect(
      failures {
        let x = $0.pointer("x", to: F32.self)
        $0.reduce(adding: [], into: x)
      } == ["reduce: count must be 1, 2 or 4; found 0."])
    #expect(
      failures { _ = $0.vote(.ballot, $0.threadIndex == 0, members: 1) } == [
        "vote: mode must give a truth value; found ballot. Use ballot(_:members:)."
      ])
    #expect(
      failures { _ = $0.tiles("t", F32.self, count: 2, rows: 4, columns: 4)[2] } == [
        "SharedTiles: index must be in 0..<2; found 2."
      ])
    #expect(
      failures {
        $0.mma(
          into: [Variable<F32>](), a: [Value<U32>](), b: [$0.threadIndex],
          shape: Op.MMAShape(.tf32))
      } == [
        "mma: accumulators must be 4; found 0.", "mma: registers of A must be 4; found 0.",
        "mma: registers of B must be 2; found 1.",
      ])
    #expect(
      failures {
        $0.wgmma(
          into: [Variable<F16x2>](), a: WarpgroupOperand<U32>.registers([$0.threadIndex]),
          b: $0.constant(0, as: U64.self),
          shape: Op.WGMMAShape(n: 8, .f16, accumulator: .f16, aInRegisters: true))
      } == [
        "wgmma: accumulators must be 2; found 0.", "wgmma: operands of A must be 4; found 1.",
      ])
  }

  @Test func `a value of another kernel is refused`() {
    nonisolated(unsafe) var stolen: Value<U32>?
    _ = findings { stolen = $0.threadIndex }
    let found = failures { block in
      if let stolen { _ = block.let(block.threadIndex + stolen) }
    }
    #expect(found == ["operand: must come from this kernel; found a value of another."])
  }

  @Test func `a value used outside its region is found by the verifier with its line`() {
    nonisolated(unsafe) var line = 0
    let error = findings { block in
      let x = block.pointer("x", to: U32.self)
      nonisolated(unsafe) var inner = block.constant(0, as: U32.self)
      block.when(block.threadIndex == 0) { inner = block.load(x) }
      line = #line + 1
      block.store(inner, to: x)
    }
    #expect(error?.failures == [])
    #expect(error?.diagnostics.map(\.rule) == [.definitions])
    #expect(error?.diagnostics.first?.location.line == line)
    #expect(error?.description.contains("ElaborationErrorTests.swift:\(line)") == true)
  }

  @Test func `a kernel is checked against its target`() {
    #expect(findings { $0.launchDependents() }?.diagnostics.map(\.rule) == [.target])
    #expect(findings(target: .sm90a) { $0.launchDependents() } == nil)
  }
}

import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct WarpTests {
  private let lanes = (0..<32).map { UInt64($0) }

  @Test func `shuffles by mode and width`() {
    for width in [8, 32] {
      for mode in Op.ShuffleMode.allCases {
        for amount in [0, 1, 7, 16] {
          let found = evaluate(
            .warp(.shfl(mode, width: width, members: Op.allLanes)),
            [
              (.u32, lanes.map { $0 * 10 }),
              (.u32, Array(repeating: UInt64(amount), count: 32)),
            ], results: [.u32, .pred])
          for lane in 0..<32 {
            let first = lane / width * width
            let source =
              switch mode {
              case .up: lane - amount
              case .down: lane + amount
              case .bfly: lane ^ amount
              case .idx: first + amount % width
              }
            // A butterfly may reach a lower segment, never a higher one.
            let isIn = source < first + width && (mode == .bfly || source >= first)
            expectEqual(
              found[0][lane], UInt64(10 * (isIn ? source : lane)),
              "\(mode) width \(width) by \(amount) lane \(lane)")
            expectEqual(found[1][lane], isIn ? 1 : 0, "\(mode) \(width) \(amount) \(lane)")
          }
        }
      }
    }
  }

  @Test func `votes, reductions and matches`() {
    let odd = lanes.map { $0 & 1 }
    func vote(_ mode: Op.VoteMode, _ x: [UInt64], _ type: ValueType = .pred) -> UInt64 {
      evaluate(.warp(.vote(mode, members: Op.allLanes)), [(.pred, x)], results: [type])[0][3]
    }
    #expect(vote(.ballot, odd, .u32) == 0xAAAA_AAAA)
    #expect(vote(.any, odd) == 1 && vote(.all, odd) == 0 && vote(.uni, odd) == 0)
    #expect(vote(.all, lanes.map { _ in 1 }) == 1 && vote(.uni, lanes.map { _ in 0 }) == 1)
    func reduce(_ op: Op.ReductionOp, _ type: ValueType, _ x: [UInt64]) -> UInt64 {
      evaluate(.warp(.redux(op, members: Op.allLanes)), [(type, x)], results: [type])[0][9]
    }
    #expect(reduce(.add, .u32, lanes) == 496 && reduce(.xor, .u32, lanes) == 0)
    let mixed = lanes.map { $0 == 4 ? 0xFFFF_FFFF : $0 + 1 }
    #expect(reduce(.min, .s32, mixed) == 0xFFFF_FFFF && reduce(.min, .u32, mixed) == 1)
    let match = evaluate(
      .warp(.matchAny(members: Op.allLanes)), [(.u32, lanes.map { $0 % 4 })], results: [.u32])[0]
    #expect(match[1] == 0x2222_2222)
    let all = evaluate(
      .warp(.matchAll(members: Op.allLanes)), [(.u32, lanes.map { _ in 6 })],
      results: [.u32, .pred])
    #expect(all[0][0] == 0xFFFF_FFFF && all[1][0] == 1)
  }

  @Test func `movmatrix transposes`() {
    // Element (r, c) is 8r + c.
    let x = lanes.map { lane in
      let first = lane / 4 * 8 + lane % 4 * 2
      return first | (first + 1) << 16
    }
    let found = evaluate(.warp(.movmatrix), [(.u32, x)], results: [.u32])[0]
    for lane in UInt64(0)..<32 {
      let (row, column) = (lane / 4, lane % 4 * 2)
      expectEqual(found[Int(lane)], (8 * column + row) | (8 * (column + 1) + row) << 16)
    }
  }
}

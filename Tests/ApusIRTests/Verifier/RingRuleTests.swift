import ApusIR
import Testing

@Suite struct RingRuleTests {
  /// A producer and a consumer, each a loop over two stages; the counts are arrivals per round.
  private func kernel(
    fills: Int = 1, takes: Int = 1, releases: Int = 1, emptyBytes: Int = 16
  ) -> KernelIR {
    makeKernel(threads: 64) { builder in
      let full = builder.addShared(
        name: "full", byteCount: 16, alignment: 8, contents: .mbarriers(arrivals: 1))
      let empty = builder.addShared(
        name: "empty", byteCount: emptyBytes, alignment: 8, contents: .mbarriers(arrivals: 1))
      builder.addRing(name: "kv", full: full, empty: empty)
      let fullAddress = builder.address(full)
      let emptyAddress = builder.address(empty)
      for address in [fullAddress, emptyAddress] {
        for stage in 0..<2 {
          builder.perform(
            .synchronisation(.mbarrierInit(offset: 8 * stage)), [address, .u32(1)], at: 2)
        }
      }
      let tid = builder.thread()
      let last = builder.value(.bits(.setp(.eq)), [tid, .u32(0)], type: .pred, at: line(3))
      func loop(
        _ waits: (Operand, Int, place: Int), _ arrivals: (Operand, Int)
      ) -> Region {
        builder.region { role in
          let body = role.region { round in
            for _ in 0..<waits.1 {
              round.perform(
                .synchronisation(.mbarrierWait(Op.MBarrierWait())), [waits.0, .u32(0)],
                at: waits.place)
            }
            for _ in 0..<arrivals.1 {
              round.perform(
                .synchronisation(.mbarrierArrive(Op.MBarrierArrive())), [arrivals.0],
                at: waits.place + 1)
            }
            round.perform(.control(.breakIf), [.value(last)])
          }
          role.emit(.control(.loop(.automatic)), regions: [body], at: line(4))
        }
      }
      let producer = loop((emptyAddress, 1, place: 10), (fullAddress, fills))
      let consumer = loop((fullAddress, takes, place: 20), (emptyAddress, releases))
      builder.emit(
        .control(
          .roles([
            Role(name: "producer", warps: 0..<1), Role(name: "consumer", warps: 1..<2),
          ])), [.u32(0)], regions: [producer, consumer], at: line(4))
    }
  }

  @Test func `a balanced ring`() {
    #expect(findings(kernel()) == [])
    #expect(findings(kernel(releases: 2)) == [])
    #expect(text(kernel()).contains("  ring kv: full full, empty empty\n"))
  }

  @Test func `a consumer that never releases`() {
    let found = findings(kernel(releases: 0)).filter { $0.contains("[rings]") }
    #expect(
      found == [
        "K.swift:20: kernel k [rings]: code that takes full stages of kv in consumer must arrive "
          + "at its empty barriers; found no such arrival. "
          + "Without it the ring stops once every stage was used."
      ])
  }

  @Test func `a producer that never fills`() {
    let found = findings(kernel(fills: 0)).filter { $0.contains("[rings]") }
    #expect(found.count == 1)
    #expect(found.first?.hasPrefix("K.swift:10: ") == true)
  }

  @Test func `a round that takes two stages and releases one`() {
    #expect(
      findings(kernel(takes: 2)) == [
        "K.swift:20: kernel k [rings]: a round that takes full stages of kv in consumer must "
          + "arrive at its empty barriers a whole number of times per stage; "
          + "found 2 waits and 1 arrivals."
      ])
  }

  @Test func `arrays of different size`() {
    #expect(
      findings(kernel(emptyBytes: 24)) == [
        "K.swift:1: kernel k [structure]: ring kv must have two mbarrier arrays of equal size; "
          + "found 2 and 3."
      ])
  }
}

import ApusKernels
import ApusTestSupport
import Testing

/// Work lists: every step once, and no block much longer than the others.
@Suite struct DecodeScheduleTests {
  /// Batches of all kinds, in steps.
  private static let batches: [[Int]] = [
    [64], [1], [0], [65_536], [Int](repeating: 64, count: 16), [Int](repeating: 512, count: 128),
    (0..<64).map { $0 == 20 ? 8192 : 64 }, [0, 1, 0, 7, 0], [Int](repeating: 1, count: 1000),
    (0..<128).map { 1 << ($0 % 17) },
  ]

  private func ragged(_ seed: UInt64) -> [Int] {
    var random = SplitMix64(seed: seed)
    return (0..<Int.random(in: 1...300, using: &random)).map { _ in
      Int.random(in: 0...1 << Int.random(in: 1...12, using: &random), using: &random)
    }
  }

  /// What is wrong with a schedule; empty for a right one.
  private func defects(_ schedule: DecodeSchedule, _ steps: [Int], _ units: [Int]) -> [String] {
    var defects: [String] = []
    var next = 0
    for (request, count) in steps.enumerated() {
      for unit in 0..<units[request] {
        var start = 0
        var split = 0
        repeat {
          guard next < schedule.pieces.count else { return defects + ["pieces end early"] }
          let piece = schedule.pieces[next]
          let isRow = piece.request == request && piece.unit == unit
          if !isRow || piece.start != start || piece.split != split {
            return defects + ["piece \(next) is \(piece), at request \(request), unit \(unit)"]
          }
          if piece.end <= piece.start, count > 0 { return defects + ["piece \(next) is empty"] }
          start = Int(piece.end)
          split += 1
          next += 1
        } while start < count
        let splits = schedule.pieces[(next - split)..<next]
        if start != count { defects.append("request \(request) ends at \(start) of \(count)") }
        if splits.contains(where: { $0.splits != split }) { defects.append("splits at \(next)") }
        if split > 1, Set(splits.map(\.slot)).count != 1 { defects.append("slots at \(next)") }
      }
    }
    if next != schedule.pieces.count { defects.append("\(schedule.pieces.count - next) too many") }
    let divided = schedule.pieces.filter { $0.splits > 1 }
    // Slots and counters are numbered without gaps or shares.
    let slots = divided.map { Int($0.slot + $0.split) }
    if slots.sorted() != Array(0..<schedule.slotCount) { defects.append("slots overlap") }
    let counters = divided.filter { $0.split == 0 }.map { Int($0.counter) }
    if counters.sorted() != Array(0..<schedule.counterCount) { defects.append("counters") }
    if schedule.blockOffsets.last != schedule.pieces.count { defects.append("offsets") }
    return defects
  }

  private func costs(_ schedule: DecodeSchedule, overhead: Int) -> [Int] {
    (0..<schedule.blockCount).map { block in
      (schedule.blockOffsets[block]..<schedule.blockOffsets[block + 1]).reduce(0) {
        $0 + schedule.pieces[$1].count + overhead
      }
    }
  }

  @Test(arguments: [1, 7, 132], [1, 8])
  func `every step of every row is in one piece`(_ blocks: Int, _ heads: Int) {
    for steps in Self.batches + (0..<20).map({ ragged($0) }) {
      let units = steps.map { _ in heads }
      for split in [nil, 1, 5, .max] {
        let schedule = DecodeSchedule(
          steps: steps, units: units, blocks: blocks, overhead: 3, splitSteps: split)
        #expect(defects(schedule, steps, units) == [], "\(steps.prefix(8)), split \(split ?? 0)")
        #expect(schedule.blockCount <= blocks)
      }
    }
  }

  @Test(arguments: [1, 8])
  func `blocks cost at most a tenth more than an even division`(_ overhead: Int) {
    for steps in Self.batches + (0..<20).map({ ragged(100 + $0) }) {
      for heads in [1, 8, 32] {
        let units = steps.map { _ in heads }
        let schedule = DecodeSchedule(
          steps: steps, units: units, blocks: 132, overhead: overhead)
        let costs = costs(schedule, overhead: overhead)
        let even = Double(steps.reduce(0, +) * heads + schedule.pieces.count * overhead) / 132
        // A step cannot be cut, nor a piece be shorter than 1/24 of a block.
        let bound = even * 1.1 + even / 12 + Double(2 * overhead + 2)
        #expect(Double(costs.max() ?? 0) <= bound, "\(steps.prefix(8)) × \(heads)")
      }
    }
  }

  @Test func `large ragged batches are balanced within two hundredths`() {
    for seed in 0..<10 {
      var random = SplitMix64(seed: UInt64(seed))
      let steps = (0..<64).map { _ in Int.random(in: 1...1024, using: &random) }
      let schedule = DecodeSchedule(
        steps: steps, units: steps.map { _ in 8 }, blocks: 132, overhead: 8)
      let costs = costs(schedule, overhead: 8)
      let mean = Double(costs.reduce(0, +)) / 132
      #expect(Double(costs.max() ?? 0) <= 1.02 * mean, "seed \(seed)")
    }
  }

  @Test func `requests without rows have no pieces, and rows without steps have one`() {
    let schedule = DecodeSchedule(steps: [4, 0, 9], units: [0, 2, 0], blocks: 4, overhead: 1)
    #expect(schedule.pieces.map(\.request) == [1, 1])
    #expect(schedule.pieces.allSatisfy { $0.count == 0 && $0.splits == 1 })
    #expect(DecodeSchedule(steps: [], units: [], blocks: 4, overhead: 1).blockCount == 0)
  }

  @Test func `fixed splits begin at multiples of their length whatever the batch`() {
    for steps in Self.batches {
      let schedule = DecodeSchedule(
        steps: steps, units: steps.map { _ in 2 }, blocks: 132, overhead: 3, splitSteps: 32)
      #expect(schedule.pieces.allSatisfy { $0.start % 32 == 0 && $0.count <= 32 })
    }
  }
}

import ApusCore
import ApusTestSupport
import Testing

/// The definition, pair by pair, against every range that the mask computes.
@Suite struct AttentionMaskTests {
  /// A request of `qo` × `kv` pairs, with visible pairs counted over any rectangle.
  private struct Oracle {
    let qo: Int
    let kv: Int
    let visible: [[Bool]]
    private let sums: [[Int]]

    init(qo: Int, kv: Int, _ sees: (Int, Int) -> Bool) {
      self.qo = qo
      self.kv = kv
      visible = (0..<qo).map { i in (0..<kv).map { sees(i, $0) } }
      var sums = [[Int]](repeating: [Int](repeating: 0, count: kv + 1), count: qo + 1)
      for i in 0..<qo {
        for j in 0..<kv {
          sums[i + 1][j + 1] =
            sums[i][j + 1] + sums[i + 1][j] - sums[i][j] + (visible[i][j] ? 1 : 0)
        }
      }
      self.sums = sums
    }

    func count(_ queries: Range<Int>, _ keys: Range<Int>) -> Int {
      sums[queries.upperBound][keys.upperBound] - sums[queries.lowerBound][keys.upperBound]
        - sums[queries.upperBound][keys.lowerBound] + sums[queries.lowerBound][keys.lowerBound]
    }

    /// From the first to the last key that any of the queries sees.
    func hull(_ queries: Range<Int>) -> Range<Int> {
      let keys = (0..<kv).filter { count(queries, $0..<($0 + 1)) > 0 }
      guard let first = keys.first, let last = keys.last else { return 0..<0 }
      return first..<(last + 1)
    }
  }

  private static func pairSees(_ mask: AttentionMask, qo: Int, kv: Int) -> (Int, Int) -> Bool {
    { i, j in
      let position = kv - qo + i
      // j ≥ position − window, written so that no window overflows.
      let near = mask.windowLeft.map { position - j <= $0 } ?? true
      return near && (!mask.isCausal || j <= position)
    }
  }

  private static func ranges(_ count: Int) -> [Range<Int>] {
    (0...count).flatMap { low in (low...count).map { low..<$0 } }
  }

  private static let windows: [Int?] = [nil, .max] + (0...10).map(Optional.some)

  @Test(arguments: [false, true], windows)
  func `ranges and tiles agree with the definition`(isCausal: Bool, windowLeft: Int?) {
    let mask = AttentionMask(isCausal: isCausal, windowLeft: windowLeft)
    var log = Mismatches()
    for qo in 0...9 {
      for kv in 0...9 {
        let oracle = Oracle(qo: qo, kv: kv, Self.pairSees(mask, qo: qo, kv: kv))
        let place = "qo \(qo), kv \(kv), \(mask)"
        for i in 0..<qo {
          let range = mask.visibleKeys(i, qoLength: qo, kvLength: kv)
          log.check(
            range == oracle.hull(i..<(i + 1)) && range.count == oracle.count(i..<(i + 1), 0..<kv),
            "\(place): row \(i) sees \(range)")
          for j in 0..<kv {
            let found = mask.allows(request: 0, i, j, qoLength: qo, kvLength: kv)
            log.check(found == oracle.visible[i][j], "\(place): pair \(i), \(j) is \(found)")
          }
        }
        for queries in Self.ranges(qo) {
          let range = mask.keyRange(queries: queries, qoLength: qo, kvLength: kv)
          log.check(range == oracle.hull(queries), "\(place): rows \(queries) see \(range)")
          for keys in Self.ranges(kv) {
            let status = mask.status(queries: queries, keys: keys, qoLength: qo, kvLength: kv)
            let count = oracle.count(queries, keys)
            let expected: TileStatus =
              count == 0 ? .masked : count == queries.count * keys.count ? .full : .partial
            log.check(status == expected, "\(place): \(queries) × \(keys) is \(status)")
          }
        }
      }
    }
    log.expectNone()
  }

  @Test(arguments: BitOrder.allCases, [0.5, 0.95])
  func `custom bits thin the ranges out and tiles stay true`(order: BitOrder, density: Double) {
    var random = SplitMix64(seed: 7)
    var log = Mismatches()
    for isCausal in [false, true] {
      for windowLeft in [nil, 0, 3] as [Int?] {
        for qo in 0...9 {
          for kv in 0...9 {
            // Request 1 of two, so that its byte offset matters.
            let counts = [3, qo * kv]
            let flags = (0..<(3 + qo * kv)).map { _ in
              Double.random(in: 0..<1, using: &random) < density
            }
            guard
              let custom = try? CustomMask(packing: flags, elementCounts: counts, bitOrder: order)
            else {
              Issue.record("packing refused \(qo) × \(kv)")
              return
            }
            let mask = AttentionMask(isCausal: isCausal, windowLeft: windowLeft, custom: custom)
            let sees = Self.pairSees(mask, qo: qo, kv: kv)
            let oracle = Oracle(qo: qo, kv: kv) { sees($0, $1) && flags[3 + $0 * kv + $1] }
            Self.checkCustom(mask, oracle, &log)
          }
        }
      }
    }
    log.expectNone()
  }

  private static func checkCustom(
    _ mask: AttentionMask, _ oracle: Oracle, _ log: inout Mismatches
  ) {
    let (qo, kv) = (oracle.qo, oracle.kv)
    for i in 0..<qo {
      for j in 0..<kv {
        let found = mask.allows(request: 1, i, j, qoLength: qo, kvLength: kv)
        log.check(found == oracle.visible[i][j], "\(mask) \(qo)×\(kv): \(i), \(j) is \(found)")
      }
    }
    for queries in ranges(qo) {
      let range = mask.keyRange(queries: queries, qoLength: qo, kvLength: kv)
      let hull = oracle.hull(queries)
      log.check(hull.clamped(to: range) == hull || hull.isEmpty, "\(mask): \(range) cuts \(hull)")
      for keys in ranges(kv) {
        let status = mask.status(queries: queries, keys: keys, qoLength: qo, kvLength: kv)
        let count = oracle.count(queries, keys)
        let isTrue =
          switch status {
          case .masked: count == 0
          case .full: count == queries.count * keys.count
          case .partial: true
          }
        log.check(isTrue, "\(mask) \(qo)×\(kv): \(queries) × \(keys) is \(status)")
      }
    }
  }

  @Test(arguments: [false, true], windows)
  func `tiles may overhang the request`(isCausal: Bool, windowLeft: Int?) {
    let mask = AttentionMask(isCausal: isCausal, windowLeft: windowLeft)
    var log = Mismatches()
    for qo in 0...6 {
      for kv in 0...6 {
        for low in 0...qo {
          let inside = mask.keyRange(queries: low..<qo, qoLength: qo, kvLength: kv)
          let over = mask.keyRange(queries: low..<(qo + 9), qoLength: qo, kvLength: kv)
          log.check(inside == over, "qo \(qo), kv \(kv), \(mask): from \(low) \(over)")
          for keys in Self.ranges(kv + 2) {
            let inside = mask.status(queries: low..<qo, keys: keys, qoLength: qo, kvLength: kv)
            let over = mask.status(
              queries: low..<(qo + 9), keys: keys, qoLength: qo, kvLength: kv)
            log.check(inside == over, "qo \(qo), kv \(kv), \(mask): \(keys) is \(over)")
            log.check(
              keys.upperBound <= kv || over != .full, "qo \(qo), kv \(kv): \(keys) is full")
          }
        }
      }
    }
    log.expectNone()
  }

  @Test func `lengths of 31 bits with any window do not trap`() {
    let long = Int(Int32.max)
    for windowLeft in [0, long, Int.max] {
      let mask = AttentionMask(isCausal: true, windowLeft: windowLeft)
      #expect(mask.visibleKeys(0, qoLength: long, kvLength: 0).isEmpty)
      let last = mask.visibleKeys(long - 1, qoLength: long, kvLength: long)
      #expect(last == Swift.max(long - 1 - windowLeft, 0)..<long)
    }
  }

  @Test func `description joins the parts that are on`() throws {
    let custom = try CustomMask(packing: [true], elementCounts: [1])
    #expect("\(AttentionMask.none)" == "none")
    #expect("\(AttentionMask.causal)" == "causal")
    #expect("\(AttentionMask.custom(custom))" == "custom(1 bytes, little)")
    #expect(
      "\(AttentionMask(isCausal: true, windowLeft: 128, custom: custom))"
        == "causal+window 128+custom(1 bytes, little)")
  }
}

import Apus
import ApusNumerics
import Testing

@testable import ApusCLI

@Suite struct BenchPreparedTests {
  private static let small: [BenchCase] = [
    BenchCase(.singleDecode, shape(.ragged)),
    BenchCase(.batchDecode, shape(.padded, batch: 2)),
    BenchCase(.batchDecode, shape(.padded, batch: 2, layout: "HND")),
    BenchCase(.batchDecode, shape(.paged, batch: 2, pageSize: 16)),
    BenchCase(.batchDecode, shape(.paged, batch: 2, pageSize: 16, layout: "HND")),
    BenchCase(.singlePrefill, shape(.ragged, rows: 33)),
    BenchCase(.batchAppend, shape(.ragged, batch: 2, rows: 3)),
    BenchCase(.batchAppend, shape(.paged, batch: 2, rows: 3, pageSize: 16)),
    BenchCase(.mlaDecode, latent),
    BenchCase(.mergeStates, BenchShape(qoLength: 3, stateCount: 2)),
    BenchCase(.mergeStates, BenchShape(qoLength: 3, stateCount: 4)),
    BenchCase(.appendKV, store(isDynamic: false)),
    BenchCase(.appendKV, store(isDynamic: true)),
    BenchCase(.rotary, BenchShape(qoLength: 3)),
  ]

  @Test(arguments: small.indices)
  func `every operator runs`(_ index: Int) throws {
    let item = Self.small[index]
    var preparer = BenchPreparer(
      backend: try CPUBackend(threadCount: 1), rotationByteCount: 2 * item.shape.cacheByteCount)
    let prepared = try preparer.prepare(item)
    for set in 0..<prepared.inputSetCount { try prepared.run(set) }
    let rotates: [BenchOperator] = [.singleDecode, .batchDecode, .batchAppend, .mlaDecode]
    #expect(prepared.inputSetCount == (rotates.contains(item.operator) ? 3 : 1))
  }

  @Test(arguments: ElementType.allCases)
  func `inputs are standard normal`(_ type: ElementType) throws {
    var inputs = BenchInputs()
    let count = 1 << 17
    let values = try inputs.normal(type, [count]).values.map(Double.init)
    let mean = values.reduce(0, +) / Double(count)
    let variance = values.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(count)
    // Values are drawn from a list that was drawn itself: both add to the standard error.
    let draws = 1 / (1 / Double(BenchInputs.poolCount) + 1 / Double(count))
    #expect(abs(mean) < 5 / draws.squareRoot())
    // The standard error of a normal variance is √(2/n); rounding adds twice its relative error.
    #expect(abs(variance - 1) < 5 * (2 / draws).squareRoot() + 2 * type.unitRoundoff)
  }

  @Test func `pages are a permutation that fills the last page partly`() {
    var inputs = BenchInputs()
    let table = inputs.pages(batch: 3, length: 35, pageSize: 16)
    #expect((0..<3).allSatisfy { table.length($0) == 35 })
    let pages = (0..<3).flatMap { r in (0..<3).map { table.page(r, $0) } }
    #expect(pages.sorted() == Array(0..<9))
    #expect(pages != Array(0..<9))
  }

  private static func shape(
    _ cache: BenchCache, batch: Int = 1, rows: Int = 1, pageSize: Int? = nil,
    layout: String = "NHD"
  ) -> BenchShape {
    BenchShape(
      batch: batch, qoLength: rows, kvLength: rows == 33 ? 33 : 40, qoHeadCount: 4, kvHeadCount: 2,
      headDimQK: 16, headDimVO: 16, q: ElementName(.f32), kv: ElementName(.e4m3),
      o: ElementName(.f32), cache: cache, layout: layout, pageSize: pageSize, isCausal: rows > 1)
  }

  private static let latent = BenchShape(
    batch: 2, kvLength: 20, qoHeadCount: 2, kvHeadCount: 1, headDimQK: 576, headDimVO: 512,
    cache: .latent, layout: "NHD", pageSize: 64, isCausal: true)

  private static func store(isDynamic: Bool) -> BenchShape {
    BenchShape(
      batch: 2, qoLength: 3, kvLength: 20, kvHeadCount: 2, headDimQK: 16, headDimVO: 16,
      kv: ElementName(.e4m3), cache: .paged, layout: "NHD", pageSize: 16,
      hasDynamicScale: isDynamic)
  }
}

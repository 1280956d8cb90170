import ApusDSL
import ApusIR
import ApusPTX
import ApusSimulator
import ApusTestSupport
import ApusTutorial
import Testing

@Suite struct LevelTests {
  private var random = SplitMix64(seed: Levels.seed)

  @Test(arguments: [1, 127, 128, 129, 300])
  func `1: every element is the sum and nothing else is written`(_ count: Int) throws {
    let (report, z) = try Levels.vectorAdd(count: count).run()
    #expect(report.errors == [])
    #expect(z == (0..<count).map { Float(4 * $0 + 1) })
  }

  @Test(arguments: [1, 4, 5])
  mutating func `2: a row softmax agrees with binary64`(_ rows: Int) throws {
    let x = Matrix.bfloats(rows, 96, &random)
    let (report, y) = try Levels.rowSoftmax(x).run()
    #expect(report.errors == [])
    for row in 0..<rows {
      let scores = (0..<96).map { Double(x[row, $0]) * 1.442_695_040_888_963_4 }
      let m = scores.max() ?? 0
      let l = scores.reduce(0) { $0 + power($1 - m) }
      for column in 0..<96 {
        let expected = power(scores[column] - m) / l
        // The argument of ex2, at most 6, is rounded twice, and log₂e once: 3 · 6 · 2^−24 · ln 2
        // relative; ex2 and rcp 2^−22 each, nine additions and a product half an ulp.
        let bound = expected * (3 * 6 * 0x1p-24 * 0.694 + 3 * 0x1p-22 + 11 * 0x1p-24)
        #expect(
          abs(Double(y[row * 96 + column]) - expected) <= bound,
          "seed \(Levels.seed), row \(row), column \(column)")
      }
    }
  }

  @Test func `2: rows that are no multiple of a warp are refused`() {
    #expect(
      throws: ElaborationError.self, performing: { try RowSoftmax(columns: 40).build() })
  }

  @Test func `3: every element moves to its place`() throws {
    let (rows, columns) = (64, 96)
    let (report, y) = try Levels.transposingCopy(rows: rows, columns: columns).run()
    #expect(report.errors == [])
    #expect(y == (0..<rows * columns).map { Float($0 % rows * columns + $0 / rows) })
  }

  @Test(arguments: [8, 24])
  mutating func `4: the product is exact on small integers`(_ columns: Int) throws {
    let a = Matrix.integers(16, 192, &random)
    let b = Matrix.integers(columns, 192, &random)
    let (report, c) = try Levels.warpProduct(a, b).run()
    #expect(report.errors == [])
    #expect(c == a.product(b), "seed \(Levels.seed)")
  }

  @Test(arguments: [32, 128])
  func `5: attention of one warp agrees with the definition`(_ keys: Int) throws {
    let data = AttentionSample(queries: 16, keys: keys, seed: Levels.seed)
    let (report, o) = try Levels.attention(WarpAttention(), blocks: 1, data).run()
    #expect(report.errors == [])
    #expect(data.failures(o) == [], "seed \(Levels.seed)")
  }

  @Test(arguments: [32, 64, 160])
  func `6: pipelined attention agrees with the definition`(_ keys: Int) throws {
    let data = AttentionSample(queries: 128, keys: keys, seed: Levels.seed)
    let (report, o) = try Levels.attention(PipelinedAttention(), blocks: 2, data).run()
    #expect(report.errors == [])
    #expect(data.failures(o) == [], "seed \(Levels.seed)")
  }

  @Test(arguments: [8, 24])
  mutating func `7: the warpgroup's product is exact on small integers`(_ columns: Int) throws {
    let a = Matrix.integers(64, 192, &random)
    let b = Matrix.integers(columns, 192, &random)
    let (report, c) = try Levels.warpgroupProduct(a, b).run()
    #expect(report.errors == [])
    #expect(c == a.product(b), "seed \(Levels.seed)")
  }

  @Test(arguments: [1, 2, 3])
  func `8: attention in roles agrees with the definition`(_ stages: Int) throws {
    let data = AttentionSample(queries: 128, keys: 192, seed: Levels.seed)
    let (report, o) = try Levels.roleAttention(data, stages: stages).run()
    #expect(report.errors == [])
    #expect(data.failures(o) == [], "seed \(Levels.seed)")
  }

  @Test(arguments: UInt64(1)..<3)
  func `every level runs without a report in any order of its warps`(_ seed: UInt64) throws {
    for sample in Levels.all() {
      let report = try sample.run(seed: seed).report
      #expect(report.errors == [], "\(sample.kernel.symbol), seed \(seed)")
    }
  }

  @Test func `7: an older GPU is refused with the instruction that it lacks`() throws {
    do throws(ElaborationError) {
      _ = try WarpgroupProduct(columns: 8).build(for: .sm80)
      Issue.record("built")
    } catch {
      #expect(error.diagnostics.allSatisfy { $0.rule == .target })
      #expect(error.description.contains("wgmma.m64n8k16.f32.bf16.bf16.ss, which needs sm_90a"))
    }
  }

  @Test func `every level has a symbol of its number and prints as PTX`() throws {
    for (index, sample) in Levels.all().enumerated() {
      let kernel = try sample.kernel.build()
      #expect(kernel.symbol.hasPrefix("level0\(index + 1)_"))
      let ptx = try PTXPrinter().print(
        ModuleIR(kernels: [kernel]), target: sample.kernel.target)
      #expect(ptx.contains(".visible .entry \(kernel.symbol)("))
    }
  }
}

import ApusIR
import ApusSimulator
import Testing

@Suite struct RemovalTests {
  /// The lines that the article takes away, in its order.
  static let removals = [
    Removal(level: 1, line: "block.when(i < count) {"),
    Removal(level: 2, line: "block.when(row < rows, .uniform) {"),
    Removal(level: 3, line: "block.syncThreads()"),
    Removal(level: 4, line: "block.copyRows(of: b, from: start, stride: k, to: bTile)"),
    Removal(level: 6, line: "block.wait(loaded)"),
    Removal(level: 7, line: "block.wait(full[0], parity: panel & 1)"),
    Removal(level: 8, line: "block.arrive(stage.empty)"),
  ]

  @Test(arguments: removals.indices)
  func `the article quotes the report of a level without a line`(_ index: Int) throws {
    let removal = Self.removals[index]
    let article = try Article.read()
    #expect(article.contains("`\(removal.line)`"), "the line of level \(removal.level)")
    let report = try removal.report()
    #expect(report != [])
    try Article.expect(report.joined(separator: "\n"), at: "report \(removal.level)")
  }

  @Test(arguments: UInt64(0)..<5)
  func `3: every order of the warps shows the missing barrier`(_ seed: UInt64) throws {
    let kernel = try Removal(level: 3, line: "block.syncThreads()").kernel()
    #expect(try Levels.all()[2].run(kernel, seed: seed).report.errors != [])
  }

  @Test func `7: a missing wait for products is found by the verifier`() throws {
    let removal = Removal(level: 7, line: "block.wait(products)")
    #expect(try Article.read().contains("Without `\(removal.line)`, the verifier objects"))
    let found = Verifier.verify(try removal.kernel(), target: .sm90a)
    #expect(found.contains { $0.rule == .accumulators })
  }

  /// A kernel that computes the wrong thing breaks no rule: only the comparison finds it.
  @Test func `5: what is missing from the formula is found by its results alone`() throws {
    let removal = Removal(level: 5, line: "block.assign(m[row], largest)")
    #expect(try Article.read().contains("`\(removal.line)`"))
    #expect(try removal.report() == [])
    let data = AttentionSample(queries: 16, keys: 64, seed: Levels.seed)
    let (_, o) = try Levels.all()[4].run(try removal.kernel())
    #expect(data.failures(o) != [])
  }
}

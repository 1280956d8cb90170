import ApusIR
import Testing

@testable import ApusDSL

@Suite struct CoverageTests {
  /// The nodes of a kernel as its statements emit them, before any pass drops one.
  private func kinds(_ kernel: Sketch) -> Set<OpKind> {
    let emitter = Emitter(
      symbol: kernel.symbol, launch: kernel.launch, target: kernel.target, at: .here())
    kernel.body(Block(emitter: emitter))
    let (raw, failures) = emitter.finish()
    #expect(failures == [])
    var kinds = Set<OpKind>()
    raw.body.forEachNode { node, _ in kinds.insert(OpKind(node.op)) }
    return kinds
  }

  @Test func `every op of the language has a statement`() {
    var found = Set<OpKind>()
    for kernel in Statements.all { found.formUnion(kinds(kernel)) }
    #expect(OpKind.allCases.filter { !found.contains($0) } == [])
  }

  @Test func `what the statements emit verifies`() {
    for kernel in Statements.all {
      do throws(ElaborationError) { _ = try kernel.build() } catch {
        Issue.record("\(kernel.symbol): \(error)")
      }
    }
  }
}

import ApusConformance
import ApusCore
import Testing

@Suite struct ConformancePropertyTests {
  @Test(arguments: 0..<ConformanceProperty.all.count)
  func `the naive computation keeps every law`(_ number: Int) {
    let law = ConformanceProperty.all[number]
    for repetition in 0..<2 {
      let outcome = law.check(on: ReferenceBackend(), seed: 1, repetition: repetition, size: .small)
      guard case .passed = outcome else {
        Issue.record("\(law), seed 1 repetition \(repetition): \(outcome)")
        continue
      }
    }
  }

  @Test(arguments: [
    (Defect.variesWithBatch, "a batch-invariant request has the same bits alone"),
    (.variesWithWorkspace, "a given workspace gives the bits of an own one"),
    (.variesWithPages, "moving pages changes nothing"),
    (.readsUnusedSlot, "the content of unowned memory changes nothing"),
    (.multipliesMasked, "the content of unseen keys changes nothing"),
    (.multipliesMasked, "a NaN in v reaches exactly the elements that see it"),
    (.losesNaN, "a NaN in q reaches exactly its row and head"),
    (.losesNaN, "a NaN in k reaches exactly the rows that see it"),
    (.dropsLastKey, "every split gives the unsplit result within rounding"),
    (.mergesAsymmetrically, "merging is commutative bitwise"),
    (.mergesWrongBase, "merging is associative within rounding"),
  ])
  func `a law finds the planted defect`(_ defect: Defect, _ name: String) throws {
    let law = try #require(ConformanceProperty.all.first { $0.description == name })
    let isFound = (0..<12).contains { repetition in
      let outcome = law.check(
        on: ReferenceBackend(defect: defect), seed: 1, repetition: repetition, size: .small)
      if case .failed = outcome { return true }
      return false
    }
    #expect(isFound, "\(defect) went unnoticed by: \(name)")
  }

  @Test func `a law that is not supported is skipped`() {
    let outcomes = (0..<12).map { repetition in
      ConformanceProperty.all[0].check(
        on: ReferenceBackend(refusesMLA: true), seed: 1, repetition: repetition, size: .small)
    }
    #expect(outcomes.contains(.skipped(reason: "a latent cache")))
  }
}

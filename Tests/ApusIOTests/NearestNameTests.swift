import Testing

@testable import ApusIO

@Suite struct NearestNameTests {
  @Test(arguments: [
    ("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("abc", "abc", 0),
    ("flaw", "lawn", 2),
  ])
  func `counts insertions, deletions and replacements`(a: String, b: String, distance: Int) {
    #expect(editDistance(Array(a.utf8), Array(b.utf8)) == distance)
    #expect(editDistance(Array(b.utf8), Array(a.utf8)) == distance)
  }

  @Test func `finds the closest name and nothing far away`() {
    let names = ["layer0.q", "layer0.k", "layer10.q"]
    #expect(nearestName(to: "layer0.qq", among: names) == "layer0.q")
    #expect(nearestName(to: "layer1.q", among: names) == "layer0.q")
    #expect(nearestName(to: "embedding", among: names) == nil)
    #expect(nearestName(to: "q", among: []) == nil)
    #expect(nearestName(to: String(repeating: "x", count: 201), among: names) == nil)
  }
}

import ApusConformance
import Testing

@Suite struct MalformedCallTests {
  @Test func `names are unique and cover every operator`() {
    let names = MalformedCall.all.map(\.description)
    #expect(Set(names).count == names.count)
    for operation in ["attention", "append", "merge", "rope", "packbits"] {
      #expect(names.count { $0.hasPrefix("\(operation) with") } >= 15, "\(operation)")
    }
  }

  @Test func `a back end that accepts malformed tensors fails`() {
    expectFailures(.acceptsAnything, containing: "nothing was thrown")
  }

  @Test func `a back end that writes before it refuses fails`() {
    expectFailures(.writesBeforeRefusing, containing: "o was written although")
  }

  private func expectFailures(_ defect: Defect, containing text: String) {
    let outcomes = MalformedCall.all.map { $0.check(on: ReferenceBackend(defect: defect)) }
    let details = outcomes.flatMap { outcome in
      if case .failed(let details) = outcome { return details }
      return []
    }
    #expect(details.count > 50)
    #expect(details.allSatisfy { $0.contains(text) }, "\(details)")
  }
}

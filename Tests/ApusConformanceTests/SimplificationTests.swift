import ApusCore
import Testing

@testable import ApusConformance

@Suite struct SimplificationTests {
  /// The case with the most features of the first thousand.
  func richCase() -> AttentionCase {
    var random = CaseRandom(seed: 11, stream: 0)
    for index in 0..<1000 {
      let value = AttentionCase.generate(&random, index: index, size: .small, use: .pagedPrefill)
      if value.windowLeft != nil, value.softCap != nil, value.hasSinks, value.batch > 1 {
        return value
      }
    }
    return AttentionCase.generate(&random, index: 0, size: .small)
  }

  @Test func `a case that suits stays as it is`() {
    var random = CaseRandom(seed: 1, stream: 1)
    let value = richCase()
    #expect(value.simplified(by: AttentionCase.simplifications, &random) { _ in true } == value)
  }

  @Test func `only what is in the way is taken`() throws {
    for seed in 0..<20 as Range<UInt64> {
      var random = CaseRandom(seed: seed, stream: 1)
      let value = richCase()
      let found = try #require(
        value.simplified(by: AttentionCase.simplifications, &random) {
          $0.windowLeft == nil && $0.types.q == $0.types.kv
        })
      #expect(found.windowLeft == nil)
      #expect(found.types.q == found.types.kv)
      #expect(found.softCap == value.softCap)
      #expect(found.shape == value.shape)
      #expect(found.qoLengths == value.qoLengths)
    }
  }

  @Test func `all steps lead to dense attention of one 16-bit type`() throws {
    for index in 0..<200 {
      let source = ConformanceCase(seed: 5, index: index, size: .small, family: .prefill)
      guard case .attention(let value) = source.content, value.batch > 0 else { continue }
      var random = CaseRandom(seed: 2, stream: UInt64(index))
      let found = value.simplified(by: AttentionCase.simplifications, &random) { candidate in
        candidate.types.q == candidate.types.kv && candidate.types.q == candidate.types.o
          && [64, 128].contains(candidate.shape.headDimQK)
          && candidate.shape.headDimQK == candidate.shape.headDimVO
          && candidate.form == .ragged && candidate.windowLeft == nil
          && candidate.customMask == nil && candidate.softCap == nil && !candidate.hasAlibi
          && candidate.rope == nil && Set(candidate.kvLengths).count <= 1
          && Set(candidate.qoLengths).count <= 1
      }
      #expect(found != nil, "\(source)")
      if let found {
        var data = CaseRandom(seed: 3, stream: UInt64(index))
        #expect(throws: Never.self) { try found.problem(&data).validate(operation: "test") }
      }
    }
  }

  @Test func `what nothing helps is nil`() {
    var random = CaseRandom(seed: 1, stream: 1)
    #expect(
      richCase().simplified(by: AttentionCase.simplifications, &random) { _ in false } == nil)
  }

  @Test(arguments: CaseFamily.allCases)
  func `a family's cases are of that family and can be rebuilt`(_ family: CaseFamily) {
    for index in 0..<50 {
      let value = ConformanceCase(seed: 9, index: index, family: family)
      #expect(value == ConformanceCase(seed: 9, index: index, family: family))
      if case .attention(let attention) = value.content {
        #expect(family.uses.contains(attention.use))
        #expect(attention.work <= 64_000_000)
      } else {
        #expect(value.family == family.rawValue)
      }
    }
  }
}

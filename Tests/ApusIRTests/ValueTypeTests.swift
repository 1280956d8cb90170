import ApusIR
import Testing

@Suite struct ValueTypeTests {
  @Test func `widths and register costs agree`() {
    for type in ValueType.allCases {
      #expect(
        type.registerClass.registerCount == (type.bitWidth == 1 ? 0 : max(1, type.bitWidth / 32)))
    }
    #expect(ValueType.allCases.filter(\.isPacked).map(\.elementType) == [.f16, .bf16])
    #expect(ValueType.allCases.filter(\.isSigned) == [.s32, .s64])
  }

  @Test func `every type is a predicate, an integer or floating point`() {
    for type in ValueType.allCases {
      let kinds = [type == .pred, type.isInteger, type.isFloat]
      #expect(kinds.count(where: { $0 }) == 1, "\(type)")
    }
  }

  @Test func `names are unique`() {
    #expect(Set(ValueType.allCases.map(\.description)).count == ValueType.allCases.count)
  }
}

@Suite struct TargetTests {
  @Test func `names round-trip`() {
    for target in Target.allCases { #expect(Target(target.description) == target) }
    #expect(Target("sm_70") == nil)
  }

  @Test func `shared memory per block leaves the system's kibibyte`() {
    for target in Target.allCases {
      #expect(target.maxSharedBytesPerBlock + 1024 == target.sharedBytesPerMultiprocessor)
    }
  }

  @Test func `versions compare by major, then minor`() {
    #expect(PTXVersion(7, 8) < PTXVersion(8, 0))
    #expect(PTXVersion(8, 1) > PTXVersion(8, 0))
    #expect(PTXVersion(8, 1).description == "8.1")
  }
}

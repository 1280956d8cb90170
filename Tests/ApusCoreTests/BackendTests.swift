import ApusCore
import Testing

@Suite struct BackendTests {
  @Test func `support says whether`() {
    #expect(Support.supported.isSupported)
    #expect(!Support.unsupported(requested: "e5m2", supported: "f16").isSupported)
  }
}

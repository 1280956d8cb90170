import ApusCore
import Testing

@Suite struct ArgumentErrorTests {
  @Test func `one violation reads operation, requirement, value, remedy`() {
    let error = ArgumentError(
      operation: "BatchDecode.plan", "windowLeft must be at least 0", found: "-1",
      remedy: "Pass nil for no window.")
    #expect(
      "\(error)"
        == "BatchDecode.plan: windowLeft must be at least 0; found -1. Pass nil for no window.")
    let bare = ArgumentError(operation: "f", "x must be odd", found: "2")
    #expect("\(bare)" == "f: x must be odd; found 2.")
  }

  @Test func `several violations take a line each`() {
    var validator = Validator("f")
    #expect(validator.isClean)
    let failed = validator.require(false, "x must be odd", found: "2", remedy: "Add 1.")
    let held = validator.require(true, "never seen", found: "never")
    #expect(!failed && held)
    validator.absorb(ArgumentError(operation: "g", "y must be even", found: "3"))
    #expect(!validator.isClean)
    #expect(
      refusal { try validator.finish() } == """
        f: 2 requirements do not hold:
          - x must be odd; found 2. Add 1.
          - y must be even; found 3.
        """)
  }

  @Test func `a clean validator does not throw`() {
    #expect(refusal { try Validator("f").finish() } == "accepted")
  }

  @Test func `texts of requirements that hold are never built`() {
    var built = 0
    func text() -> String {
      built += 1
      return "text"
    }
    var validator = Validator("f")
    validator.require(true, text(), found: text(), remedy: text())
    #expect(built == 0)
    validator.require(false, text(), found: text(), remedy: text())
    #expect(built == 3)
  }
}

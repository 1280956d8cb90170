import ApusCore
import Testing

@Suite struct ApusErrorTests {
  @Test func `each family describes itself`() {
    let errors: [ApusError] = [
      .argument(ArgumentError(operation: "f", "x must be odd", found: "2")),
      .unsupported(
        UnsupportedError(
          operation: "f", backend: "cuda:0", requested: "e5m2", supported: "f16, bf16")),
      .environment(
        EnvironmentError(operation: "f", code: 12, text: "no memory", remedy: "Free some.")),
      .environment(EnvironmentError(operation: "f", code: 12, text: "no memory")),
      .bug(InternalError(operation: "f", detail: "3 tiles of 2")),
    ]
    #expect(
      errors.map(\.description) == [
        "f: x must be odd; found 2.",
        "f: back end cuda:0 must support the request; found e5m2. Supported: f16, bf16.",
        "f: the system call must succeed; found code 12 (no memory). Free some.",
        "f: the system call must succeed; found code 12 (no memory).",
        "f: internal invariant broken; found 3 tiles of 2. "
          + "This is a bug in Apus: please report it with this line.",
      ])
  }
}

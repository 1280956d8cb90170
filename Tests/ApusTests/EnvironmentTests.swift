import Apus
import Glibc
import Testing

/// Environment variables are process-wide: these tests run one after another.
@Suite(.serialized) struct EnvironmentTests {
  func with(_ name: String, _ value: String, _ body: () -> Void) {
    let before = getenv(name).map { String(cString: $0) }
    setenv(name, value, 1)
    body()
    if let before { setenv(name, before, 1) } else { unsetenv(name) }
  }

  @Test func `APUS_CPU and APUS_THREADS configure the back end`() {
    with("APUS_CPU", "portable") {
      with("APUS_THREADS", "3") {
        let engine = try? CPUBackend.fromEnvironment().engine
        #expect(engine?.threadCount == 3)
        #expect(engine?.instructionSet.rawValue == "portable")
      }
    }
  }

  @Test func `an unknown instruction set names the known ones`() {
    with("APUS_CPU", "sse9") {
      let error = #expect(throws: ApusError.self) { _ = try CPUBackend.fromEnvironment() }
      #expect(
        error?.description
          == "CPUBackend: APUS_CPU must name an instruction set; found sse9. "
          + "Known: portable, neon, avx2, avx512, avx512bf16.")
    }
  }

  @Test func `a thread count that is no number is refused`() {
    with("APUS_THREADS", "many") {
      let error = #expect(throws: ApusError.self) { _ = try CPUBackend.fromEnvironment() }
      #expect(
        error?.description
          == "CPUBackend: APUS_THREADS must be a number of threads; found many.")
    }
  }
}

import ApusAssembler
import Testing

/// The reader of the assembler's log, on text of its form: tests without ptxas rely on nothing.
@Suite struct PtxasOutcomeTests {
  @Test func `usage, warnings and errors are read from the log`() {
    let log = """
      ptxas info    : 0 bytes gmem
      ptxas info    : Compiling entry function 'k' for 'sm_90a'
      ptxas info    : Function properties for k
          16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
      ptxas info    : Used 168 registers, used 1 barriers, 2048 bytes smem, 400 bytes cmem[0]
      ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async are serialized
      ptxas module.ptx, line 12; error   : Unknown modifier '.x'
      """
    let outcome = PtxasOutcome(status: 255, log: log)
    #expect(
      outcome.usage == [
        "k": PtxasOutcome.Usage(
          registers: 168, sharedBytes: 2048, spillBytes: 12, stackBytes: 16, barriers: 1)
      ])
    #expect(outcome.warnings.count == 1)
    #expect(outcome.errors.map(\.line) == [12])
  }
}

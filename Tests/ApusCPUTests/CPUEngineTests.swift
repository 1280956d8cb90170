import ApusCPU
import ApusCore
import Testing

@Suite struct CPUEngineTests {
  @Test func `portable kernels are always available and the best set is available`() {
    #expect(InstructionSet.portable.isAvailable)
    #expect(InstructionSet.best.isAvailable)
    #expect(InstructionSet.available.contains(.best))
  }

  @Test func `x86 and arm sets exclude each other`() {
    let arm = InstructionSet.neon.isAvailable
    let x86 = InstructionSet.avx2.isAvailable || InstructionSet.avx512.isAvailable
    #expect(!(arm && x86))
  }

  @Test func `an instruction set that the CPU lacks is refused with the available ones`() {
    let missing = InstructionSet.allCases.filter { !$0.isAvailable }
    #expect(!missing.isEmpty)
    for set in missing {
      let error = #expect(throws: ArgumentError.self) {
        _ = try CPUEngine(instructionSet: set, threadCount: 1)
      }
      let names = InstructionSet.available.map(\.rawValue).joined(separator: ", ")
      #expect(
        error?.description
          == "CPUEngine.init: instructionSet must be one that this CPU has; found \(set). "
          + "Available: \(names).")
    }
  }

  @Test func `a thread count below one is refused`() {
    #expect(throws: ArgumentError.self) { _ = try CPUEngine(threadCount: 0) }
  }

  @Test func `measured limits are positive`() throws {
    let engine = try CPUEngine(threadCount: 2)
    let limits = engine.measureLimits(bytes: 1 << 20, repetitions: 1)
    #expect(limits.readBytesPerSecond > 0)
    #expect(limits.fmaFlopsPerSecond > 0)
    #expect(limits.threadCount == 2)
    #expect((limits.dotFlopsPerSecond != nil) == (engine.instructionSet == .avx512bf16))
    #expect(limits.dotFlopsPerSecond.map { $0 > 0 } ?? true)
  }
}

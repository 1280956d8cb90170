import CApusSIMD
import Testing

struct TableTests {
  @Test func `portable is always there`() throws {
    let table = try #require(capus_kernels_for(CAPUS_ISA_PORTABLE))
    #expect(table.pointee.isa == CAPUS_ISA_PORTABLE)
  }

  @Test func `names are those of APUS_CPU`() {
    #expect(
      KernelTable.all.map(\.description) == ["portable", "neon", "avx2", "avx512", "avx512bf16"])
    #expect(String(cString: capus_isa_name(capus_isa(99))) == "unknown")
  }

  @Test func `an unknown instruction set has no table`() {
    #expect(capus_kernels_for(capus_isa(99)) == nil)
  }

  @Test func `best is the last table that is available`() {
    let available = KernelTable.all.filter { capus_kernels_for(capus_isa($0.isa)) != nil }
    #expect(capus_kernels_best().pointee.isa.rawValue == available.last?.isa)
  }

  @Test func `instruction sets belong to one architecture`() {
    #if arch(x86_64)
      #expect(capus_kernels_for(CAPUS_ISA_NEON) == nil)
    #elseif arch(arm64)
      #expect(capus_kernels_for(CAPUS_ISA_NEON) != nil)
      #expect(capus_kernels_for(CAPUS_ISA_AVX2) == nil)
      #expect(capus_kernels_for(CAPUS_ISA_AVX512) == nil)
      #expect(capus_kernels_for(CAPUS_ISA_AVX512BF16) == nil)
    #endif
  }

  @Test(arguments: KernelTable.all)
  func `a table names itself and has every kernel`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    #expect(kernels.isa.rawValue == table.isa)
    #expect(String(cString: kernels.name) == table.description)
    #expect(kernels.gemm != nil && kernels.softmax_step != nil && kernels.scale != nil)
    #expect(kernels.softmax_rows != nil)
    #expect((kernels.dot != nil) == (table.isa == CAPUS_ISA_AVX512BF16.rawValue))
    #expect(kernels.soft_cap != nil && kernels.add_ramp != nil)
    #expect(kernels.read_probe != nil && kernels.fma_probe != nil)
    let scores = kernels.scores
    let sums = kernels.weighted_sum
    #expect([scores.0, scores.1, scores.2, scores.3, scores.4].allSatisfy { $0 != nil })
    #expect([sums.0, sums.1, sums.2, sums.3, sums.4].allSatisfy { $0 != nil })
  }

  @Test func `at least one CPU is available`() { #expect(capus_available_cpus() >= 1) }
}

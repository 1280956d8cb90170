import ApusDSL
import ApusIR
import ApusKernels
import ApusPTX
import Testing

/// Every shipped configuration, as one list.
@Suite struct KernelCatalogTests {
  @Test func `symbols are unique identifiers that name their kernel`() throws {
    let symbols = KernelCatalog.all.map(\.symbol)
    #expect(Set(symbols).count == symbols.count)
    for symbol in symbols { #expect(KernelCatalog.kernel(named: symbol)?.symbol == symbol) }
    #expect(KernelCatalog.kernel(named: "no_such_kernel") == nil)
  }
}

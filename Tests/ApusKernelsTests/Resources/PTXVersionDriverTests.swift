import ApusIR
import ApusKernels
import Testing

@Suite struct PTXVersionDriverTests {
  @Test(arguments: [
    (PTXVersion(7, 0), 450, "11.0"), (PTXVersion(7, 8), 520, "11.8"),
    (PTXVersion(8, 0), 525, "12.0"), (PTXVersion(8, 7), 570, "12.8"),
    (PTXVersion(9, 0), 580, "13.0"),
  ])
  func `a PTX version names its driver and release`(
    version: PTXVersion, driver: Int, release: String
  ) {
    #expect(version.minimumDriver == driver)
    #expect(version.cudaRelease == release)
  }

  @Test func `drivers grow with versions, and newer versions than known have none`() {
    let drivers = PTXVersion.allKnown.compactMap(\.minimumDriver)
    #expect(drivers.count == PTXVersion.allKnown.count)
    #expect(zip(drivers, drivers.dropFirst()).allSatisfy { $0 < $1 })
    #expect(PTXVersion(99, 0).minimumDriver == nil)
    #expect(PTXVersion(99, 0).cudaRelease == nil)
  }
}

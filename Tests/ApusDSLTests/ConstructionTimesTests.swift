import ApusDSL
import ApusIR
import Testing

@Suite struct ConstructionTimesTests {
  @Test func `a timed build gives the same kernel`() throws {
    let kernel = WarpProduct(columns: 16)
    let (timed, times) = try kernel.timedBuild()
    #expect(timed == (try kernel.build()))
    #expect(times.keptNodes == timed.body.totalNodeCount)
    #expect(times.emittedNodes > times.keptNodes)
    #expect(times.total == times.elaboration + times.passes + times.verification)
  }

  @Test func `its description has a tenth of a millisecond`() throws {
    let (_, times) = try VectorAdd(threads: 128).timedBuild()
    let words = times.description.split(separator: " ")
    #expect(words.first == "\(times.emittedNodes)")
    #expect(words.filter { $0.contains(".") }.count == 3)
    #expect(words.filter { $0.contains(".") }.allSatisfy { $0.split(separator: ".")[1].count == 1 })
  }

  @Test func `a kernel that fails throws as its build does`() {
    let broken = Sketch { $0.elaborationFailure("broken: must fail; found nothing.") }
    do throws(ElaborationError) {
      _ = try broken.timedBuild()
      Issue.record("built")
    } catch {
      #expect(error.failures.count == 1)
    }
  }
}

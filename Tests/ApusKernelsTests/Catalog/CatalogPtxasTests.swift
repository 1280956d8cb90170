import ApusAssembler
import ApusIR
import ApusKernels
import Testing

/// The assembler's word on every row and target: no spills, no warnings, within the target.
///
/// Prints the registers of each row beside the prediction, and SKIP with the reason where there is
/// no assembler or an old one.
@Suite struct CatalogPtxasTests {
  @Test func `every row assembles without spills, warnings or serialised products`() throws {
    for row in try CatalogRow.all.get() {
      let name = "\(row.symbol) \(row.target)"
      let prediction = KernelResources.predicted(for: row.ir, target: row.target)
      #expect(prediction.sharedBytes <= row.target.maxSharedBytesPerBlock, "\(name)")
      guard case .outcome(let outcome) = row.assembly else {
        if case .none(let reason) = row.assembly, reason != "no ptxas" {
          print("SKIP ptxas \(name): \(reason)")
        }
        continue
      }
      #expect(outcome.status == 0, "\(name)\n\(outcome.log)")
      #expect(outcome.warnings == [], "\(name)")
      guard let usage = row.usage else {
        Issue.record("\(name): the log must state registers; found\n\(outcome.log)")
        continue
      }
      #expect(usage.spillBytes == 0, "\(name)")
      #expect(usage.stackBytes == 0, "\(name)")
      let shared = prediction.sharedBytes + usage.sharedBytes
      #expect(shared <= row.target.maxSharedBytesPerBlock, "\(name)")
      let occupancy = Occupancy(
        target: row.target, threads: prediction.threads, registers: usage.registers,
        sharedBytes: shared)
      #expect(occupancy.blocks >= row.ir.launch.minBlocksPerMultiprocessor, "\(name)")
      print(
        "ptxas \(name): \(usage.registers) registers, predicted \(prediction.registers); "
          + "\(shared) shared bytes; \(occupancy.blocks) blocks, limit \(occupancy.limit)")
    }
  }

  @Test func `registers stay within what the launch grants`() throws {
    for row in try CatalogRow.all.get() {
      guard let usage = row.usage else { continue }
      #expect(usage.registers <= row.ir.launch.registersAtEntry, "\(row.symbol) \(row.target)")
    }
  }

  @Test func `every row states the PTX version and driver it needs`() throws {
    for row in try CatalogRow.all.get() {
      let version = row.ir.ptxVersion(for: row.target)
      #expect(row.ptx.hasPrefix(".version \(version)\n.target \(row.target)\n"), "\(row.symbol)")
      #expect(version.minimumDriver != nil, "\(row.symbol) \(row.target): PTX \(version)")
    }
  }
}

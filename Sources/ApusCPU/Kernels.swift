internal import ApusNumerics
internal import CApusSIMD

/// The micro-kernels of one instruction set, indexed by element type.
///
/// `@unchecked Sendable`: it holds only C function pointers, which are immutable code.
struct Kernels: @unchecked Sendable {
  let instructionSet: InstructionSet
  let scale: @convention(c) (UnsafeMutablePointer<Float>?, Int32, Float) -> Void
  let softCap: @convention(c) (UnsafeMutablePointer<Float>?, Int32, Float, Float) -> Void
  let addRamp: @convention(c) (UnsafeMutablePointer<Float>?, Int32, Float, Float) -> Void
  let softmaxStep:
    @convention(c) (
      UnsafeMutablePointer<Float>?, Int32, UnsafeMutablePointer<Float>?,
      UnsafeMutablePointer<Float>?
    ) -> Float
  let gemm:
    @convention(c) (
      UnsafePointer<Float>?, Int, Int32, UnsafePointer<Float>?, Int, Int32, Int32,
      UnsafeMutablePointer<Float>?, Int, Int32
    ) -> Void
  let readProbe: @convention(c) (UnsafeRawPointer?, Int) -> UInt64
  let fmaProbe: @convention(c) (Int64, UnsafeMutablePointer<Float>?) -> Double
  private let scoresTable: [capus_scores_fn]
  private let weightedSumTable: [capus_weighted_sum_fn]
  private let widenTable: [capus_widen_fn]
  private let narrowTable: [capus_narrow_fn]
  private let packTransposedTable: [capus_pack_transposed_fn]

  /// nil when the binary or the CPU lacks the instruction set, or its table is incomplete.
  init?(_ instructionSet: InstructionSet) {
    guard let table = capus_kernels_for(instructionSet.code)?.pointee,
      let scale = table.scale, let softCap = table.soft_cap, let addRamp = table.add_ramp,
      let softmaxStep = table.softmax_step, let gemm = table.gemm,
      let readProbe = table.read_probe, let fmaProbe = table.fma_probe
    else { return nil }
    self.instructionSet = instructionSet
    (self.scale, self.softCap, self.addRamp) = (scale, softCap, addRamp)
    (self.softmaxStep, self.gemm) = (softmaxStep, gemm)
    (self.readProbe, self.fmaProbe) = (readProbe, fmaProbe)
    scoresTable = Self.list(table.scores)
    weightedSumTable = Self.list(table.weighted_sum)
    widenTable = Self.list(table.widen)
    narrowTable = Self.list(table.narrow)
    packTransposedTable = Self.list(table.pack_transposed)
    let counts = [
      scoresTable.count, weightedSumTable.count, widenTable.count, narrowTable.count,
      packTransposedTable.count,
    ]
    guard counts.allSatisfy({ $0 == ElementType.allCases.count }) else { return nil }
  }

  func scores(_ type: ElementType) -> capus_scores_fn { scoresTable[Int(type.rawValue)] }
  func weightedSum(_ type: ElementType) -> capus_weighted_sum_fn {
    weightedSumTable[Int(type.rawValue)]
  }
  func widen(_ type: ElementType) -> capus_widen_fn { widenTable[Int(type.rawValue)] }
  func narrow(_ type: ElementType) -> capus_narrow_fn { narrowTable[Int(type.rawValue)] }
  func packTransposed(_ type: ElementType) -> capus_pack_transposed_fn {
    packTransposedTable[Int(type.rawValue)]
  }

  private static func list<F>(_ entries: (F?, F?, F?, F?, F?)) -> [F] {
    [entries.0, entries.1, entries.2, entries.3, entries.4].compactMap { $0 }
  }
}

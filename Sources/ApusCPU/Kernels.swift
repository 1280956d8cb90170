internal import ApusNumerics
internal import CApusSIMD

/// The micro-kernels of one instruction set, indexed by element type.
///
/// A class, so that the layout of `CPUEngine` does not contain C types that importers of this module
/// do not see (Swift 6.3 crashes on such a function type with a pointer to a struct).
///
/// `@unchecked Sendable`: it holds only C function pointers, which are immutable code.
final class Kernels: @unchecked Sendable {
  let instructionSet: InstructionSet
  let scale: @convention(c) (UnsafeMutablePointer<Float>?, Int32, Float) -> Void
  let softCap: @convention(c) (UnsafeMutablePointer<Float>?, Int32, Float, Float) -> Void
  let addRamp: @convention(c) (UnsafeMutablePointer<Float>?, Int32, Float, Float) -> Void
  let softmaxRows:
    @convention(c) (
      UnsafeMutablePointer<Float>?, Int, Int32, Int32, UnsafePointer<Float>?,
      UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?
    ) -> Void
  /// Products of bfloat16 pairs; nil where the instruction set has none.
  let dot: DotKernels?
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
      let softmaxRows = table.softmax_rows, let gemm = table.gemm,
      let readProbe = table.read_probe, let fmaProbe = table.fma_probe
    else { return nil }
    self.instructionSet = instructionSet
    (self.scale, self.softCap, self.addRamp) = (scale, softCap, addRamp)
    (self.softmaxRows, self.gemm) = (softmaxRows, gemm)
    dot = table.dot.flatMap { DotKernels($0.pointee) }
    guard (table.dot == nil) == (dot == nil) else { return nil }
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

  fileprivate static func list<F>(_ entries: (F?, F?, F?, F?, F?)) -> [F] {
    [entries.0, entries.1, entries.2, entries.3, entries.4].compactMap { $0 }
  }
}

/// The micro-kernels over bfloat16 pairs, for the cache types that bfloat16 holds exactly.
///
/// `@unchecked Sendable`: it holds only C function pointers, which are immutable code.
struct DotKernels: @unchecked Sendable {
  typealias Scores =
    @convention(c) (
      UnsafePointer<UInt16>?, Int, Int32, UnsafePointer<UnsafeRawPointer?>?, Int32, Int32,
      UnsafeMutablePointer<Float>?, Int, Int32, UnsafePointer<capus_walk>?
    ) -> Void
  typealias WeightedSum =
    @convention(c) (
      UnsafePointer<UInt16>?, Int, Int32, UnsafePointer<UnsafeRawPointer?>?, Int32, Int32,
      UnsafeMutablePointer<Float>?, Int, UnsafePointer<capus_walk>?
    ) -> Void
  typealias PackRows =
    @convention(c) (
      UnsafePointer<Float>?, Int, Int32, Int32, Int32, UnsafeMutablePointer<UInt16>?, Int
    ) -> Void
  typealias PackPanel =
    @convention(c) (
      UnsafePointer<UnsafeRawPointer?>?, Int32, Int32, UnsafeMutablePointer<UInt32>?, Int
    ) -> Void

  let gemm:
    @convention(c) (
      UnsafePointer<UInt16>?, Int, Int32, UnsafePointer<UInt32>?, Int, Int32, Int32,
      UnsafeMutablePointer<Float>?, Int, Int32
    ) -> Void
  let round: @convention(c) (UnsafePointer<Float>?, UnsafeMutablePointer<UInt16>?, Int) -> Void
  let probe: @convention(c) (Int64, UnsafeMutablePointer<Float>?) -> Double
  private let scoresTable: [Scores]
  private let weightedSumTable: [WeightedSum]
  private let packRowsTable: [PackRows]
  private let packKeysTable: [PackPanel]
  private let packValuesTable: [PackPanel]

  /// nil when an entry is missing.
  init?(_ table: capus_dot_kernels) {
    guard let gemm = table.gemm, let round = table.round, let probe = table.probe else {
      return nil
    }
    (self.gemm, self.round, self.probe) = (gemm, round, probe)
    scoresTable = Kernels.list(table.scores)
    weightedSumTable = Kernels.list(table.weighted_sum)
    packRowsTable = Kernels.list(table.pack_rows)
    packKeysTable = Kernels.list(table.pack_keys)
    packValuesTable = Kernels.list(table.pack_values)
    let counts = [
      scoresTable.count, weightedSumTable.count, packRowsTable.count, packKeysTable.count,
      packValuesTable.count,
    ]
    guard counts.allSatisfy({ $0 == 3 }) else { return nil }
  }

  /// Whether keys and values of a type can be read.
  static func supports(_ type: ElementType) -> Bool { type != .f32 && type != .f16 }

  /// Place of a type in the tables, whose first two entries are empty.
  private func place(_ type: ElementType) -> Int {
    Int(type.rawValue) - Int(ElementType.bf16.rawValue)
  }

  func scores(_ type: ElementType) -> Scores { scoresTable[place(type)] }
  func weightedSum(_ type: ElementType) -> WeightedSum { weightedSumTable[place(type)] }
  func packRows(_ type: ElementType) -> PackRows { packRowsTable[place(type)] }
  func packKeys(_ type: ElementType) -> PackPanel { packKeysTable[place(type)] }
  func packValues(_ type: ElementType) -> PackPanel { packValuesTable[place(type)] }
}

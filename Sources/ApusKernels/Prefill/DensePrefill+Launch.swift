public import ApusCore
internal import ApusIR
internal import ApusNumerics

extension DensePrefill {
  /// L2 that K and V of concurrent heads may fill.
  private static let cacheBudget = 32 << 20

  /// The launch of a configuration for a problem and tensors that are not refused.
  ///
  /// - Parameters:
  ///   - configuration: one for the problem's type, dimension and mask; writes lse only if the
  ///     arguments have one.
  ///   - multiprocessorCount: those of the GPU; the grid has at most as many blocks.
  ///   - counter: `workspaceByteCount` bytes: `.pointer` or `.workspace`.
  public static func launch(
    _ problem: AttentionProblem, _ arguments: AttentionArguments,
    configuration: DensePrefillConfiguration, multiprocessorCount: Int, counter: LaunchValue
  ) -> KernelLaunch? {
    guard let operands = DensePrefillOperands(problem, arguments) else { return nil }
    let shape = problem.shape
    let (qoLength, kvLength) = (problem.qoLength(0), problem.kvLength(0))
    let lanes = shape.qoHeadCount * problem.batch
    let cluster = configuration.clusterSize
    let rowsOfCluster = configuration.tileQ * cluster
    let rowTiles = (qoLength + rowsOfCluster - 1) / rowsOfCluster
    let tiles = rowTiles * lanes
    let element: TensorMapLayout.Element = configuration.element == .f16 ? .f16 : .bf16
    let panels = configuration.headDim / 64
    func cacheMap(_ operand: DensePrefillOperands.Operand) -> LaunchValue {
      let splitsPanels = cluster > 1 && configuration.splitsPanels
      let splitsRows = cluster > 1 && !configuration.splitsPanels
      return .tensorMap(
        operand.map(
          element, headDim: configuration.headDim,
          boxRows: splitsRows ? configuration.tileKV / cluster : configuration.tileKV,
          boxPanels: splitsPanels ? panels / cluster : panels))
    }
    func u32(_ value: Int) -> LaunchValue { .u32(UInt32(truncatingIfNeeded: value)) }
    func rows(_ operand: DensePrefillOperands.Operand) -> [LaunchValue] {
      [
        .pointer(operand.address), u32(operand.rowStride), u32(operand.headStride),
        .u64(UInt64(operand.batchStride)),
      ]
    }

    var values: [LaunchValue] = [
      .tensorMap(
        operands.q.map(
          element, headDim: configuration.headDim, boxRows: configuration.tileQ,
          boxPanels: panels)),
      cacheMap(operands.k), cacheMap(operands.v),
    ]
    if configuration.isCausal { values += rows(operands.q) + rows(operands.k) + rows(operands.v) }
    switch configuration.output {
    case .staged:
      values.append(
        .tensorMap(
          operands.o.map(
            element, headDim: configuration.headDim, boxRows: 64, boxPanels: panels)))
    case .direct: values += rows(operands.o)
    }
    if configuration.writesLSE {
      guard let lse = operands.lse else { return nil }
      values += rows(lse)
    }
    if configuration.schedule == .dynamic { values.append(counter) }
    values += [
      u32(qoLength), u32(kvLength), u32(shape.qoHeadCount), u32(shape.groupSize), u32(rowTiles),
      u32(tiles),
    ]
    if configuration.isCausal {
      let bytes = kvLength * configuration.headDim * 4 / max(1, shape.groupSize)
      values.append(u32(largestDivisor(of: lanes, atMost: cacheBudget / max(1, bytes))))
    }
    values += scoreValues(problem, arguments, writesLSE: configuration.writesLSE)
    return KernelLaunch(
      PrefillKernel(configuration),
      grid: LaunchGrid(max(1, min(multiprocessorCount / cluster, tiles)) * cluster),
      values: values, overlapsPredecessor: configuration.overlapsPredecessor)
  }

  /// Scale and the convention of lse.
  private static func scoreValues(
    _ problem: AttentionProblem, _ arguments: AttentionArguments, writesLSE: Bool
  ) -> [LaunchValue] {
    let log2e = 1.442695040888963407
    let ln2 = 0.693147180559945309
    let factor =
      Double(problem.softmaxScale) * Double(arguments.scales.q.number ?? 1)
      * Double(arguments.scales.k.number ?? 1)
    let scale = Float(factor * log2e)
    guard writesLSE else { return [.f32(scale)] }
    let convention = problem.lseConvention
    return [
      .f32(scale), .f32(convention.base == .two ? 1 : Float(ln2)),
      .f32(convention.emptyRow == .negativeInfinity ? -.infinity : .infinity),
    ]
  }

  /// The largest divisor of `number` that does not exceed `limit`, at least 1.
  static func largestDivisor(of number: Int, atMost limit: Int) -> Int {
    var best = 1
    var divisor = 1
    while divisor <= number / divisor {
      if number % divisor == 0 {
        for candidate in [divisor, number / divisor] where candidate <= limit {
          best = max(best, candidate)
        }
      }
      divisor += 1
    }
    return best
  }
}

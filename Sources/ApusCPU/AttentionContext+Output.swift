internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

extension AttentionContext {
  /// Normalises one row and writes o and lse. `o` is overwritten.
  ///
  /// The sink joins the denominator here, once: `o = O / (l + 2^(sink·log₂e − m))`, with both terms
  /// rescaled to their larger exponent.
  func writeRow(
    request: Int, kvHead: Int, packedRow: Int, m: Float, l: Float,
    o row: UnsafeMutablePointer<Float>
  ) {
    let (query, head) = query(packedRow, kvHead: kvHead)
    let outputRow = problem.qoIndptr.offsets[request] + query
    let isEmpty = l == 0
    if isEmpty {
      row.update(repeating: 0, count: headDimVO)
    } else {
      var denominator = Double(l)
      var numerator = 1.0
      if let logit = sinks?.hostFloat(at: head) {
        let sink = Double(logit) * Self.log2e
        if sink > Double(m) {
          numerator = exponential2(Double(m) - sink)
          denominator = denominator * numerator + 1
        } else {
          denominator += exponential2(sink - Double(m))
        }
      }
      let factor = numerator / denominator * Double(scales.v[kvHead]) / Double(scales.o[head])
      kernels.scale(row, Int32(headDimVO), Float(factor))
    }
    if let base = o.mutableHostPointer {
      let offset = (outputRow * o.strides[0] + head * o.strides[1]) * o.scalarType.byteCount
      kernels.narrow(problem.types.o)(
        row, base + offset, headDimVO, problem.types.o.saturates)
    }
    if let lse, let base = lse.mutableHostPointer {
      let internalLSE = isEmpty ? -Float.infinity : Float(Double(m) + logarithm2(Double(l)))
      let offset = (outputRow * lse.strides[0] + head * lse.strides[1]) * 4
      base.storeBytes(
        of: problem.lseConvention.external(internalLSE), toByteOffset: offset, as: Float.self)
    }
  }

  /// Merges the partial states of one row tile, in split order, and writes its rows.
  func merge(_ group: MergeGroup, _ scratch: Scratch) {
    guard let partials else { return }
    let rows = group.rows.count
    let indices = Int(group.firstPartial)..<Int(group.firstPartial + group.partialCount)
    for (index, packedRow) in group.rows.enumerated() {
      var m = -Float.infinity
      for partial in indices {
        let state = partials + partialOffsets[partial]
        if state[rows + index] != 0 { m = max(m, state[index]) }
      }
      var l = 0.0
      scratch.o.update(repeating: 0, count: headDimVO)
      for partial in indices {
        let state = partials + partialOffsets[partial]
        let partialL = state[rows + index]
        // A split without weight (m = −∞) still hands on what 0 · NaN made of its O, and a NaN sum.
        let weight =
          state[index] == -.infinity ? 1 : exponential2(Double(state[index]) - Double(m))
        l += Double(partialL) * weight
        let o = state + 2 * rows + index * headDimVO
        let factor = Float(weight)
        for column in 0..<headDimVO { scratch.o[column] += factor * o[column] }
      }
      writeRow(
        request: Int(group.request), kvHead: Int(group.kvHead), packedRow: packedRow, m: m,
        l: Float(l), o: scratch.o)
    }
  }
}

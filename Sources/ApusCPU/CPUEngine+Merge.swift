package import ApusCore
internal import ApusNumerics
internal import CApusSIMD

extension CPUEngine {
  /// Merges validated attention states.
  package func merge(_ arguments: MergeArguments) {
    let convention = arguments.convention
    switch arguments.states {
    case .two(let aV, let aS, let bV, let bS, let v, let s):
      let inputs = [StateView(v: aV, s: aS), StateView(v: bV, s: bS)]
      mergeRows(inputs, into: StateView(v: v, s: s), convention) { _ in true }
    case .inPlace(let v, let s, let otherV, let otherS, let mask):
      let inputs = [StateView(v: v, s: s), StateView(v: otherV, s: otherS)]
      mergeRows(inputs, into: StateView(v: v, s: s), convention) { row in
        guard let mask, let base = mask.hostPointer else { return true }
        return base.load(fromByteOffset: row * mask.strides[0], as: UInt8.self) != 0
      }
    case .many(let states, let logits, let v, let s):
      let inputs = (0..<states.shape[1]).map {
        StateView(v: states.selecting($0, axis: 1), s: logits.selecting($0, axis: 1))
      }
      mergeRows(inputs, into: StateView(v: v, s: s), convention) { _ in true }
    }
  }

  /// Commutative bitwise for two states: the maximum, both weights and the sums of two products are
  /// each symmetric in their operands.
  private func mergeRows(
    _ inputs: [StateView], into output: StateView, _ convention: LSEConvention,
    isSelected: @escaping @Sendable (Int) -> Bool
  ) {
    let (rows, heads, dim) = (output.v.shape[0], output.v.shape[1], output.v.shape[2])
    let isParallel = rows * heads * dim * max(inputs.count, 1) > 100_000
    threads.forEach(rows, parallel: isParallel) { [self] row, _ in
      guard isSelected(row) else { return }
      withUnsafeTemporaryAllocation(of: Float.self, capacity: max(2 * dim, 1)) { buffer in
        guard let sum = buffer.baseAddress else { return }
        for head in 0..<heads {
          mergeRow(inputs, into: output, convention, row, head, sum, sum + dim, dim)
        }
      }
    }
  }

  private func mergeRow(
    _ inputs: [StateView], into output: StateView, _ convention: LSEConvention, _ row: Int,
    _ head: Int, _ sum: UnsafeMutablePointer<Float>, _ widened: UnsafeMutablePointer<Float>,
    _ dim: Int
  ) {
    // Empty states never count, whatever their v holds; only NaN has to be handed on beside them.
    var greatest = -Float.infinity
    for input in inputs { greatest = max(greatest, input.logit(row, head, convention)) }
    var total = 0.0
    sum.update(repeating: 0, count: dim)
    var first = true
    for input in inputs {
      let logit = input.logit(row, head, convention)
      if logit == -.infinity { continue }
      // ∞ − ∞ is NaN: a state that claims infinite weight has no mean.
      let weight = exponential2(Double(logit) - Double(greatest))
      total += weight
      input.load(row, head, widened, dim, kernels)
      let factor = Float(weight)
      if first {
        for column in 0..<dim { sum[column] = factor * widened[column] }
        first = false
      } else {
        for column in 0..<dim { sum[column] += factor * widened[column] }
      }
    }
    let isEmpty = total == 0
    if !isEmpty { kernels.scale(sum, Int32(dim), Float(1 / total)) }
    output.store(row, head, sum, dim, kernels)
    let merged = isEmpty ? -Float.infinity : Float(Double(greatest) + logarithm2(total))
    output.storeLogit(merged, row, head, convention)
  }
}

/// One (v, s) pair with row-and-head access.
private struct StateView: Sendable {
  let v: TensorView
  let s: TensorView

  private func byteOffset(_ view: TensorView, _ row: Int, _ head: Int) -> Int {
    (row * view.strides[0] + head * view.strides[1]) * view.scalarType.byteCount
  }

  func logit(_ row: Int, _ head: Int, _ convention: LSEConvention) -> Float {
    guard let base = s.hostPointer else { return -.infinity }
    return convention.internal(
      base.loadUnaligned(fromByteOffset: byteOffset(s, row, head), as: Float.self))
  }

  func storeLogit(_ value: Float, _ row: Int, _ head: Int, _ convention: LSEConvention) {
    s.mutableHostPointer?.storeBytes(
      of: convention.external(value), toByteOffset: byteOffset(s, row, head), as: Float.self)
  }

  func load(
    _ row: Int, _ head: Int, _ target: UnsafeMutablePointer<Float>, _ dim: Int, _ kernels: Kernels
  ) {
    guard let base = v.hostPointer, let type = v.elementType else { return }
    kernels.widen(type)(base + byteOffset(v, row, head), target, dim)
  }

  func store(
    _ row: Int, _ head: Int, _ source: UnsafeMutablePointer<Float>, _ dim: Int, _ kernels: Kernels
  ) {
    guard let base = v.mutableHostPointer, let type = v.elementType else { return }
    kernels.narrow(type)(source, base + byteOffset(v, row, head), dim, type.saturates)
  }
}

extension ElementType {
  /// The `saturate` argument of a narrowing: formats narrower than f32 saturate, f32 keeps infinities.
  var saturates: Int32 { self == .f32 ? 0 : 1 }
}

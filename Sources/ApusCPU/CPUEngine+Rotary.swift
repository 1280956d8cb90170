package import ApusCore
internal import ApusNumerics
internal import CApusSIMD

extension CPUEngine {
  /// Rotates validated q and k rows by their positions, with float64 angles and one rounding of each
  /// result to f32 before the storage type.
  package func rotate(_ arguments: RotaryArguments) {
    let rows = arguments.positions.count
    let heads = arguments.q.shape[1] + arguments.k.shape[1]
    let dim = arguments.q.shape[2]
    let rotaryDim = arguments.rotaryDim
    let pairs = rotaryDim / 2
    let pairing: RotaryEmbedding.Pairing
    var frequencies: [Double] = []
    switch arguments.source {
    case .frequencies(let rope):
      pairing = rope.pairing
      frequencies = (0..<pairs).map { rope.frequency($0, dim: rotaryDim) }
    case .cosSinCache(_, let given):
      pairing = given
    }
    let steps = frequencies
    threads.forEach(rows, parallel: rows * heads * dim > 50_000) { [self] row, _ in
      withUnsafeTemporaryAllocation(of: Double.self, capacity: max(2 * pairs, 1)) { angles in
        withUnsafeTemporaryAllocation(of: Float.self, capacity: max(dim, 1)) { values in
          guard let angles = angles.baseAddress, let values = values.baseAddress else { return }
          Self.fillAngles(arguments, row, steps, cosines: angles, sines: angles + pairs)
          let rotation = RowRotation(
            cosines: angles, sines: angles + pairs, pairs: pairs, rotaryDim: rotaryDim,
            pairing: pairing)
          rotateHeads(arguments.q, arguments.qOut, row, rotation, values)
          rotateHeads(arguments.k, arguments.kOut, row, rotation, values)
        }
      }
    }
  }

  private static func fillAngles(
    _ arguments: RotaryArguments, _ row: Int, _ frequencies: [Double],
    cosines: UnsafeMutablePointer<Double>, sines: UnsafeMutablePointer<Double>
  ) {
    let position = arguments.positions[row]
    switch arguments.source {
    case .frequencies:
      for (pair, frequency) in frequencies.enumerated() {
        (sines[pair], cosines[pair]) = sineAndCosine(Double(position) * frequency)
      }
    case .cosSinCache(let table, _):
      guard let base = table.hostPointer else { return }
      let pairs = table.shape[1] / 2
      let start = position * table.strides[0]
      for pair in 0..<pairs {
        let cosine = base.loadUnaligned(fromByteOffset: (start + pair) * 4, as: Float.self)
        let sine = base.loadUnaligned(fromByteOffset: (start + pairs + pair) * 4, as: Float.self)
        (cosines[pair], sines[pair]) = (Double(cosine), Double(sine))
      }
    }
  }

  private func rotateHeads(
    _ source: TensorView, _ target: TensorView, _ row: Int, _ rotation: RowRotation,
    _ values: UnsafeMutablePointer<Float>
  ) {
    guard let input = source.hostPointer, let output = target.mutableHostPointer,
      let type = source.elementType
    else { return }
    let dim = source.shape[2]
    for head in 0..<source.shape[1] {
      let from = (row * source.strides[0] + head * source.strides[1]) * type.byteCount
      let to = (row * target.strides[0] + head * target.strides[1]) * type.byteCount
      kernels.widen(type)(input + from, values, dim)
      rotation.apply(to: values)
      // Elements beyond rotaryDim are copied bit for bit; in place this moves nothing.
      (output + to).copyMemory(from: input + from, byteCount: dim * type.byteCount)
      kernels.narrow(type)(values, output + to, rotation.rotaryDim, type.saturates)
    }
  }
}

/// The angles of one position, applied to one head.
private struct RowRotation {
  let cosines: UnsafeMutablePointer<Double>
  let sines: UnsafeMutablePointer<Double>
  let pairs: Int
  let rotaryDim: Int
  let pairing: RotaryEmbedding.Pairing

  func apply(to values: UnsafeMutablePointer<Float>) {
    for pair in 0..<pairs {
      let (i, j) = pairing == .half ? (pair, pair + pairs) : (2 * pair, 2 * pair + 1)
      (values[i], values[j]) = rotatePair(
        values[i], values[j], cosine: cosines[pair], sine: sines[pair])
    }
  }
}

internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

extension AttentionContext {
  /// Loads the tile's queries as f32 from row `state` of the buffers on, rotated where the problem
  /// says so, times everything that is constant along a row of scores: softmaxScale, q and k scales,
  /// and log₂e unless a soft cap stands between the product and the exponential. Products of bfloat16
  /// pairs need the queries as they are: then the factor is kept beside them.
  func loadQueries(_ tile: WorkTile, at state: Int, _ scratch: Scratch) {
    let request = Int(tile.request)
    let kvHead = Int(tile.kvHead)
    let firstRow = problem.qoIndptr.offsets[request]
    let position0 = problem.kvLength(request) - problem.qoLength(request)
    let widen = kernels.widen(problem.types.q)
    let base2 = problem.modification.activeSoftCap == nil ? Self.log2e : 1
    for (index, packedRow) in tile.rows.enumerated() {
      let (query, head) = query(packedRow, kvHead: kvHead)
      let target = scratch.q + (state + index) * headDimQK
      for part in queries {
        let address = part.base + (firstRow + query) * part.rowBytes + head * part.headBytes
        widen(UnsafeRawPointer(bitPattern: address), target + part.offset, part.dim)
      }
      let factor = Double(problem.softmaxScale) * Double(scales.q[head]) * base2
      scratch.factor[state + index] = Float(factor * Double(scales.k[kvHead]))
      if dot != nil { continue }
      if let rope = problem.modification.rope {
        rotate(target, rope, position: position0 + query)
      }
      let width = problem.latent?.ckv ?? headDimQK
      kernels.scale(target, Int32(width), scratch.factor[state + index])
      kernels.scale(
        target + width, Int32(headDimQK - width), Float(factor * Double(scales.kpe[kvHead])))
    }
    if let dot { packQueries(dot, state: state, count: tile.rows.count, scratch) }
  }

  /// Panels hold K in index order, rows in that of their type.
  private func packQueries(_ dot: DotKernels, state: Int, count: Int, _ scratch: Scratch) {
    let pack = dot.packRows(usesPanels(rows: count) ? .bf16 : problem.types.kv)
    for segment in k {
      pack(
        scratch.q + state * headDimQK + segment.qOffset, headDimQK, Int32(count),
        Int32(segment.dim), 1, packedQueries(segment, state: state, scratch),
        segment.packedStride)
    }
  }

  /// Packed queries of a segment from row `state` on.
  func packedQueries(
    _ segment: Segment, state: Int, _ scratch: Scratch
  ) -> UnsafeMutablePointer<UInt16> {
    scratch.qPacked + blocking.tileRows * segment.packedOffset + state * segment.packedStride
  }

  /// Rotates one f32 row in place by the angles of a position.
  func rotate(_ row: UnsafeMutablePointer<Float>, _ rope: RotaryEmbedding, position: Int) {
    let dim = rope.rotaryDim ?? headDimQK
    for pair in 0..<dim / 2 {
      let (sine, cosine) = sineAndCosine(Double(position) * rope.frequency(pair, dim: dim))
      let (i, j) = rope.indices(pair, dim: dim)
      (row[i], row[j]) = rotatePair(row[i], row[j], cosine: cosine, sine: sine)
    }
  }

  /// Widens and rotates the K rows of consecutive keys into `scratch.k [keys, headDimQK]`.
  ///
  /// The angles of the first key come from the C library, those of the following by complex
  /// multiplication in float64: at most `panelKeys` steps, so the error stays below 2⁻⁴⁵.
  func loadRotatedKeys(_ rope: RotaryEmbedding, keys: Range<Int>, _ scratch: Scratch) {
    let widen = kernels.widen(problem.types.kv)
    let dim = rope.rotaryDim ?? headDimQK
    let pairs = dim / 2
    let (cosines, sines) = (scratch.angles, scratch.angles + pairs)
    let (stepCosines, stepSines) = (scratch.angles + 2 * pairs, scratch.angles + 3 * pairs)
    for pair in 0..<pairs {
      let frequency = rope.frequency(pair, dim: dim)
      (sines[pair], cosines[pair]) = sineAndCosine(Double(keys.lowerBound) * frequency)
      (stepSines[pair], stepCosines[pair]) = sineAndCosine(frequency)
    }
    for index in 0..<keys.count {
      let row = scratch.k + index * headDimQK
      widen(scratch.kRows[index], row, headDimQK)
      for pair in 0..<pairs {
        let (cosine, sine) = (cosines[pair], sines[pair])
        let (i, j) = rope.indices(pair, dim: dim)
        (row[i], row[j]) = rotatePair(row[i], row[j], cosine: cosine, sine: sine)
        cosines[pair] = cosine * stepCosines[pair] - sine * stepSines[pair]
        sines[pair] = sine * stepCosines[pair] + cosine * stepSines[pair]
      }
    }
  }
}

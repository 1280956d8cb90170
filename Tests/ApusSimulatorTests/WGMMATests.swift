import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct WGMMATests {
  private struct Parts {
    var swizzle = Swizzle.bytes128
    var transposesB = false
    var proxyFence = true
    var fence = true
    var wait = true
    var overwrites = false
    /// Rows of 128 bytes before the operands: where the swizzle's pattern starts.
    var baseRows = 0
  }

  private let n = 64

  /// D = A·B of 64×16 and 16×64 bf16 matrices whose shared images the host prepares.
  private func kernel(_ parts: Parts) -> KernelIR {
    makeKernel(threads: 128) { b in
      let (a, bMatrix, out) = (b.pointer("a"), b.pointer("b"), b.pointer("out"))
      let shift = Operand.u32(UInt32(128 * parts.baseRows))
      let startA = b.shared("a", byteCount: 9216, alignment: 1024)
      let startB = b.shared("b", byteCount: 9216, alignment: 1024)
      let tileA = b.get(.arithmetic(.add), [startA, shift])
      let tileB = b.get(.arithmetic(.add), [startB, shift])
      let all = b.blockBarrier(threads: 128)
      let tid = b.thread()
      for part in 0..<16 {
        let index = b.get(.arithmetic(.add), [tid, .u32(UInt32(128 * part))])
        b.store(.shared, b.word(tileA, index), b.load(.global, b.element(a, index, stride: 4)))
        b.store(
          .shared, b.word(tileB, index), b.load(.global, b.element(bMatrix, index, stride: 4)))
      }
      if parts.proxyFence { b.perform(.synchronisation(.fence(.proxyAsync(.shared)))) }
      b.perform(.synchronisation(.barrierSync(all)))
      func descriptor(_ b: inout IRBuilder, _ tile: Operand) -> Operand {
        let rest =
          MatrixDescriptor(
            start: 0, leadingOffset: parts.swizzle == .none ? 4096 : 8192,
            strideOffset: 8 * parts.swizzle.rowBytes, swizzle: parts.swizzle
          ).bits | UInt64(parts.baseRows) << 49
        let start = b.get(.conversion(.integer), [b.get(.bits(.shr), [tile, .u32(4)])], .u64)
        return b.get(.bits(.or), [start, .constant(.u64(rest))], .u64)
      }
      let (left, right) = (descriptor(&b, tileA), descriptor(&b, tileB))
      let d = (0..<n / 2).map { _ in b.variable(.f32, initial: .f32(1), at: line(1)) }
      if parts.fence { b.perform(.tensorCore(.wgmmaFence)) }
      let shape = Op.WGMMAShape(n: n, .bf16, transposesB: parts.transposesB)
      b.accumulate(.wgmma(shape), into: d, [left, right, .constant(.pred(true))], at: line(30))
      b.perform(.tensorCore(.wgmmaCommit))
      if parts.overwrites { b.store(.shared, tileB, .u32(0), at: 31) }
      if parts.wait { b.perform(.tensorCore(.wgmmaWait(pending: 0)), at: 32) }
      for (register, variable) in d.enumerated() {
        let index = b.get(
          .arithmetic(.mad), [tid, .u32(UInt32(n / 2)), .u32(UInt32(register))])
        b.store(.global, b.element(out, index, stride: 4), .value(variable), at: 33)
      }
      if !parts.wait { b.perform(.tensorCore(.wgmmaWait(pending: 0))) }
    }
  }

  /// Rows of `rowBytes`, permuted as the hardware does; an unused part of a row holds zeros. Without
  /// a swizzle groups of eight rows by 16 bytes: 128 bytes apart along the first dimension of a
  /// K-major operand and the second of an MN-major one, 4096 along the other.
  private func image(
    _ rows: [[Float]], _ swizzle: Swizzle, isTransposed: Bool = false
  ) -> [UInt32] {
    var halves = [UInt16](repeating: 0, count: 4096)
    for (row, values) in rows.enumerated() {
      for (column, value) in values.enumerated() {
        let (first, second) = isTransposed ? (4096, 128) : (128, 4096)
        let plain = row / 8 * first + row % 8 * 16 + column / 8 * second + column % 8 * 2
        let byte =
          swizzle == .none ? plain : swizzle.apply(row * swizzle.rowBytes + column * 2)
        halves[byte / 2] = BFloat16(value).bitPattern
      }
    }
    return (0..<2048).map { UInt32(halves[2 * $0]) | UInt32(halves[2 * $0 + 1]) << 16 }
  }

  private func launch(
    _ parts: Parts, seed: UInt64
  ) -> (report: SimulationReport, output: [UInt32], expected: [UInt32]) {
    var random = SplitMix64(seed: seed)
    func matrix(_ rows: Int, _ columns: Int) -> [[Float]] {
      (0..<rows).map { _ in
        (0..<columns).map { _ in Float(Int.random(in: -4...4, using: &random)) }
      }
    }
    let a = matrix(64, 16)
    let b = matrix(16, n)
    let columns = (0..<n).map { column in b.map { $0[column] } }
    let (report, output) = run(
      kernel(parts),
      inputs: [
        image(a, parts.swizzle),
        image(
          parts.transposesB ? b : columns, parts.swizzle, isTransposed: parts.transposesB),
      ],
      outputWords: 64 * n, seed: seed)
    let layout = FragmentLayout.wgmmaAccumulator(n: n, .f32)
    let expected = (0..<64 * n).map { place -> UInt32 in
      let (thread, register) = (place / (n / 2), place % (n / 2))
      let at = layout.position(lane: thread % 32, register: register)
      let row = thread / 32 * 16 + at.row
      let sum = (0..<16).reduce(Float(1)) { $0 + a[row][$1] * b[$1][at.column] }
      return sum.bitPattern
    }
    return (report, output, expected)
  }

  @Test func `products read both major orders through their swizzles`() {
    for (seed, parts) in [
      (1, Parts()), (2, Parts(swizzle: .bytes64)), (3, Parts(swizzle: .bytes32)),
      (4, Parts(transposesB: true)), (5, Parts(swizzle: .none)),
      (6, Parts(swizzle: .none, transposesB: true)), (7, Parts(baseRows: 2)),
      (8, Parts(transposesB: true, baseRows: 5)),
    ] as [(UInt64, Parts)] {
      let (report, output, expected) = launch(parts, seed: seed)
      expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
      expect(output == expected, "\(parts) seed \(seed)")
    }
  }

  @Test func `each missing wait and fence is found`() {
    func kind(_ parts: Parts) -> SimulationError.Kind? {
      launch(parts, seed: 5).report.errors.first?.kind
    }
    for parts in [Parts(wait: false), Parts(overwrites: true)] {
      guard case .missingWait = kind(parts) else {
        Issue.record("\(parts)")
        continue
      }
    }
    guard case .missingProxyFence = kind(Parts(proxyFence: false)) else {
      Issue.record("a missing proxy fence passed")
      return
    }
    guard case .barrier = kind(Parts(fence: false)) else {
      Issue.record("a missing wgmmaFence passed")
      return
    }
  }
}

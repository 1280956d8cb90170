internal import ApusThreads
internal import CApusSIMD

/// Sizes of the buffers that one thread needs for tiles of a problem.
struct ScratchShape: Sendable, Hashable {
  /// Rows whose state is held at once.
  var rows: Int
  /// Scores held at once, and probabilities.
  var scores: Int
  /// Keys of the longest block of the online softmax.
  var keys: Int
  /// Keys of the longest block whose K or V is packed.
  var panelKeys: Int
  var headDimQK: Int
  var headDimVO: Int

  init(_ blocking: Blocking, headDimQK: Int, headDimVO: Int) {
    rows = blocking.tileRows
    keys = max(Blocking.streamKeys, Blocking.panelKeys)
    let streamRows = blocking.streamHeads == 1 ? Blocking.panelRows : blocking.tileRows
    scores = max(Blocking.blockRows * Blocking.panelKeys, streamRows * Blocking.streamKeys)
    panelKeys = Blocking.panelKeys
    (self.headDimQK, self.headDimVO) = (headDimQK, headDimVO)
  }
}

/// The working set of one thread: a few hundred kilobytes, cache-line aligned, reused between calls.
///
/// `@unchecked Sendable`: a scratch is used by one thread at a time; `ScratchPool` hands it over
/// under a lock.
final class Scratch: @unchecked Sendable {
  let shape: ScratchShape
  /// Bytes of all buffers.
  let byteCount: Int
  private let storage: UnsafeMutableRawPointer
  /// Queries `[rows, headDimQK]`, scaled but for those that are packed.
  let q: UnsafeMutablePointer<Float>
  /// Queries as bfloat16 `[rows, headDimQK]`, a segment of K after the other, each with its stride.
  let qPacked: UnsafeMutablePointer<UInt16>
  /// Scores, then probabilities.
  let s: UnsafeMutablePointer<Float>
  /// Probabilities as bfloat16.
  let p: UnsafeMutablePointer<UInt16>
  /// Unnormalised output `[rows, headDimVO]`.
  let o: UnsafeMutablePointer<Float>
  /// Row maxima and sums.
  let m: UnsafeMutablePointer<Float>
  let l: UnsafeMutablePointer<Float>
  /// Factors of rows of scores, and of o by the last step.
  let factor: UnsafeMutablePointer<Float>
  let alpha: UnsafeMutablePointer<Float>
  let ones: UnsafeMutablePointer<Float>
  /// State of rows kept aside while others are recomputed: o, m, l.
  let kept: UnsafeMutablePointer<Float>
  /// K widened and rotated `[panelKeys, headDimQK]`.
  let k: UnsafeMutablePointer<Float>
  /// K widened and transposed `[headDimQK, panelKeys]`, or half as many bfloat16 pairs.
  let kPacked: UnsafeMutablePointer<Float>
  /// V widened `[panelKeys, headDimVO]`, or half as many bfloat16 pairs.
  let v: UnsafeMutablePointer<Float>
  /// One row of zeros, wide enough for any element type.
  let zeros: UnsafeMutablePointer<Float>
  /// Cosines and sines of the current position, and of one step: 4 × headDimQK / 2 doubles.
  let angles: UnsafeMutablePointer<Double>
  /// Row pointers of a segment of K and of V.
  let kRows: UnsafeMutablePointer<UnsafeRawPointer?>
  let vRows: UnsafeMutablePointer<UnsafeRawPointer?>
  /// Rows of K that the next step reads first.
  let following: UnsafeMutablePointer<UnsafeRawPointer?>
  /// Scores of one row on their way between orders.
  let line: UnsafeMutablePointer<Float>
  /// Token-head scales per key.
  let keyScales: UnsafeMutablePointer<Float>

  init(_ shape: ScratchShape) {
    self.shape = shape
    var total = 0
    func reserve(_ bytes: Int) -> Int {
      let offset = total
      total += (bytes + 127) / 64 * 64
      return offset
    }
    let (rows, keys, dqk, dvo) = (shape.rows, shape.keys, shape.headDimQK, shape.headDimVO)
    let (panel, widest) = (shape.panelKeys, max(dqk, dvo))
    let following = Int(CAPUS_FOLLOWING)
    let offsets = [
      reserve(rows * dqk * 4), reserve(shape.scores * 4), reserve(rows * dvo * 4),
      reserve(rows * 4), reserve(rows * 4), reserve(rows * (dvo + 2) * 4), reserve(panel * dqk * 4),
      reserve(panel * (dqk + 1) * 4), reserve(panel * dvo * 4), reserve(widest * 4),
      reserve(dqk * 2 * 8), reserve((keys + following) * 8), reserve((keys + following) * 8),
      reserve(keys * 4),
      reserve(rows * (dqk + 128) * 2), reserve(shape.scores * 2), reserve(rows * 4),
      reserve(rows * 4), reserve(rows * 4), reserve(keys * 8), reserve(keys * 4),
    ]
    byteCount = total
    let storage = UnsafeMutableRawPointer.allocate(byteCount: max(total, 64), alignment: 64)
    storage.initializeMemory(as: UInt8.self, repeating: 0, count: max(total, 64))
    self.storage = storage
    func floats(_ index: Int) -> UnsafeMutablePointer<Float> {
      (storage + offsets[index]).assumingMemoryBound(to: Float.self)
    }
    func pointers(_ index: Int) -> UnsafeMutablePointer<UnsafeRawPointer?> {
      (storage + offsets[index]).assumingMemoryBound(to: UnsafeRawPointer?.self)
    }
    q = floats(0)
    s = floats(1)
    o = floats(2)
    m = floats(3)
    l = floats(4)
    kept = floats(5)
    k = floats(6)
    kPacked = floats(7)
    v = floats(8)
    zeros = floats(9)
    angles = (storage + offsets[10]).assumingMemoryBound(to: Double.self)
    kRows = pointers(11)
    vRows = pointers(12)
    keyScales = floats(13)
    qPacked = (storage + offsets[14]).assumingMemoryBound(to: UInt16.self)
    p = (storage + offsets[15]).assumingMemoryBound(to: UInt16.self)
    factor = floats(16)
    alpha = floats(17)
    ones = floats(18)
    ones.update(repeating: 1, count: rows)
    self.following = pointers(19)
    line = floats(20)
  }

  deinit { storage.deallocate() }
}

/// Scratches kept between calls. Those in use are one per thread; those that wait hold at most
/// `byteLimit` bytes together, so that problems of many shapes leave no more than one does. A forked
/// child keeps none: another thread may have held the lock when it came to be.
final class ScratchPool: Sendable {
  /// Bytes that are kept for each thread: no scratch needs more.
  static let bytesPerThread = 2_000_000

  private let free = Lock<[Scratch]>([])
  private let byteLimit: Int
  private let forks = ForkCount.current

  /// Scratches that no call uses.
  var count: Int { free.withLock { $0.count } }

  init(byteLimit: Int) { self.byteLimit = byteLimit }

  func take(_ shape: ScratchShape) -> Scratch {
    if forks != ForkCount.current { return Scratch(shape) }
    let found = free.withLock { list -> Scratch? in
      guard let index = list.firstIndex(where: { $0.shape == shape }) else { return nil }
      return list.remove(at: index)
    }
    return found ?? Scratch(shape)
  }

  /// Keeps a scratch, and drops those that were given longest ago where there are too many.
  func give(_ scratch: Scratch) {
    if forks != ForkCount.current { return }
    free.withLock { list in
      list.append(scratch)
      var total = list.reduce(0) { $0 + $1.byteCount }
      while total > byteLimit, let oldest = list.first {
        total -= oldest.byteCount
        list.removeFirst()
      }
    }
  }
}

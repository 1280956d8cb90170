public import ApusCore
public import ApusDSL
public import ApusIR
public import ApusNumerics

/// Rotation of q and k by their positions (`RotaryArguments`; arXiv 2104.09864), both in one launch.
///
/// A group of lanes serves a row and a few neighbouring heads, q's and k's counted together. A lane
/// has the same pairs of each of those heads, so that their cosines and sines are made once:
/// `(a, b) → (a·cos θ − b·sin θ, b·cos θ + a·sin θ)`.
public struct RotaryKernel: ShippedKernel {
  /// Where cosines and sines come from.
  public enum Angles: String, Sendable, Hashable, CaseIterable {
    /// Computed from positions and the pairs' fractions of a turn, `TurnFraction`.
    case computed
    /// Rows of a table: cosines, then sines.
    case table
  }

  /// Integers of the list of positions.
  public enum Positions: String, Sendable, Hashable, CaseIterable {
    /// 32 bits.
    case i32
    /// 64 bits, of which the lower half is read.
    case i64
  }

  /// Type of q and k.
  public let type: ElementType
  /// Which elements form a pair.
  public let pairing: RotaryEmbedding.Pairing
  /// Where cosines and sines come from.
  public let angles: Angles
  /// Pairs of one access: elements of 16 bytes, or 1.
  public let width: Int
  /// Integers of the list of positions.
  public let positions: Positions
  /// Lanes of a row and its heads: a power of two, at most 32.
  public let lanes: Int

  /// Heads that a lane group serves.
  static let headsAtOnce = 4
  static let threads = 128

  /// The configuration for a number of rotated elements: a lane for each access, at most 32.
  public init(
    type: ElementType, pairing: RotaryEmbedding.Pairing, angles: Angles, width: Int,
    rotaryDim: Int, positions: Positions = .i32
  ) {
    self.type = type
    self.pairing = pairing
    self.angles = angles
    self.width = width
    self.positions = positions
    lanes = min(32, powerOfTwo(atMost: rotaryDim / 2 / width))
  }

  /// What it is for.
  public var family: KernelFamily { .rope }

  /// `sm80_rope_bf16_half_computed_v8_l8`, with `_i64` for such positions.
  public var symbol: String {
    "sm80_rope_\(type)_\(pairing)_\(angles)_v\(width)_l\(lanes)"
      + (positions == .i64 ? "_i64" : "")
  }

  /// 128 threads.
  public var launch: LaunchBounds { LaunchBounds(threads: Self.threads) }

  /// Bytes of one access.
  var bytes: Int { width * type.byteCount }

  /// Rotates.
  public func body(_ block: Block) {
    block.startDependents()
    let positions = block.pointer("positions", to: U32.self, alignment: 4)
    let source =
      angles == .computed
      ? block.pointer("fractions", to: U32.self, alignment: 16)
      : block.pointer("table", to: U32.self, alignment: min(16, 4 * width))
    let tableRow = angles == .table ? block.parameter("tableRow", U64.self) : nil
    let q = RotaryTensor(block, "q", bytes: bytes)
    let k = RotaryTensor(block, "k", bytes: bytes)
    let accesses = block.parameter("accesses", U32.self)
    let restAccesses = block.parameter("restAccesses", U32.self)
    let groups = block.parameter("groups", U32.self)
    let cells = block.parameter("cells", U32.self)

    let cell = block.globalThreadIndex >> lanes.trailingZeroBitCount
    let lane = block.threadIndex & (lanes - 1)
    block.when(cell < cells) {
      let row = cell / groups
      let first = (cell - row * groups) * Self.headsAtOnce
      let position = block.load(
        self.positions == .i32 ? positions[row] : positions[row.converted(to: U64.self) * 2])
      let heads = (0..<Self.headsAtOnce).map {
        RotaryHead(block, q, k, row: row, head: first + $0)
      }
      block.loop(from: lane, to: accesses, step: lanes, form: .rolled) { access in
        let (a, b) = offsets(access, accesses)
        let words = heads.map { head in
          head.loadPair(block, a, b, bytes)
        }
        let rotation = self.rotation(block, source, tableRow, position, access, accesses)
        for (head, (low, high)) in zip(heads, words) {
          block.when(head.exists) {
            let (newLow, newHigh) = rotate(block, low, high, rotation)
            block.storeWords(newLow, to: head.output.advanced(bytes: a), bytes: bytes)
            block.storeWords(newHigh, to: head.output.advanced(bytes: b), bytes: bytes)
          }
        }
      }
      block.phase("elements behind the rotated ones")
      block.loop(from: lane, to: restAccesses, step: lanes, form: .rolled) { access in
        let offset = (access + accesses * 2).multipliedWide(by: bytes)
        for head in heads {
          block.when(head.exists) {
            block.storeWords(
              block.loadWords(head.input.advanced(bytes: offset), bytes: bytes, .once),
              to: head.output.advanced(bytes: offset), bytes: bytes)
          }
        }
      }
    }
  }

  /// Byte offsets of the two accesses that hold a lane's pairs.
  private func offsets(
    _ access: Value<U32>, _ accesses: Value<U32>
  ) -> (Value<U64>, Value<U64>) {
    switch pairing {
    case .half:
      (access.multipliedWide(by: bytes), (access + accesses).multipliedWide(by: bytes))
    case .interleaved:
      (
        (access * 2).multipliedWide(by: bytes), (access * 2 + 1).multipliedWide(by: bytes)
      )
    }
  }

  /// Cosine and sine of each of the lane's pairs.
  private func rotation(
    _ block: Block, _ source: GlobalPointer<U32>, _ tableRow: Value<U64>?, _ position: Value<U32>,
    _ access: Value<U32>, _ accesses: Value<U32>
  ) -> [(cosine: Value<F32>, sine: Value<F32>)] {
    if let tableRow {
      let row = source.advanced(bytes: position.converted(to: U64.self) * tableRow)
      func floats(_ access: Value<U32>) -> [Value<F32>] {
        block.loadWords(
          row.advanced(bytes: access.multipliedWide(by: 4 * width)), bytes: 4 * width
        ).map { $0.bitcast(to: F32.self) }
      }
      return zip(floats(access), floats(access + accesses)).map { ($0, $1) }
    }
    let fractions = block.loadWords(
      source.advanced(bytes: access.multipliedWide(by: 8 * width)), bytes: 8 * width)
    return (0..<width).map {
      block.cosineAndSine(position, (fractions[2 * $0], fractions[2 * $0 + 1]))
    }
  }

  private func rotate(
    _ block: Block, _ low: [Value<U32>], _ high: [Value<U32>],
    _ rotation: [(cosine: Value<F32>, sine: Value<F32>)]
  ) -> ([Value<U32>], [Value<U32>]) {
    let x = block.widen(low, type, count: width)
    let y = block.widen(high, type, count: width)
    func turned(
      _ a: Value<F32>, _ b: Value<F32>, _ angle: (cosine: Value<F32>, sine: Value<F32>)
    ) -> (Value<F32>, Value<F32>) {
      (
        fma(a, angle.cosine, -(b * angle.sine)), fma(b, angle.cosine, a * angle.sine)
      )
    }
    switch pairing {
    case .half:
      let pairs = (0..<width).map { turned(x[$0], y[$0], rotation[$0]) }
      return (block.narrow(pairs.map(\.0), type), block.narrow(pairs.map(\.1), type))
    case .interleaved:
      let elements = x + y
      let turned = (0..<width).flatMap { pair -> [Value<F32>] in
        let (a, b) = turned(elements[2 * pair], elements[2 * pair + 1], rotation[pair])
        return [a, b]
      }
      return (
        block.narrow(Array(turned[..<width]), type), block.narrow(Array(turned[width...]), type)
      )
    }
  }
}

/// q or k and where it goes, among the parameters.
struct RotaryTensor {
  let input: GlobalPointer<U32>
  let inputRow: Value<U64>
  let inputHead: Value<U64>
  let output: GlobalPointer<U32>
  let outputRow: Value<U64>
  let outputHead: Value<U64>
  let heads: Value<U32>

  init(_ block: Block, _ name: String, bytes: Int) {
    input = block.pointer(name, to: U32.self, alignment: bytes)
    inputRow = block.parameter("\(name)Row", U64.self)
    inputHead = block.parameter("\(name)Head", U64.self)
    output = block.pointer("\(name)Out", to: U32.self, alignment: bytes)
    outputRow = block.parameter("\(name)OutRow", U64.self)
    outputHead = block.parameter("\(name)OutHead", U64.self)
    heads = block.parameter("\(name)Heads", U32.self)
  }
}

/// One head of a row: q's first, then k's.
struct RotaryHead {
  let exists: Value<Pred>
  let input: GlobalPointer<U32>
  let output: GlobalPointer<U32>

  init(
    _ block: Block, _ q: RotaryTensor, _ k: RotaryTensor, row: Value<U32>, head: Value<U32>
  ) {
    let isQuery = head < q.heads
    exists = head < q.heads + k.heads
    let index = select(isQuery, head, head - q.heads).converted(to: U64.self)
    let row = row.converted(to: U64.self)
    func place(
      _ x: (GlobalPointer<U32>, Value<U64>, Value<U64>),
      _ y: (GlobalPointer<U32>, Value<U64>, Value<U64>)
    ) -> GlobalPointer<U32> {
      let inRow = mad(row, select(isQuery, x.1, y.1), index * select(isQuery, x.2, y.2))
      return GlobalPointer(address: select(isQuery, x.0.address, y.0.address) + inRow)
    }
    input = place((q.input, q.inputRow, q.inputHead), (k.input, k.inputRow, k.inputHead))
    output = place((q.output, q.outputRow, q.outputHead), (k.output, k.outputRow, k.outputHead))
  }

  /// Both accesses of the lane's pairs; zeros of a head that does not exist.
  func loadPair(
    _ block: Block, _ a: Value<U64>, _ b: Value<U64>, _ bytes: Int
  ) -> ([Value<U32>], [Value<U32>]) {
    let words = (0..<2 * max(1, bytes / 4)).map { _ in block.variable(0, as: U32.self, "x") }
    block.when(exists) {
      let low = block.loadWords(input.advanced(bytes: a), bytes: bytes, .once)
      let high = block.loadWords(input.advanced(bytes: b), bytes: bytes, .once)
      for (word, value) in zip(words, low + high) { block.assign(word, value) }
    }
    let values = words.map(\.value)
    return (Array(values[..<(values.count / 2)]), Array(values[(values.count / 2)...]))
  }
}

public import ApusCore
public import ApusDSL
public import ApusIR
public import ApusNumerics

/// Attention of any shape, type and option in f32 on ordinary cores: slower than the kernels for
/// tensor cores, and what runs where none of them does.
///
/// A warp has up to `rows` packed rows (query, head) of one request and KV head, in registers, and a
/// range of keys. Groups of `lanes` lanes take keys in turn, each with an online softmax of its own;
/// each key and value is read once for all rows. At the end the groups' states are merged and either
/// finished or left as one partial state of a split, for `GeneralMergeKernel`.
///
/// `t = log₂e · (softCap(scale · q·k) + slope · (j − position))`, `m = max t`, `p = 2^(t − m)`,
/// `l = Σ p`, `o = Σ p·v`. A pair that is not visible executes no operation on o, so that whatever
/// its value holds does not count.
public struct GeneralAttentionKernel: ShippedKernel {
  /// What a configuration can do beyond masks, pages, scales per head and sinks.
  ///
  /// Options that cost a branch where they are not used share a bit: each is on where its argument
  /// says so.
  public struct Features: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: Int

    /// Features of the given bits.
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// Rows of q and k have two parts: MLA.
    public static let latent = Features(rawValue: 1)
    /// Soft cap, ALiBi slopes, a custom mask, scales of k and v per token and head.
    public static let options = Features(rawValue: 2)
    /// Rotation of q and k.
    public static let rope = Features(rawValue: 4)

    static let names = ["latent", "options", "rope"]
  }

  /// Storage of q.
  public let query: GeneralStorage
  /// Type of k and v.
  public let cache: ElementType
  /// Storage of o.
  public let output: GeneralStorage
  /// What it can do.
  public let features: Features
  /// Elements of one access: 8, or 1 where rows are not aligned for that.
  public let width: Int
  /// Packed rows of a warp: 1, 2, 4 or 8.
  public let rows: Int
  /// Lanes that share a key: 8, 16 or 32.
  public let lanes: Int
  /// Accesses of a lane to a key.
  public let keyAccesses: Int
  /// Accesses of a lane to a value.
  public let valueAccesses: Int

  static let threads = 128

  /// The configuration for row widths in elements; one for all widths that need as many registers.
  public init(
    types: AttentionTypes, features: Features, width: Int, rows: Int, headDimQK: Int,
    headDimVO: Int
  ) {
    query = GeneralStorage(types.q)
    cache = types.kv
    output = GeneralStorage(types.o)
    self.features = features
    self.width = width
    self.rows = rows
    let keys = (headDimQK + width - 1) / width
    let values = (headDimVO + width - 1) / width
    let lanes = width == 1 ? 32 : max(8, min(32, powerOfTwo(atMost: 2 * max(keys, values) - 1)))
    self.lanes = lanes
    func accesses(_ count: Int) -> Int {
      let needed = (count + lanes - 1) / lanes
      return (width == 1 ? [2, 4, 8, 16, 18] : [1, 2, 3]).first { $0 >= needed } ?? needed
    }
    // Wide latent rows hold more keys than values.
    let isEqual = !features.contains(.latent) || max(headDimQK, headDimVO) <= 256
    keyAccesses = accesses(isEqual ? max(keys, values) : keys)
    valueAccesses = isEqual ? keyAccesses : accesses(values)
  }

  /// What it is for.
  public var family: KernelFamily { .general }

  /// `sm80_general_plain_bf16_plain_options_v8_r4_l16_k1x1`.
  public var symbol: String {
    let names = Features.names.indices.filter { features.rawValue >> $0 & 1 == 1 }
      .map { "_" + Features.names[$0] }.joined()
    return "sm80_general_\(query.rawValue)_\(cache)_\(output.rawValue)\(names)_v\(width)_r\(rows)"
      + "_l\(lanes)_k\(keyAccesses)x\(valueAccesses)"
  }

  /// Four warps, each on its own.
  public var launch: LaunchBounds { LaunchBounds(threads: Self.threads) }

  /// Keys that each lane group has in flight: as many as registers beside q and o allow.
  var keysAtOnce: Int {
    let elements = rows * max(keyAccesses, valueAccesses) * width
    let most = cache == .f32 || features.contains(.options) ? 32 : 64
    return elements > most ? 1 : elements > 16 ? 2 : 4
  }
  /// Lane groups of a warp.
  var groups: Int { warpSize / lanes }
  var isRotated: Bool { features.contains(.rope) }

  /// Attends.
  public func body(_ block: Block) {
    block.startDependents()
    let parameters = GeneralParameters(block, self)
    let warp = block.blockIndex() * (Self.threads / warpSize) + block.warpIndex
    block.when(warp < parameters.cells, .uniform) {
      let tile = GeneralTile(block, parameters, warp: warp, rows: rows)
      block.when(tile.rowCount == 0, .uniform) { block.exit() }
      let lane = GeneralLane(block, self)
      block.phase("q")
      let queries = GeneralQueries(block, self, parameters, tile, lane)
      let zero = block.constant(0, as: F32.self)
      var states = (0..<rows).map { _ in
        GeneralState(block, count: valueAccesses * width)
      }
      block.loop(
        from: tile.keyBegin, to: tile.keyEnd, step: groups * keysAtOnce, form: .rolled
      ) { first in
        let keys = GeneralKey.keys(
          block, parameters, tile, (0..<keysAtOnce).map { first + lane.group + $0 * groups })
        block.phase("scores")
        let words = keys.map { $0.loadKey(block, self, parameters, lane) }
        var scores: [[Value<F32>]] = states.map { _ in [] }
        var visible: [[Value<Pred>]] = states.map { _ in [] }
        for (key, words) in zip(keys, words) {
          let k = key.widenKey(block, self, parameters, lane, words)
          for row in 0..<rows {
            let product = zip(queries.values[row], k).reduce(zero) { fma($1.0, $1.1, $0) }
            let dot = block.warpSum(product, lanes: lanes)
            let isVisible = tile.isVisible(block, parameters, key.index, row: row)
            let score = tile.score(block, parameters, dot, key, row: row)
            visible[row].append(isVisible)
            scores[row].append(
              select(isVisible, score, block.constant(-.infinity, as: F32.self)))
          }
        }
        block.phase("m = max t; p = 2^(t - m); l += p")
        let weights = states.indices.map { states[$0].advance(block, scores[$0]) }
        block.phase("o += p v")
        let values = keys.map { $0.loadValue(block, self, parameters, lane) }
        // One pair that is not visible makes the warp choose for each; most warps have none.
        let hidden = visible.flatMap { $0 }.map { !$0 }
        let someHidden = block.any(hidden.dropFirst().reduce(hidden[0]) { $0 | $1 })
        func accumulate(_ isPartial: Bool) {
          for (slot, words) in values.enumerated() {
            let v = words.flatMap { block.widen($0, cache, count: width) }
            for row in 0..<rows {
              let p =
                keys[slot].valueScale.map { weights[row][slot] * $0 } ?? weights[row][slot]
              for (sum, x) in zip(states[row].o, v) {
                let old = sum.value
                let new = fma(p, x, old)
                block.assign(sum, isPartial ? select(visible[row][slot], new, old) : new)
              }
            }
          }
        }
        block.when(someHidden, .uniform) {
          accumulate(true)
        } otherwise: {
          accumulate(false)
        }
      }
      block.phase("merge the lane groups")
      var distance = lanes
      while distance < warpSize {
        for row in 0..<rows { states[row].mergeAcross(block, distance) }
        distance *= 2
      }
      states = GeneralOutput(block, self, parameters, tile, lane).write(block, states)
    }
  }
}

/// Online softmax of one row: greatest score, sum of weights, weighted sum of values.
struct GeneralState {
  let m: Variable<F32>
  let l: Variable<F32>
  let o: [Variable<F32>]

  init(_ block: Block, count: Int) {
    m = block.variable(-.infinity, as: F32.self, "m")
    l = block.variable(0, as: F32.self, "l")
    o = (0..<count).map { _ in block.variable(0, as: F32.self, "o") }
  }

  /// What scores are measured from: the maximum, or 0 while every score is −∞.
  static func origin(_ block: Block, _ m: Value<F32>) -> Value<F32> {
    select(m == -.infinity, block.constant(0, as: F32.self), m)
  }

  /// Takes in scores; their weights.
  func advance(_ block: Block, _ scores: [Value<F32>]) -> [Value<F32>] {
    let old = m.value
    let new = scores.reduce(old) { max($0, $1) }
    let origin = Self.origin(block, new)
    let correction = block.let(ex2(old - origin))
    let weights = scores.map { ex2($0 - origin) }
    let sum = weights.dropFirst().reduce(weights[0]) { $0 + $1 }
    block.assign(m, new)
    block.assign(l, fma(l.value, correction, sum))
    for element in o { block.assign(element, element.value * correction) }
    return weights
  }

  /// Merges with the state of the lane at a distance; both end with the same bits.
  func mergeAcross(_ block: Block, _ distance: Int) {
    let own = m.value
    let other = block.shuffle(own, xor: distance)
    let new = max(own, other)
    let origin = Self.origin(block, new)
    let mine = block.let(ex2(own - origin))
    let theirs = block.let(ex2(other - origin))
    func merge(_ variable: Variable<F32>) {
      let value = variable.value
      block.assign(variable, value * mine + block.shuffle(value, xor: distance) * theirs)
    }
    block.assign(m, new)
    merge(l)
    for element in o { merge(element) }
  }
}

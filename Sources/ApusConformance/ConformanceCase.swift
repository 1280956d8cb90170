public import ApusCore

/// One case of the suite: a value that prints itself and is rebuilt from (seed, index, size).
public struct ConformanceCase: Sendable, Hashable, CustomStringConvertible {
  /// What is tried.
  public enum Content: Sendable, Hashable {
    /// Attention in one of its uses.
    case attention(AttentionCase)
    /// New tokens into a paged cache.
    case append(AppendCase)
    /// Attention states over disjoint keys.
    case merge(MergeCase)
    /// Rotation of q and k.
    case rotary(RotaryCase)
    /// Booleans into bits.
    case packBits(PackBitsCase)
  }

  /// Seed of the suite.
  public let seed: UInt64
  /// Number of the case within the suite.
  public let index: Int
  /// How large it may be.
  public let size: CaseSize
  /// What is tried.
  public let content: Content

  init(seed: UInt64, index: Int, size: CaseSize, content: Content) {
    self.seed = seed
    self.index = index
    self.size = size
    self.content = content
  }

  /// The case `index` of a seed: the same on every machine.
  public init(seed: UInt64, index: Int, size: CaseSize = .full) {
    self.seed = seed
    self.index = index
    self.size = size
    var random = CaseRandom(seed: seed, stream: UInt64(bitPattern: Int64(index)) &* 2)
    switch random.int(0...99) {
    case 0..<68: content = .attention(.generate(&random, index: index, size: size))
    case 68..<78: content = .append(.generate(&random, size: size))
    case 78..<86: content = .merge(.generate(&random, size: size))
    case 86..<96: content = .rotary(.generate(&random, size: size))
    default: content = .packBits(.generate(&random, size: size))
    }
  }

  /// The generator of the case's data, apart from that of its shape.
  var dataRandom: CaseRandom {
    CaseRandom(seed: seed, stream: UInt64(bitPattern: Int64(index)) &* 2 &+ 1)
  }

  /// The family's name.
  public var family: String {
    switch content {
    case .attention(let attention): attention.use.rawValue
    case .append: "append"
    case .merge: "merge"
    case .rotary: "rope"
    case .packBits: "packbits"
    }
  }

  /// `seed 1 case 42: …`.
  public var description: String {
    let text =
      switch content {
      case .attention(let value): "\(value)"
      case .append(let value): "\(value)"
      case .merge(let value): "\(value)"
      case .rotary(let value): "\(value)"
      case .packBits(let value): "\(value)"
      }
    return "seed \(seed) \(size == .small ? "small " : "")case \(index): \(text)"
  }

  /// Runs the case on a back end whose operands live in host memory.
  public func check(on backend: any Backend, model: ArithmeticModel? = nil)
    -> CaseOutcome
  {
    switch content {
    case .attention(let value):
      AttentionCheck(backend: backend, model: model ?? .declared(by: backend)).check(
        value, random: dataRandom)
    case .append(let value): value.check(on: backend, random: dataRandom)
    case .merge(let value): value.check(on: backend, random: dataRandom)
    case .rotary(let value): value.check(on: backend, random: dataRandom)
    case .packBits(let value): value.check(on: backend, random: dataRandom)
    }
  }
}

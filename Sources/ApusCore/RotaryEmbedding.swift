#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Rotary position embedding by frequencies (RoFormer, arXiv 2104.09864).
///
/// A pair `(x₀, x₁)` at position `p` becomes `(x₀·cos θ − x₁·sin θ, x₁·cos θ + x₀·sin θ)` with
/// `θ = p · frequency(pair)`.
public struct RotaryEmbedding: Sendable, Hashable, CustomStringConvertible {
  /// Which two elements form pair `i` of `D/2`.
  public enum Pairing: String, Sendable, Hashable, CaseIterable {
    /// `(i, i + D/2)`: Llama and NeoX halves.
    case half
    /// `(2i, 2i + 1)`: interleaved, GPT-J.
    case interleaved
  }

  /// Llama 3.1's smoothing between scaled and unscaled frequencies.
  public struct Llama31: Sendable, Hashable {
    /// Below this many rotations over the old context a frequency is divided by the scale.
    public var lowFrequencyFactor: Double
    /// Above this many rotations a frequency is kept.
    public var highFrequencyFactor: Double
    /// Context length of the original training.
    public var oldContextLength: Double

    /// Llama 3.1's published values by default.
    public init(
      lowFrequencyFactor: Double = 1, highFrequencyFactor: Double = 4,
      oldContextLength: Double = 8192
    ) {
      self.lowFrequencyFactor = lowFrequencyFactor
      self.highFrequencyFactor = highFrequencyFactor
      self.oldContextLength = oldContextLength
    }
  }

  /// How elements pair up.
  public var pairing: Pairing
  /// Rotated leading elements; nil rotates the whole head dimension. The rest is untouched.
  public var rotaryDim: Int?
  /// Position scale: frequencies are divided by it.
  public var scale: Double
  /// Base of the frequency progression.
  public var theta: Double
  /// Llama 3.1's smoothing, or nil.
  public var llama31: Llama31?

  /// FlashInfer's `ROPE_LLAMA` by default: halves, scale 1, theta 10⁴.
  public init(
    pairing: Pairing = .half, rotaryDim: Int? = nil, scale: Double = 1, theta: Double = 10_000,
    llama31: Llama31? = nil
  ) {
    self.pairing = pairing
    self.rotaryDim = rotaryDim
    self.scale = scale
    self.theta = theta
    self.llama31 = llama31
  }

  /// Llama 3.1's embedding: scale 8, theta 5·10⁵ and the smoothing.
  public static let llama31Default = RotaryEmbedding(scale: 8, theta: 500_000, llama31: Llama31())

  /// Angle per position of pair `i` among `dim / 2`:
  /// `f = theta^(−2i/dim)`, divided by `scale`; with llama-3.1 smoothing
  /// `s = clamp(f·oldContext / (2π(high − low)) − 1/(high/low − 1), 0, 1)` and
  /// `(1 − s)·f/scale + s·f`.
  public func frequency(_ pair: Int, dim: Int) -> Double {
    let base = pow(theta, -2 * Double(pair) / Double(dim))
    guard let llama31 else { return base / scale }
    let low = llama31.lowFrequencyFactor
    let high = llama31.highFrequencyFactor
    let rotations = base * llama31.oldContextLength / (2 * Double.pi)
    let raw = rotations / (high - low) - 1 / (high / low - 1)
    let smooth = Swift.min(Swift.max(raw, 0), 1)
    return (1 - smooth) * base / scale + smooth * base
  }

  /// The two element indices of pair `i` among `dim / 2`.
  @inlinable public func indices(_ pair: Int, dim: Int) -> (Int, Int) {
    switch pairing {
    case .half: (pair, pair + dim / 2)
    case .interleaved: (2 * pair, 2 * pair + 1)
    }
  }

  /// One line with everything that is not a default.
  public var description: String {
    let dim = rotaryDim.map { ", dim \($0)" } ?? ""
    let smoothing = llama31 == nil ? "" : ", llama31"
    return "rope(\(pairing), scale \(scale), theta \(theta)\(dim)\(smoothing))"
  }
}

extension Validator {
  /// Checks a rotary embedding against the dimension it rotates.
  public mutating func requireRotary(_ rope: RotaryEmbedding, headDim: Int) {
    let dim = rope.rotaryDim ?? headDim
    let before = violations.count
    require(
      dim.isMultiple(of: 2) && dim >= 2 && dim <= headDim,
      "rotaryDim must be even and in 2…\(headDim) (head dimension)", found: "\(dim)")
    require(
      rope.scale.isFinite && rope.scale > 0, "rope scale must be finite and positive",
      found: "\(rope.scale)")
    require(
      rope.theta.isFinite && rope.theta > 0, "rope theta must be finite and positive",
      found: "\(rope.theta)")
    if let llama = rope.llama31 {
      require(
        llama.lowFrequencyFactor > 0 && llama.highFrequencyFactor > llama.lowFrequencyFactor
          && llama.highFrequencyFactor.isFinite,
        "llama31 factors must satisfy 0 < lowFrequencyFactor < highFrequencyFactor",
        found: "\(llama.lowFrequencyFactor) and \(llama.highFrequencyFactor)")
      require(
        llama.oldContextLength.isFinite && llama.oldContextLength > 0,
        "llama31 oldContextLength must be finite and positive", found: "\(llama.oldContextLength)")
    }
    guard violations.count == before else { return }
    // Frequencies are monotonic in the pair: the outer two bound all.
    let greatest = Swift.max(rope.frequency(0, dim: dim), rope.frequency(dim / 2 - 1, dim: dim))
    require(
      (greatest * Double(Int32.max)).isFinite,
      "rope theta and scale must give finite angles at every position",
      found: "\(rope.theta) and \(rope.scale)")
  }
}

/// A merge of attention states over disjoint sets of keys (FlashInfer's ⊕; Ye et al.,
/// "Cascade Inference", and arXiv 2501.01005 §2.2).
///
/// With `m = max(sᵃ, sᵇ)`, `wˣ = 2^(sˣ − m)` (or e^ for natural logarithms):
/// `v = (wᵃvᵃ + wᵇvᵇ) / (wᵃ + wᵇ)`, `s = m + log(wᵃ + wᵇ)`. An empty state (lse of an empty row)
/// contributes nothing, whatever its v holds; two empty states give v = 0 and an empty row.
public struct MergeArguments: Sendable, Hashable {
  /// Which states are merged into which tensors.
  public enum States: Sendable, Hashable {
    /// `v = a ⊕ b`: v tensors `[rows, head, dim]`, s tensors f32 `[rows, head]`.
    case two(
      aV: TensorView, aS: TensorView, bV: TensorView, bS: TensorView, v: TensorView, s: TensorView)
    /// `v ← v ⊕ other` for rows whose mask byte (u8 `[rows]`) is not 0; nil merges every row.
    case inPlace(
      v: TensorView, s: TensorView, otherV: TensorView, otherS: TensorView, mask: TensorView?)
    /// `v = ⊕ᵢ states[:, i]`: `[rows, states, head, dim]` and f32 `[rows, states, head]`. No states
    /// give v = 0 and empty rows.
    case many(states: TensorView, logits: TensorView, v: TensorView, s: TensorView)
  }

  /// The tensors. Inputs share one floating type, the output may have another; s tensors are f32.
  /// An output may be the same view as an input; other overlaps give undefined values.
  public var states: States
  /// Convention of every s tensor, read and written.
  public var convention: LSEConvention

  /// A merge in the given convention.
  public init(_ states: States, convention: LSEConvention = .base2) {
    self.states = states
    self.convention = convention
  }
}

extension MergeArguments {
  /// Whether there is no row or no head to write: other extents may then be anything.
  public var isEmpty: Bool {
    switch states {
    case .two(_, _, _, _, _, let s), .inPlace(_, let s, _, _, _), .many(_, _, _, let s):
      s.shape.contains(0)
    }
  }

  private static let floats: [ScalarType] = [.f32, .f16, .bf16, .e4m3, .e5m2]

  /// Checks every tensor.
  ///
  /// - Throws: `ArgumentError` with every violation; nothing has been written.
  public func validate(memory: MemorySpace, operation: String) throws(ArgumentError) {
    var validator = Validator(operation)
    func place(_ tensors: [(String, TensorView)]) {
      for (name, view) in tensors {
        validator.require(
          view.memory == memory, "\(name) must live in \(memory) memory", found: "\(view.memory)")
      }
    }
    func shape3(_ name: String, _ view: TensorView, _ rank: Int) -> Bool {
      validator.require(
        view.shape.count == rank, "\(name) must have \(rank) dimensions", found: "\(view.shape)")
    }
    switch states {
    case .two(let aV, let aS, let bV, let bS, let v, let s):
      place([("vA", aV), ("sA", aS), ("vB", bV), ("sB", bS), ("v", v), ("s", s)])
      guard shape3("vA", aV, 3) else { break }
      let full = aV.shape.map(Optional.some)
      let rows = Array(full.dropLast())
      validator.requireTensor("vA", aV, Self.floats, shape: full)
      validator.requireTensor("vB", bV, [aV.scalarType], shape: full)
      validator.requireTensor("v", v, Self.floats, shape: full, isOutput: true)
      validator.requireTensor("sA", aS, [.f32], shape: rows, innermostContiguous: false)
      validator.requireTensor("sB", bS, [.f32], shape: rows, innermostContiguous: false)
      validator.requireTensor(
        "s", s, [.f32], shape: rows, isOutput: true, innermostContiguous: false)
    case .inPlace(let v, let s, let otherV, let otherS, let mask):
      place([("v", v), ("s", s), ("vOther", otherV), ("sOther", otherS)])
      guard shape3("v", v, 3) else { break }
      let full = v.shape.map(Optional.some)
      let rows = Array(full.dropLast())
      validator.requireTensor("v", v, Self.floats, shape: full, isOutput: true)
      validator.requireTensor("vOther", otherV, [v.scalarType], shape: full)
      validator.requireTensor(
        "s", s, [.f32], shape: rows, isOutput: true, innermostContiguous: false)
      validator.requireTensor("sOther", otherS, [.f32], shape: rows, innermostContiguous: false)
      if let mask {
        place([("mask", mask)])
        validator.requireTensor(
          "mask", mask, [.u8], shape: [v.shape[0]], innermostContiguous: false)
      }
    case .many(let states, let logits, let v, let s):
      place([("states", states), ("logits", logits), ("v", v), ("s", s)])
      guard shape3("states", states, 4) else { break }
      let full = states.shape.map(Optional.some)
      validator.requireTensor("states", states, Self.floats, shape: full)
      validator.requireTensor(
        "logits", logits, [.f32], shape: Array(full.dropLast()), innermostContiguous: false)
      validator.requireTensor(
        "v", v, Self.floats, shape: [full[0], full[2], full[3]], isOutput: true)
      validator.requireTensor(
        "s", s, [.f32], shape: [full[0], full[2]], isOutput: true, innermostContiguous: false)
    }
    try validator.finish()
  }
}

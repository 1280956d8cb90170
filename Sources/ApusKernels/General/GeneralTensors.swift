internal import ApusCore
internal import ApusNumerics

/// The tensors of a run as the general kernels take them.
struct GeneralTensors {
  private let problem: AttentionProblem
  private let arguments: AttentionArguments
  private let q: [TensorView]
  private let k: [TensorView]
  private let v: TensorView

  init(_ problem: AttentionProblem, _ arguments: AttentionArguments) {
    self.problem = problem
    self.arguments = arguments
    let ckv = problem.latent?.ckv ?? problem.shape.headDimQK
    let width = problem.shape.headDimQK
    switch arguments.q {
    case .packed(let view) where problem.latent != nil:
      q = [view.narrowingLast(0..<ckv), view.narrowingLast(ckv..<width)]
    case .packed(let view): q = [view]
    case .split(let nope, let rope): q = [nope, rope]
    }
    func latent(_ view: TensorView) -> TensorView {
      problem.geometry.insertingHead(
        view, layout: problem.layout, heads: problem.shape.kvHeadCount)
    }
    switch arguments.kv {
    case .separate(let k, let v): (self.k, self.v) = ([k], v)
    case .combined(let view):
      (k, v) = ([view.selecting(0, axis: 1)], view.selecting(1, axis: 1))
    case .latent(let ckv, let kpe): (k, v) = ([latent(ckv), latent(kpe)], latent(ckv))
    case .packedLatent(let view):
      let view = latent(view)
      (k, v) = ([view.narrowingLast(0..<ckv), view.narrowingLast(ckv..<width)], view)
    }
  }

  /// Widths of the parts of a key.
  var keyWidths: [Int] {
    guard let latent = problem.latent else { return [problem.shape.headDimQK] }
    return [latent.ckv, latent.kpe]
  }

  /// Tensors whose rows are read or written in accesses of several elements.
  var rowTensors: [(name: String, view: TensorView)] {
    let names = problem.latent == nil ? [""] : ["Nope", "Rope"]
    var all = zip(names, q).map { (name: "q\($0)", view: $1) }
    all += zip(names, k).map { (name: "k\($0)", view: $1) }
    // A part without width is never read.
    all.removeAll { $0.view.shape.last == 0 }
    return all + [("v", v), ("o", arguments.o)]
  }

  /// q, k and v.
  var operands: [LaunchValue] {
    q.flatMap { [.pointer($0.launchAddress), $0.launchStride(0), $0.launchStride(1)] }
      + k.flatMap(cache) + cache(v)
  }

  /// Address and strides along slab or page, token and head.
  private func cache(_ view: TensorView) -> [LaunchValue] {
    let first = isRagged ? 0 : 1
    let axes = problem.layout == .nhd ? (first, first + 1) : (first + 1, first)
    return [
      .pointer(view.launchAddress), isRagged ? .u64(0) : view.launchStride(0),
      view.launchStride(axes.0), view.launchStride(axes.1),
    ]
  }

  private var isRagged: Bool {
    if case .ragged = problem.geometry { return true }
    return false
  }

  /// Scales of q and k.
  var scales: [LaunchValue] {
    let scales = arguments.scales
    var values = headValue(scales.q) + headValue(scales.k)
    if problem.latent != nil { values += headValue(scales.kpe == .one ? scales.k : scales.kpe) }
    return values
  }

  /// Scales of k and of v per token and head, nothing where there are none. The values of a latent
  /// have its scale.
  var tokenScales: [LaunchValue] {
    var v = arguments.scales.v
    if problem.latent != nil, case .one = v { v = arguments.scales.k }
    return [arguments.scales.k, v].flatMap { scale -> [LaunchValue] in
      guard case .tokenHead(let view) = scale else {
        return [.pointer(0), .u64(0), .u64(0), .u64(0)]
      }
      return cache(view)
    }
  }

  /// Whether k or v has scales per token and head.
  var hasTokenScales: Bool {
    [arguments.scales.k, arguments.scales.v].contains {
      if case .tokenHead = $0 { true } else { false }
    }
  }

  private func headValue(_ scale: Scale) -> [LaunchValue] {
    switch scale {
    case .one, .tokenHead: [.f32(1), .pointer(0)]
    case .tensor(let value): [.f32(value), .pointer(0)]
    case .head(let view): [.f32(1), .pointer(view.launchAddress)]
    }
  }

  /// Where results go.
  func finish(partialO: LaunchValue, partialStates: LaunchValue) -> [LaunchValue] {
    let o = arguments.o
    var values: [LaunchValue] = [
      .pointer(o.launchAddress), o.launchStride(0), o.launchStride(1),
    ]
    if let lse = arguments.lse {
      values += [
        .pointer(lse.launchAddress), lse.launchStride(0), lse.launchStride(1), .u32(1),
      ]
    } else {
      values += [.pointer(0), .u64(0), .u64(0), .u32(0)]
    }
    let convention = problem.lseConvention
    let isEmptyNegative = convention.emptyRow == .negativeInfinity
    values += [
      .f32(convention.base == .two ? 1 : Float(GeneralAttention.ln2)),
      .f32(isEmptyNegative ? -.infinity : .infinity),
      .pointer(arguments.sinks?.launchAddress ?? 0),
    ]
    // The values of a latent have its scale.
    values += headValue(problem.latent == nil ? arguments.scales.v : arguments.scales.k)
    values += headValue(arguments.scales.o)
    return values + [
      partialO, partialStates, .u32(UInt32(problem.shape.headDimVO)),
      .u32(UInt32(GeneralStorage.code(problem.types.o))),
    ]
  }
}

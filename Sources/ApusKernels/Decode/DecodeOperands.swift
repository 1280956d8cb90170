internal import ApusCore
internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// The tensors of a run as the kernel's parameters.
struct DecodeOperands {
  let problem: AttentionProblem
  let arguments: AttentionArguments
  let q, k, v: TensorView

  /// nil for the operands of MLA.
  init?(_ problem: AttentionProblem, _ arguments: AttentionArguments) {
    guard case .packed(let q) = arguments.q else { return nil }
    switch arguments.kv {
    case .separate(let k, let v): (self.k, self.v) = (k, v)
    case .combined(let view):
      (k, v) = (view.selecting(0, axis: 1), view.selecting(1, axis: 1))
    case .latent, .packedLatent: return nil
    }
    self.q = q
    self.problem = problem
    self.arguments = arguments
  }

  // MARK: - Requirements

  /// Strides of tensor maps are below this (cuTensorMapEncodeTiled).
  private static let strideLimit = 1 << 40

  /// The first requirement that the tensors break.
  func refusal(_ kernel: DecodeKernel) -> String? {
    var rule = AccessRule()
    let isTensor = kernel.arithmetic == .tensorCores
    rule.requireAligned("q", q, bytes: isTensor ? (kernel.isFP8 ? 8 : 4) : 16)
    rule.requireAligned("k", k, bytes: 16)
    rule.requireAligned("v", v, bytes: 16)
    rule.requireAligned("o", arguments.o, bytes: kernel.outputType == .f32 ? 16 : 8)
    for (name, view) in [("k", k), ("v", v)] {
      let axes = axes(view)
      rule.require(
        axes.token > 0 && axes.token < Self.strideLimit && axes.head > 0
          && axes.head < Self.strideLimit && axes.outer >= 0,
        "tokens and heads of \(name) must lie apart, by less than 2^40 bytes",
        found: "strides \(view.strides)")
    }
    if rule.violation != nil { return rule.violation.map { "decode: \($0)" } }
    for (name, scale) in [("kScale", arguments.scales.k), ("vScale", arguments.scales.v)] {
      if case .tokenHead = scale {
        rule.require(false, "\(name) must be per tensor or head", found: "\(scale)")
      }
    }
    for (name, view) in [("q", q), ("o", arguments.o), ("lse", arguments.lse ?? q)] {
      rule.require(
        view.strides.prefix(2).allSatisfy { $0 <= Int(UInt32.max) },
        "strides of \(name) must fit 32 bits", found: "\(view.strides)")
    }
    if tensorMapRefusal(kernel) != nil {
      // The other loader counts 16 bytes in 32 bits.
      for (name, view) in [("k", k), ("v", v)] {
        rule.require(
          view.byteCount / 16 <= Int(UInt32.max), "\(name) must be at most 64 GiB",
          found: "\(view.byteCount) bytes")
      }
    }
    return rule.violation.map { "decode: \($0)" }
  }

  /// Why tensor copies cannot read K and V where they lie.
  private func tensorMapRefusal(_ kernel: DecodeKernel) -> String? {
    guard kernel.loader == .tensorMap else { return "the plan has none" }
    let (key, value) = (axes(k), axes(v))
    for outer in [key.outer, value.outer] where !(1..<Self.strideLimit).contains(outer) {
      return "requests must lie apart, by less than 2^40 bytes; found \(outer)"
    }
    guard kernel.isPaged else { return nil }
    for axes in [key, value] where axes.outer % (16 * axes.token) != 0 {
      return "pages must be whole multiples of 16 token strides apart; found \(axes.outer)"
    }
    return key.outer / key.token == value.outer / value.token
      ? nil : "pages of K and V must be equally many tokens apart"
  }

  /// The plan's kernel with what only the tensors tell.
  func kernel(for plan: DecodePlan) -> DecodeKernel {
    var kernel = plan.kernel
    if kernel.loader == .tensorMap, tensorMapRefusal(kernel) != nil {
      kernel.loader = .gather
      kernel.tilesPerBox = 1
      kernel.overlaps = false
      kernel.lookahead = .step
      kernel.prefetchesQueries = false
      kernel.keepsKeys = false
      kernel.dependents = .start
    }
    kernel.hasSinks = arguments.sinks != nil
    let scales = arguments.scales
    kernel.hasHeadScales = [scales.q, scales.k, scales.v, scales.o].contains { scale in
      if case .head = scale { true } else { false }
    }
    return kernel
  }

  // MARK: - Layout

  /// Bytes between neighbours along the axes of K or V: page or request, token, head.
  private func axes(_ view: TensorView) -> (outer: Int, token: Int, head: Int) {
    let bytes = view.scalarType.byteCount
    let width = bytes * (view.shape.last ?? 0)
    func stride(_ axis: Int, or other: Int) -> Int {
      view.shape[axis] > 1 ? view.strides[axis] * bytes : other
    }
    let hasOuter = view.shape.count == 4
    let first = hasOuter ? 1 : 0
    let (token, head) = problem.layout == .nhd ? (first, first + 1) : (first + 1, first)
    let tokenStride = stride(token, or: width)
    // Any multiple of 16 tokens does where there is one page.
    let outer = hasOuter ? stride(0, or: tokenStride * 16 * max(1, pageTiles)) : 16 * tokenStride
    return (outer, tokenStride, stride(head, or: width))
  }

  private var pageTiles: Int {
    if case .paged(let table) = problem.geometry { return table.pageSize / 16 }
    return 1
  }

  private func tensorMap(_ view: TensorView, _ kernel: DecodeKernel) -> TensorMapLayout {
    let axes = axes(view)
    let size = kernel.cacheType.byteCount
    let panel = kernel.swizzle.rowBytes
    var rows = 16
    var outer = 1
    var outerStride = 16 * axes.token
    switch problem.geometry {
    case .paged:
      outer = max(0, (view.shape.first ?? 0) - 1) * (axes.outer / (16 * axes.token)) + pageTiles
    case .padded(let length, let lengths):
      rows = max(1, length)
      outer = max(1, lengths.count)
      outerStride = axes.outer
    case .ragged:
      rows = max(1, view.shape[problem.layout == .nhd ? 0 : 1])
    }
    let element: TensorMapLayout.Element =
      switch kernel.cacheType {
      case .f16: .f16
      case .bf16: .bf16
      case .f32: .f32
      default: .u8
      }
    return TensorMapLayout(
      element, address: view.launchAddress,
      sizes: [panel / size, rows, kernel.panels, problem.shape.kvHeadCount, outer],
      byteStrides: [axes.token, panel, axes.head, outerStride],
      box: [panel / size, 16, kernel.panels, 1, kernel.tilesPerBox], swizzle: kernel.swizzle)
  }

  // MARK: - Values

  /// One for each parameter, in the order of `DecodeParameters`.
  func values(_ plan: DecodePlan, _ kernel: DecodeKernel) -> [LaunchValue] {
    var values: [LaunchValue] =
      kernel.loader == .tensorMap
      ? [.tensorMap(tensorMap(k, kernel)), .tensorMap(tensorMap(v, kernel))]
      : [.pointer(k.launchAddress), .pointer(v.launchAddress)]
    let o = arguments.o
    let lse = arguments.lse
    values += [
      .pointer(q.launchAddress), .pointer(o.launchAddress), .pointer(lse?.launchAddress ?? 0),
      .metadata(byteOffset: plan.layout.items), .metadata(byteOffset: plan.layout.pages),
      .metadata(byteOffset: plan.layout.seeds), .workspace(byteOffset: 0),
      .workspace(byteOffset: plan.weightOffset), .metadata(byteOffset: plan.counterOffset),
      u32(problem.shape.groupSize),
    ]
    let queryElements = 4 / kernel.queryType.byteCount
    let outputElements = 4 / kernel.outputType.byteCount
    values += [u32(stride(q, 0) / queryElements), u32(stride(q, 1) / queryElements)]
    values += [u32(stride(o, 0) / outputElements), u32(stride(o, 1) / outputElements)]
    values += [u32(lse.map { stride($0, 0) } ?? 0), u32(lse.map { stride($0, 1) } ?? 0)]
    values += pageValues(kernel)
    values += scaleValues(plan, kernel)
    return values
  }

  private func u32(_ value: Int) -> LaunchValue { .u32(UInt32(truncatingIfNeeded: value)) }

  /// Elements between neighbours; 0 where there are none.
  private func stride(_ view: TensorView, _ axis: Int) -> Int {
    view.shape[axis] > 1 ? view.strides[axis] : 0
  }

  private func pageValues(_ kernel: DecodeKernel) -> [LaunchValue] {
    var length = 1
    if case .paged(let table) = problem.geometry {
      length = kernel.loader == .tensorMap ? table.pageSize / 16 : table.pageSize
    }
    // ⌊n / length⌋ = ⌊(n + 1) · reciprocal / 2^32⌋ while n · length < 2^32.
    let (key, value) = (axes(k), axes(v))
    var result = [
      u32(length), u32(Int(UInt32.max) / length), u32(key.outer / (16 * key.token)),
    ]
    if kernel.loader == .gather {
      for axes in [key, value] {
        result += [u32(axes.outer / 16), u32(axes.token / 16), u32(axes.head / 16)]
      }
    }
    return result
  }

  private func scaleValues(_ plan: DecodePlan, _ kernel: DecodeKernel) -> [LaunchValue] {
    func number(_ scale: Scale) -> Double {
      if case .tensor(let value) = scale { Double(value) } else { 1 }
    }
    func pointer(_ scale: Scale) -> LaunchValue {
      if case .head(let view) = scale { .pointer(view.launchAddress) } else { .pointer(0) }
    }
    let scales = arguments.scales
    let log2e = 1.442_695_040_888_963_4
    let score = Double(problem.softmaxScale) * number(scales.q) * number(scales.k)
    let cap = problem.modification.activeSoftCap.map(Double.init)
    let convention = problem.lseConvention
    var values: [LaunchValue] = [
      .f32(Float((cap ?? score) * log2e)), .f32(Float(number(scales.v) / number(scales.o))),
      .f32(convention.base == .two ? 1 : 0.693_147_18),
      .f32(convention.emptyRow == .negativeInfinity ? -.infinity : .infinity),
    ]
    if kernel.hasRanges {
      // Beyond every key, and small enough that a position less it does not wrap.
      let unlimited = Int(Int32.max) - 0xFFFF
      let window = min(problem.mask.windowLeft ?? unlimited, unlimited)
      values += [
        .s32(Int32(truncatingIfNeeded: window)), .u32(problem.mask.isCausal ? 1 : 0),
      ]
    }
    if kernel.hasSoftCap { values.append(.f32(Float(2 * log2e * score / (cap ?? 1)))) }
    if kernel.hasSlopes { values.append(.metadata(byteOffset: plan.layout.slopes)) }
    if kernel.mask != nil { values.append(.metadata(byteOffset: plan.layout.mask)) }
    if let sinks = arguments.sinks { values.append(.pointer(sinks.launchAddress)) }
    if kernel.hasHeadScales {
      values += [pointer(scales.q), pointer(scales.k), pointer(scales.v), pointer(scales.o)]
    }
    return values
  }
}

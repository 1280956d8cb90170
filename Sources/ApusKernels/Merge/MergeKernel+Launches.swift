public import ApusCore
public import ApusIR
internal import ApusNumerics

extension MergeKernel {
  /// The configuration for validated arguments: 16-byte accesses where every row of v allows them,
  /// else one element at a time.
  public static func selection(for arguments: MergeArguments) -> KernelSelection<MergeKernel> {
    let tensors = Tensors(arguments)
    func kernel(width: Int) -> MergeKernel {
      MergeKernel(
        form: tensors.form, input: tensors.input, output: tensors.output,
        convention: arguments.convention, width: width, dim: tensors.dim)
    }
    let wide = kernel(width: 16 / tensors.input.byteCount)
    var rule = AccessRule()
    rule.require(
      tensors.dim.isMultiple(of: wide.width),
      "the head dimension must be a multiple of \(wide.width)",
      found: "\(tensors.dim)")
    for (name, view) in tensors.inputs { rule.requireAligned(name, view, bytes: 16) }
    rule.requireAligned("v", tensors.v, bytes: min(16, wide.outputBytes))
    guard let reason = rule.violation else { return KernelSelection(kernel: wide, rejected: []) }
    return KernelSelection(
      kernel: kernel(width: 1),
      rejected: [KernelRejection(symbol: wide.symbol, reason: reason)])
  }

  /// The launches of a validated merge; none when there is nothing to write.
  ///
  /// - Parameter target: the GPU; from sm_90a on, launches overlap their predecessors.
  public static func launches(for arguments: MergeArguments, target: Target) -> LaunchPlan {
    guard !arguments.isEmpty else { return LaunchPlan() }
    let kernel = selection(for: arguments).kernel
    let tensors = Tensors(arguments)
    var plan = LaunchPlan()
    // Cells of a launch are counted, times their lanes, in 32 bits.
    let limit = (1 << 31) / kernel.lanes
    let headStep = min(tensors.heads, limit)
    let rowStep = max(1, limit / headStep)
    for head in stride(from: 0, to: tensors.heads, by: headStep) {
      let heads = min(headStep, tensors.heads - head)
      for row in stride(from: 0, to: tensors.rows, by: rowStep) {
        let cells = min(rowStep, tensors.rows - row) * heads
        let blocks = (cells * kernel.lanes + threads - 1) / threads
        plan.launches.append(
          KernelLaunch(
            kernel, grid: LaunchGrid(blocks),
            values: tensors.values(row: row, head: head) + [
              .u32(UInt32(heads)), .u32(UInt32(cells)),
              .u32(UInt32(tensors.dim / kernel.width)),
            ], overlapsPredecessor: target >= .sm90a))
      }
    }
    return plan
  }

  /// The arguments in one form.
  private struct Tensors {
    let form: Form
    let inputs: [(name: String, view: TensorView)]
    let logits: [TensorView]
    let v: TensorView
    let s: TensorView
    let mask: TensorView?

    init(_ arguments: MergeArguments) {
      switch arguments.states {
      case .two(let aV, let aS, let bV, let bS, let v, let s):
        (form, inputs, logits) = (.pair, [("vA", aV), ("vB", bV)], [aS, bS])
        (self.v, self.s, mask) = (v, s, nil)
      case .inPlace(let v, let s, let otherV, let otherS, let mask):
        form = mask == nil ? .pair : .maskedPair
        (inputs, logits) = ([("v", v), ("vOther", otherV)], [s, otherS])
        (self.v, self.s, self.mask) = (v, s, mask)
      case .many(let states, let logits, let v, let s):
        (form, inputs, self.logits) = (.many, [("states", states)], [logits])
        (self.v, self.s, mask) = (v, s, nil)
      }
    }

    var rows: Int { v.shape[0] }
    var heads: Int { v.shape[1] }
    var dim: Int { v.shape[2] }
    // Validated tensors of states are floating point.
    var input: ElementType { inputs[0].view.elementType ?? .f32 }
    var output: ElementType { v.elementType ?? .f32 }

    /// Parameters of a state: pointers from a row and head on, strides in bytes.
    private func state(
      _ v: TensorView, _ s: TensorView, row: Int, head: Int, headAxis: Int
    ) -> [LaunchValue] {
      func pointer(_ view: TensorView) -> LaunchValue {
        let skip = row * view.strides[0] + head * view.strides[headAxis]
        return .pointer(view.launchAddress + UInt64(skip * view.scalarType.byteCount))
      }
      return [
        pointer(v), v.launchStride(0), v.launchStride(headAxis), pointer(s), s.launchStride(0),
        s.launchStride(headAxis),
      ]
    }

    func values(row: Int, head: Int) -> [LaunchValue] {
      let merged = state(v, s, row: row, head: head, headAxis: 1)
      if form == .many {
        let (states, s) = (inputs[0].view, logits[0])
        return state(states, s, row: row, head: head, headAxis: 2)
          + [states.launchStride(1), s.launchStride(1)] + merged
          + [.u32(UInt32(clamping: states.shape[1]))]
      }
      var values = zip(inputs, logits).flatMap {
        state($0.view, $1, row: row, head: head, headAxis: 1)
      }
      values += merged
      if let mask {
        let stride = mask.shape[0] > 1 ? mask.strides[0] : 0
        values += [
          .pointer(mask.launchAddress + UInt64(row * stride)), .u64(UInt64(stride)),
        ]
      }
      return values
    }
  }
}

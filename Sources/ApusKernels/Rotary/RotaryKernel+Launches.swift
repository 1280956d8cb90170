public import ApusCore
public import ApusIR
internal import ApusNumerics

extension RotaryKernel {
  /// The configuration of one of the two tensors: 16-byte accesses where every row allows them, else
  /// one pair at a time. `isQuery` false is k.
  public static func selection(
    for arguments: RotaryArguments, isQuery: Bool
  ) -> KernelSelection<RotaryKernel> {
    let input = isQuery ? arguments.q : arguments.k
    let output = isQuery ? arguments.qOut : arguments.kOut
    let type = input.elementType ?? .f32
    let half = arguments.rotaryDim / 2
    let pairing: RotaryEmbedding.Pairing
    let angles: Angles
    var table: TensorView?
    switch arguments.source {
    case .frequencies(let rope): (pairing, angles) = (rope.pairing, .computed)
    case .cosSinCache(let view, let given): (pairing, angles, table) = (given, .table, view)
    }
    func kernel(width: Int) -> RotaryKernel {
      RotaryKernel(
        type: type, pairing: pairing, angles: angles, width: width, rotaryDim: 2 * half,
        positions: arguments.positionTensor?.scalarType == .i64 ? .i64 : .i32)
    }
    let wide = kernel(width: 16 / type.byteCount)
    var rule = AccessRule()
    rule.require(
      half.isMultiple(of: wide.width), "rotaryDim must be a multiple of \(2 * wide.width)",
      found: "\(2 * half)")
    let rest = (input.shape.last ?? 0) - 2 * half
    rule.require(
      input == output || rest.isMultiple(of: wide.width),
      "elements behind rotaryDim must be a multiple of \(wide.width)", found: "\(rest)")
    let name = isQuery ? "q" : "k"
    rule.requireAligned(name, input, bytes: 16)
    rule.requireAligned("\(name)Out", output, bytes: 16)
    if let table { rule.requireAligned("cosSinCache", table, bytes: 16) }
    guard let reason = rule.violation else { return KernelSelection(kernel: wide, rejected: []) }
    return KernelSelection(
      kernel: kernel(width: 1),
      rejected: [KernelRejection(symbol: wide.symbol, reason: reason)])
  }

  /// The launches of a validated rotation: one where q and k share a configuration, else one each.
  ///
  /// - Parameters:
  ///   - devicePositions: address of the positions as i32 where they are in device memory already;
  ///     nil for those that the arguments have there, else the plan's metadata holds them.
  ///   - fractions: address of `fractions(for:)` where they are in device memory already; else the
  ///     plan's metadata holds them.
  ///   - target: the GPU; from sm_90a on, launches overlap their predecessors.
  public static func launches(
    for arguments: RotaryArguments, devicePositions: UInt64? = nil, fractions: UInt64? = nil,
    target: Target
  ) -> LaunchPlan {
    var plan = LaunchPlan()
    guard arguments.rowCount > 0 else { return plan }
    let given = arguments.positionTensor
    let devicePositions = devicePositions ?? given?.launchAddress
    let positionBytes = given?.scalarType.byteCount ?? 4
    let query = Part(arguments.q, arguments.qOut)
    let key = Part(arguments.k, arguments.kOut)
    var rounds: [(RotaryKernel, Part, Part)] = []
    let kernels = [true, false].map { selection(for: arguments, isQuery: $0).kernel }
    if kernels[0] == kernels[1] || key.heads == 0 {
      rounds = [(kernels[0], query, key)]
    } else if query.heads == 0 {
      rounds = [(kernels[1], query, key)]
    } else {
      rounds = [(kernels[0], query, key.withoutHeads), (kernels[1], query.withoutHeads, key)]
    }
    rounds.removeAll { $0.1.heads + $0.2.heads == 0 || $0.1.dim == 0 }
    guard !rounds.isEmpty else { return plan }
    let positions =
      devicePositions.map { LaunchValue.pointer($0) }
      ?? plan.place(arguments.positions.map { UInt32(truncatingIfNeeded: $0) })
    let angles: [LaunchValue]
    switch arguments.source {
    case .frequencies(let rope):
      angles = [
        fractions.map { .pointer($0) }
          ?? plan.place(Self.fractions(of: rope, rotaryDim: arguments.rotaryDim))
      ]
    case .cosSinCache(let table, _):
      angles = [.pointer(table.launchAddress), table.launchStride(0)]
    }
    for (kernel, query, key) in rounds {
      let groups = (query.heads + key.heads + headsAtOnce - 1) / headsAtOnce
      let step = max(1, (1 << 31) / kernel.lanes / groups)
      let rest = query.dim - arguments.rotaryDim
      // In place, what is not rotated is where it belongs.
      let copied = query.isInPlace && key.isInPlace ? 0 : rest
      for row in stride(from: 0, to: arguments.rowCount, by: step) {
        let cells = min(step, arguments.rowCount - row) * groups
        var values = [positions.advanced(byBytes: positionBytes * row)] + angles
        values += query.values(row: row) + key.values(row: row)
        values += [
          .u32(UInt32(arguments.rotaryDim / 2 / kernel.width)),
          .u32(UInt32(copied / kernel.width)), .u32(UInt32(groups)), .u32(UInt32(cells)),
        ]
        plan.launches.append(
          KernelLaunch(
            kernel, grid: LaunchGrid((cells * kernel.lanes + threads - 1) / threads),
            values: values, overlapsPredecessor: target >= .sm90a))
      }
    }
    return plan
  }

  /// What the kernels multiply positions with: the pairs' fractions of a turn.
  public static func fractions(of rope: RotaryEmbedding, rotaryDim: Int) -> [UInt64] {
    (0..<rotaryDim / 2).map { TurnFraction.fraction(rope.frequency($0, dim: rotaryDim)) }
  }

  /// q or k with where it goes.
  private struct Part {
    let input: TensorView
    let output: TensorView
    var heads: Int

    init(_ input: TensorView, _ output: TensorView) {
      (self.input, self.output, heads) = (input, output, input.shape[1])
    }

    var dim: Int { input.shape[2] }
    var isInPlace: Bool { input == output || heads == 0 }

    var withoutHeads: Part {
      var part = self
      part.heads = 0
      return part
    }

    func values(row: Int) -> [LaunchValue] {
      [input, output].flatMap { view -> [LaunchValue] in
        // An operand without heads is not read; its address may be unaligned for the kernel.
        if heads == 0 { return [.pointer(0), .u64(0), .u64(0)] }
        let skip = UInt64(row * view.strides[0] * view.scalarType.byteCount)
        return [
          .pointer(view.launchAddress + skip), view.launchStride(0), view.launchStride(1),
        ]
      } + [.u32(UInt32(heads))]
    }
  }
}

extension LaunchValue {
  /// An address further on; other values stay.
  func advanced(byBytes bytes: Int) -> LaunchValue {
    switch self {
    case .pointer(let address): .pointer(address + UInt64(bytes))
    case .metadata(let offset): .metadata(byteOffset: offset + bytes)
    case .workspace(let offset): .workspace(byteOffset: offset + bytes)
    default: self
    }
  }
}

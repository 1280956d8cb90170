internal import ApusCore
internal import ApusNumerics

extension MalformedCall {
  private typealias Change =
    @Sendable (inout AttentionProblem, inout AttentionArguments) -> Void

  /// Well-formed calls to break.
  private enum Base { case ragged, csr, blockTable, padded, mla }

  private static func base(_ base: Base) -> AttentionCase {
    let form: CacheForm =
      switch base {
      case .ragged: .ragged
      case .csr, .mla: .csr(pageSize: 4)
      case .blockTable: .blockTable(pageSize: 4)
      case .padded: .padded
      }
    let latent = base == .mla ? LatentShape(ckv: 32, kpe: 8) : nil
    let shape =
      base == .mla
      ? AttentionShape(qoHeadCount: 4, kvHeadCount: 1, headDimQK: 40, headDimVO: 32)
      : AttentionShape(qoHeadCount: 4, kvHeadCount: 2, headDimQK: 16)
    return AttentionCase(
      use: .pagedPrefill, shape: shape, types: AttentionTypes(q: .bf16), latent: latent,
      qoLengths: [2, 1], kvLengths: [9, 6], form: form, layout: .nhd, isCombined: false,
      hasSplitQueries: false, sharesPages: false, hasGaps: false, isShifted: false,
      hasUnownedRows: false, isCausal: true, windowLeft: nil, customMask: nil, softmaxScale: nil,
      softCap: nil, hasAlibi: false, rope: nil, hasSinks: true, qScale: .head,
      kScale: base == .mla ? .head : .tokenHead, vScale: .head, oScale: .head, saturates: false,
      hasLSE: true, convention: .base2, options: ExecutionOptions(), givesWorkspace: false)
  }

  private static func attention(
    _ kind: Base, _ name: String, _ change: @escaping Change
  ) -> MalformedCall {
    MalformedCall("attention with \(name)") { backend in
      let tensors = AttentionTensors(base(kind), random: CaseRandom(seed: 3, stream: 3))
      var (problem, arguments) = (tensors.problem, tensors.arguments)
      change(&problem, &arguments)
      return withExtendedLifetime(tensors) {
        expectRefusal(of: tensors.memory) { () throws(ApusError) in
          let plan = try backend.plan(problem, operation: "malformed")
          try backend.run(
            plan, arguments, workspace: nil, on: .synchronous, operation: "malformed")
        }
      }
    }
  }

  private static func shape(_ qo: Int, _ kv: Int, _ qk: Int, _ vo: Int) -> Change {
    { problem, _ in
      problem.shape = AttentionShape(
        qoHeadCount: qo, kvHeadCount: kv, headDimQK: qk, headDimVO: vo)
    }
  }

  private static func table(
    _ indptr: [Int], _ indices: [Int32], _ last: [Int32], pageSize: Int = 4
  ) -> Change {
    { problem, _ in
      problem.geometry = .paged(
        PageTable(
          pageSize: pageSize, indptr: RaggedIndptr(indptr), indices: indices,
          lastPageLength: last))
    }
  }

  private static func blocks(_ blocks: [Int32], _ width: Int, _ lengths: [Int]) -> Change {
    { problem, _ in
      problem.geometry = .paged(
        PageTable(pageSize: 4, blocks: blocks, pagesPerRequest: width, lengths: lengths))
    }
  }

  /// Problems that no tensors can make good.
  static let attentionProblems: [MalformedCall] = [
    attention(.ragged, "query heads that KV heads do not divide", shape(5, 2, 16, 16)),
    attention(.ragged, "no query heads", shape(0, 2, 16, 16)),
    attention(.ragged, "no KV heads", shape(4, 0, 16, 16)),
    attention(.ragged, "a head dimension of 12", shape(4, 2, 12, 16)),
    attention(.ragged, "a head dimension of 584", shape(4, 2, 584, 16)),
    attention(.ragged, "a value dimension of 520", shape(4, 2, 16, 520)),
    attention(.mla, "a latent that does not add up", shape(4, 1, 48, 32)),
    attention(.mla, "values wider than ckv", shape(4, 1, 40, 33)),
    attention(.ragged, "no offsets") { problem, _ in problem.qoIndptr = RaggedIndptr([Int]()) },
    attention(.ragged, "decreasing query offsets") { problem, _ in
      problem.qoIndptr = RaggedIndptr([0, 3, 2])
    },
    attention(.ragged, "a negative first offset") { problem, _ in
      problem.qoIndptr = RaggedIndptr([-1, 2, 3])
    },
    attention(.ragged, "decreasing KV offsets") { problem, _ in
      problem.geometry = .ragged(RaggedIndptr([0, 9, 8]))
    },
    attention(.ragged, "KV of another batch") { problem, _ in
      problem.geometry = .ragged(RaggedIndptr([0, 15]))
    },
    attention(.padded, "a length above the maximum") { problem, _ in
      problem.geometry = .padded(maxLength: 9, lengths: [10, 6])
    },
    attention(.padded, "a negative length") { problem, _ in
      problem.geometry = .padded(maxLength: 9, lengths: [9, -1])
    },
    attention(.csr, "decreasing page offsets", table([0, 3, 2], [0, 1, 2, 3, 4], [1, 2])),
    attention(
      .csr, "page offsets beyond the indices", table([0, 3, 6], [0, 1, 2, 3, 4], [1, 2])),
    attention(.csr, "a page outside the cache", table([0, 3, 5], [0, 1, 2, 3, 1 << 20], [1, 2])),
    attention(.csr, "a negative page in use", table([0, 3, 5], [0, -1, 2, 3, 4], [1, 2])),
    attention(.csr, "a last page of length 0", table([0, 3, 5], [0, 1, 2, 3, 4], [0, 2])),
    attention(.csr, "a last page longer than a page", table([0, 3, 5], [0, 1, 2, 3, 4], [5, 2])),
    attention(.csr, "too few last page lengths", table([0, 3, 5], [0, 1, 2, 3, 4], [1])),
    attention(.csr, "pages of size 0", table([0, 3, 5], [0, 1, 2, 3, 4], [1, 2], pageSize: 0)),
    attention(.blockTable, "a block table of the wrong size", blocks([0, 1, 2, 3, 4], 3, [9, 6])),
    attention(.blockTable, "a length beyond its blocks", blocks([0, 1, 2, 3, 4, 0], 3, [13, 6])),
    attention(.blockTable, "a negative block in use", blocks([0, 1, -1, 3, 4, 0], 3, [9, 6])),
    attention(.blockTable, "a block outside the cache", blocks([0, 1, 99, 3, 4, 0], 3, [9, 6])),
    attention(.ragged, "a negative window") { problem, _ in problem.mask.windowLeft = -1 },
    attention(.ragged, "a custom mask that is too short") { problem, _ in
      problem.mask.custom = CustomMask(bytes: [1, 2, 3], byteIndptr: RaggedIndptr([0, 2, 3]))
    },
    attention(.ragged, "mask offsets beyond the mask") { problem, _ in
      problem.mask.custom = CustomMask(bytes: [1, 2, 3], byteIndptr: RaggedIndptr([0, 3, 9]))
    },
    attention(.ragged, "an infinite softmax scale") { problem, _ in
      problem.modification.softmaxScale = .infinity
    },
    attention(.ragged, "a NaN softmax scale") { problem, _ in
      problem.modification.softmaxScale = .nan
    },
    attention(.ragged, "a negative soft cap") { problem, _ in
      problem.modification.logitsSoftCap = -1
    },
    attention(.ragged, "too few ALiBi slopes") { problem, _ in
      problem.modification.alibiSlopes = [1]
    },
    attention(.ragged, "a NaN ALiBi slope") { problem, _ in
      problem.modification.alibiSlopes = [1, .nan, 1, 1]
    },
    attention(.ragged, "an odd rotary dimension") { problem, _ in
      problem.modification.rope = RotaryEmbedding(rotaryDim: 7)
    },
    attention(.ragged, "a rotary scale of 0") { problem, _ in
      problem.modification.rope = RotaryEmbedding(scale: 0)
    },
    attention(.mla, "RoPE over a latent") { problem, _ in
      problem.modification.rope = RotaryEmbedding()
    },
    attention(.ragged, "a split size of 0") { problem, _ in problem.options.splitSize = 0 },
    attention(.ragged, "a NaN tolerance") { problem, _ in
      problem.options.precision = .automatic(tolerance: .nan)
    },
  ]

  /// Each tensor of a good call broken in each way, and wrong operands.
  static let attentionTensors: [MalformedCall] =
    brokenTensors + [
      attention(.csr, "an infinite scale") { _, arguments in
        arguments.scales.q = .tensor(.infinity)
      },
      attention(.csr, "a NaN scale") { _, arguments in arguments.scales.v = .tensor(.nan) },
      attention(.csr, "a scale of 0") { _, arguments in arguments.scales.o = .tensor(0) },
      attention(.csr, "a negative scale") { _, arguments in arguments.scales.k = .tensor(-1) },
      attention(.csr, "a token-head scale of q") { _, arguments in
        arguments.scales.q = arguments.scales.k
      },
      attention(.csr, "a kpe scale without a latent") { _, arguments in
        arguments.scales.kpe = .tensor(2)
      },
      attention(.mla, "a v scale over a latent") { _, arguments in
        arguments.scales.v = .tensor(2)
      },
      attention(.csr, "a latent operand without a latent") { _, arguments in
        if case .separate(let k, _) = arguments.kv { arguments.kv = .packedLatent(k) }
      },
      attention(.mla, "K and V for a latent") { _, arguments in
        if case .latent(let ckv, let kpe) = arguments.kv {
          arguments.kv = .separate(k: ckv, v: kpe)
        }
      },
      attention(.ragged, "combined KV without pages") { _, arguments in
        if case .separate(let k, _) = arguments.kv { arguments.kv = .combined(k) }
      },
      attention(.csr, "queries of too few rows") { _, arguments in
        if case .packed(let q) = arguments.q {
          arguments.q = .packed(q.replacing(shape: [2] + q.shape.dropFirst()))
        }
      },
      attention(.csr, "an output of too few rows") { _, arguments in
        arguments.o = arguments.o.replacing(shape: [2] + arguments.o.shape.dropFirst())
      },
      attention(.csr, "an output with a zero stride") { _, arguments in
        let strides = [arguments.o.strides[0], 0, 1]
        arguments.o = arguments.o.replacing(strides: strides)
      },
      attention(.csr, "an output that is not contiguous") { _, arguments in
        arguments.o = arguments.o.replacing(strides: [2, 1, 2])
      },
      workspace("one byte short", shortBy: 1), workspace("of another device", shortBy: 0),
      foreignPlan,
    ]

  private static let names = ["q", "k", "v", "o", "lse", "sinks", "qScale", "kScale", "vScale"]

  private static var brokenTensors: [MalformedCall] {
    names.flatMap { name in
      TensorView.Malformation.allCases.map { way in
        attention(.csr, "\(name) having \(way.rawValue)") { _, arguments in
          arguments.replace(name) { $0.broken(way) }
        }
      }
    }
  }

  private static func workspace(_ name: String, shortBy: Int) -> MalformedCall {
    MalformedCall("attention with a workspace \(name)") { backend in
      // Long and narrow, so that a back end that splits wants a workspace.
      var source = base(.csr)
      source.kvLengths = [3000, 2000]
      source.options.splitSize = 64
      let tensors = AttentionTensors(source, random: CaseRandom(seed: 3, stream: 3))
      return withExtendedLifetime(tensors) {
        let plan: any AttentionPlan
        do throws(ApusError) {
          plan = try backend.plan(tensors.problem, operation: "malformed")
        } catch .unsupported(let error) {
          return .skipped(reason: error.requested)
        } catch {
          return .failed(["a well-formed problem was refused: \(error)"])
        }
        guard plan.workspaceByteCount > 0 else {
          return .skipped(reason: "a plan without a workspace")
        }
        let size = plan.workspaceByteCount - shortBy
        var space = tensors.memory.tensor("workspace", .u8, [size])
        if shortBy == 0 { space = space.replacing(memory: .cuda(device: 77)) }
        return expectRefusal(of: tensors.memory) { () throws(ApusError) in
          try backend.run(
            plan, tensors.arguments, workspace: space, on: .synchronous, operation: "malformed")
        }
      }
    }
  }

  /// A plan that no back end made.
  private struct ForeignPlan: AttentionPlan {
    let problem: AttentionProblem
    let backendName = "nobody"
    let workspaceByteCount = 0
    let description = "a plan of nobody"
  }

  private static let foreignPlan = MalformedCall("attention with another back end's plan") {
    backend in
    let tensors = AttentionTensors(base(.csr), random: CaseRandom(seed: 3, stream: 3))
    return withExtendedLifetime(tensors) {
      expectRefusal(of: tensors.memory) { () throws(ApusError) in
        try backend.run(
          ForeignPlan(problem: tensors.problem), tensors.arguments, workspace: nil,
          on: .synchronous, operation: "malformed")
      }
    }
  }
}

extension AttentionArguments {
  /// Replaces the tensor that `namedTensors` lists under `name`.
  fileprivate mutating func replace(_ name: String, _ change: (TensorView) -> TensorView) {
    func changed(_ scale: Scale) -> Scale {
      switch scale {
      case .head(let view): .head(change(view))
      case .tokenHead(let view): .tokenHead(change(view))
      case .one, .tensor: scale
      }
    }
    switch (name, q, kv) {
    case ("q", .packed(let view), _): q = .packed(change(view))
    case ("k", _, .separate(let k, let v)): kv = .separate(k: change(k), v: v)
    case ("v", _, .separate(let k, let v)): kv = .separate(k: k, v: change(v))
    case ("o", _, _): o = change(o)
    case ("lse", _, _): lse = lse.map(change)
    case ("sinks", _, _): sinks = sinks.map(change)
    case ("qScale", _, _): scales.q = changed(scales.q)
    case ("kScale", _, _): scales.k = changed(scales.k)
    case ("vScale", _, _): scales.v = changed(scales.v)
    default: break
    }
  }
}

internal import ApusCore
internal import ApusNumerics

extension MalformedCall {
  // MARK: - Append

  private static func append(
    _ name: String,
    _ change: @escaping @Sendable (inout AppendProblem, inout AppendArguments) -> Void
  ) -> MalformedCall {
    MalformedCall("append with \(name)") { backend in
      let source = AppendCase(
        latent: nil, heads: 2, widths: [16, 16], source: .f16, cache: .f16, layout: .nhd,
        pageSize: 4, isBlockTable: false, isCombined: false, hasGaps: false, lengths: [9, 6],
        added: [5, 2], skips: false, kScale: .tokenHead, vScale: .head, isWild: false)
      let tensors = AppendTensors(source, random: CaseRandom(seed: 4, stream: 4))
      var (problem, arguments) = (tensors.problem, tensors.arguments)
      change(&problem, &arguments)
      return withExtendedLifetime(tensors) {
        expectRefusal(of: tensors.memory) { () throws(ApusError) in
          try backend.append(problem, arguments, on: .synchronous)
        }
      }
    }
  }

  static let appends: [MalformedCall] =
    TensorView.Malformation.allCases.map { way in
      append("keys having \(way.rawValue)") { _, arguments in
        arguments.keys = arguments.keys.broken(way)
      }
    }
    + TensorView.Malformation.allCases.map { way in
      append("a cache having \(way.rawValue)") { _, arguments in
        guard case .separate(let k, let v) = arguments.cache else { return }
        arguments.cache = .separate(k: k, v: v.broken(way))
      }
    } + [
      append("a request outside the batch") { problem, _ in problem.batchIndices[0] = 2 },
      append("a request of -2") { problem, _ in problem.batchIndices[0] = -2 },
      append("a position beyond the request") { problem, _ in problem.positions[0] = 9 },
      append("a negative position") { problem, _ in problem.positions[0] = -1 },
      append("two tokens in one slot") { problem, _ in
        problem.batchIndices[1] = problem.batchIndices[0]
        problem.positions[1] = problem.positions[0]
      },
      append("too few positions") { problem, _ in problem.positions.removeLast() },
      append("a page outside the cache") { problem, _ in
        problem.table = PageTable(
          pageSize: 4, indptr: RaggedIndptr([0, 3, 5]), indices: [0, 1, 2, 3, 1 << 20],
          lastPageLength: [1, 2])
      },
      append("a NaN scale") { _, arguments in arguments.vScale = .tensor(.nan) },
      append("a scale of 0") { _, arguments in arguments.kScale = .tensor(0) },
      append("a latent cache for K and V") { _, arguments in
        guard case .separate(let k, let v) = arguments.cache else { return }
        arguments.cache = .latent(ckv: k, kpe: v)
      },
    ]

  // MARK: - Merge

  private static func merge(
    _ name: String, _ kind: MergeCase.Kind,
    _ change: @escaping @Sendable (MergeArguments.States) -> MergeArguments.States
  ) -> MalformedCall {
    MalformedCall("merge with \(name)") { backend in
      let source = MergeCase(
        kind: kind, input: .bf16, output: .bf16, rows: 3, heads: 2, width: 8, states: 2,
        convention: .base2, hasGaps: false, hasMask: true, isWild: false)
      let tensors = MergeTensors(source, random: CaseRandom(seed: 5, stream: 5))
      var arguments = tensors.arguments
      arguments.states = change(arguments.states)
      return withExtendedLifetime(tensors) {
        expectRefusal(of: tensors.memory) { () throws(ApusError) in
          try backend.merge(arguments, on: .synchronous)
        }
      }
    }
  }

  static let merges: [MalformedCall] =
    TensorView.Malformation.allCases.map { way in
      merge("a state having \(way.rawValue)", .two) { states in
        guard case .two(let aV, let aS, let bV, let bS, let v, let s) = states else {
          return states
        }
        return .two(aV: aV, aS: aS, bV: bV.broken(way), bS: bS, v: v, s: s)
      }
    }
    + TensorView.Malformation.allCases.map { way in
      merge("a sum having \(way.rawValue)", .two) { states in
        guard case .two(let aV, let aS, let bV, let bS, let v, let s) = states else {
          return states
        }
        return .two(aV: aV, aS: aS, bV: bV, bS: bS, v: v, s: s.broken(way))
      }
    }
    + TensorView.Malformation.ofBytes.map { way in
      merge("a mask having \(way.rawValue)", .inPlace) { states in
        guard case .inPlace(let v, let s, let otherV, let otherS, let mask) = states else {
          return states
        }
        return .inPlace(
          v: v, s: s, otherV: otherV, otherS: otherS, mask: mask?.broken(way))
      }
    }
    + TensorView.Malformation.allCases.map { way in
      merge("many logits having \(way.rawValue)", .many) { states in
        guard case .many(let all, let logits, let v, let s) = states else { return states }
        return .many(states: all, logits: logits.broken(way), v: v, s: s)
      }
    }

  // MARK: - Rotation

  private static func rotation(
    _ name: String, _ change: @escaping @Sendable (inout RotaryArguments) -> Void
  ) -> MalformedCall {
    MalformedCall("rope with \(name)") { backend in
      let memory = CaseMemory()
      var random = CaseRandom(seed: 6, stream: 6)
      let views = ["q", "k", "qOut", "kOut"].map { name in
        memory.tensor(name, .f16, [3, name.hasPrefix("q") ? 4 : 2, 16])
      }
      for view in views.prefix(2) { view.fillNormal(&random) }
      let table = memory.tensor("table", .f32, [4, 8])
      table.fillNormal(&random)
      var arguments = RotaryArguments(
        q: views[0], k: views[1], qOut: views[2], kOut: views[3], positions: [0, 1, 2],
        source: .cosSinCache(table, pairing: .half))
      change(&arguments)
      return withExtendedLifetime(memory) {
        expectRefusal(of: memory) { () throws(ApusError) in
          try backend.rotate(arguments, on: .synchronous)
        }
      }
    }
  }

  static let rotations: [MalformedCall] =
    TensorView.Malformation.allCases.flatMap { way in
      [
        rotation("k having \(way.rawValue)") { $0.k = $0.k.broken(way) },
        rotation("an output having \(way.rawValue)") { $0.qOut = $0.qOut.broken(way) },
      ]
    } + [
      rotation("a position beyond the table") { $0.positions[1] = 4 },
      rotation("a negative position") { $0.positions[0] = -1 },
      rotation("too few positions") { $0.positions.removeLast() },
      rotation("an odd rotary dimension") {
        $0.source = .frequencies(RotaryEmbedding(rotaryDim: 5))
      },
      rotation("a rotary dimension beyond the head") {
        $0.source = .frequencies(RotaryEmbedding(rotaryDim: 18))
      },
      rotation("an infinite theta") {
        $0.source = .frequencies(RotaryEmbedding(theta: .infinity))
      },
      rotation("a table of another device") {
        guard case .cosSinCache(let table, let pairing) = $0.source else { return }
        $0.source = .cosSinCache(
          table.replacing(memory: .cuda(device: 77)), pairing: pairing)
      },
    ]

  // MARK: - Packing

  private static func packing(
    _ name: String, _ change: @escaping @Sendable (inout PackBitsArguments) -> Void
  ) -> MalformedCall {
    MalformedCall("packbits with \(name)") { backend in
      let memory = CaseMemory()
      let flags = memory.tensor("flags", .u8, [20])
      let packed = memory.tensor("packed", .u8, [3])
      var arguments = PackBitsArguments(flags: flags, packed: packed, bitOrder: .big)
      change(&arguments)
      return withExtendedLifetime(memory) {
        expectRefusal(of: memory) { () throws(ApusError) in
          try backend.packBits(arguments, on: .synchronous)
        }
      }
    }
  }

  static let packings: [MalformedCall] =
    TensorView.Malformation.ofBytes.flatMap { way in
      [
        packing("flags having \(way.rawValue)") { $0.flags = $0.flags.broken(way) },
        packing("bits having \(way.rawValue)") { $0.packed = $0.packed.broken(way) },
      ]
    } + [
      packing("decreasing offsets") { $0.indptr = RaggedIndptr([0, 9, 3]) },
      packing("offsets beyond the flags") { $0.indptr = RaggedIndptr([0, 21]) },
      packing("no offsets") { $0.indptr = RaggedIndptr([Int]()) },
      packing("too few bytes") { $0.packed = $0.packed.replacing(shape: [2]) },
    ]
}

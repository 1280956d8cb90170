/// Immediates lie in the ranges that the ISA documents: offsets, vector forms, shuffle segments,
/// lane sets, barrier numbers, group counts, copy sizes, tensor ranks, product shapes.
struct ImmediateRule: NodeRule {
  static let rule = Diagnostic.Rule.immediates

  func begin(_ kernel: KernelIR, _ report: inout Report) {
    Self.checkBarrierTable(kernel, &report)
  }

  func check(_ node: Node, in kernel: KernelIR, _ report: inout Report) {
    guard let violations = Self.violations(of: node, in: kernel).list else { return }
    for violation in violations {
      report.add(
        Self.rule, at: node.location, "\(node.op.mnemonic): \(violation.requirement)",
        found: violation.found)
    }
  }

  private typealias Violation = (requirement: String, found: String)

  /// A list that is nothing at all when it is empty, as it is for nearly every node.
  private struct Violations: ExpressibleByArrayLiteral {
    var list: [Violation]?

    init(_ list: [Violation]) { self.list = list }
    init(arrayLiteral elements: Violation...) { list = elements.isEmpty ? nil : elements }

    static func + (left: Violations, right: Violations) -> Violations {
      guard let more = right.list else { return left }
      return Violations((left.list ?? []) + more)
    }
  }

  private static func checkBarrierTable(_ kernel: KernelIR, _ report: inout Report) {
    var taken = Set<Int>()
    for barrier in kernel.barriers {
      let last = barrier.firstID + barrier.count - 1
      guard barrier.count >= 1, barrier.firstID >= 0, last <= 15 else {
        report.add(
          rule, "barrier \(barrier.name) must use numbers 0…15",
          found: "\(barrier.firstID)…\(last)")
        continue
      }
      if !taken.isDisjoint(with: barrier.firstID...last) {
        report.add(
          rule, "barriers must have distinct numbers",
          found: "\(barrier.name) with \(barrier.firstID)…\(last)")
      }
      taken.formUnion(barrier.firstID...last)
      if barrier.threads < 32 || barrier.threads % 32 != 0
        || barrier.threads > kernel.launch.threads
      {
        report.add(
          rule,
          "threads of barrier \(barrier.name) must be a multiple of 32 in "
            + "32…\(kernel.launch.threads)", found: "\(barrier.threads)")
      }
    }
  }

  private static func violations(of node: Node, in kernel: KernelIR) -> Violations {
    switch node.op {
    case .memory(let op): memory(op, node: node, in: kernel)
    case .warp(let op): warp(op)
    case .synchronisation(let op): synchronisation(op, node: node, in: kernel)
    case .copy(let op): copy(op)
    case .tensorCore(let op): tensorCore(op)
    case .control(.setMaxRegisters(_, let count)):
      require(count % 8 == 0 && (24...256).contains(count), "a multiple of 8 in 24…256", count)
    case .movement, .arithmetic, .bits, .conversion, .special, .control: []
    }
  }

  private static func require(
    _ condition: Bool, _ requirement: @autoclosure () -> String,
    _ found: @autoclosure () -> some Any
  ) -> Violations {
    condition ? [] : Violations([(requirement(), "\(found())")])
  }

  /// Alignment is a property of the whole address, so the simulator checks it.
  private static func offset(_ bytes: Int) -> Violations {
    require(Int32(exactly: bytes) != nil, "an offset must fit 32 bits", bytes)
  }

  private static func memory(
    _ op: Op.Memory, node: Node, in kernel: KernelIR
  ) -> Violations {
    func access(_ access: Op.MemoryAccess, count: Int) -> Violations {
      let bytes = access.element.byteCount * count
      let isGlobal = access.space == .global
      return offset(access.offset)
        + require(bytes <= 16, "an access must be at most 16 bytes", bytes)
        + require(
          isGlobal
            || !access.isNonCoherent && access.l1 == .normal && !access.hasPolicy
              && access.l2Prefetch == .none,
          "cache hints need global memory", access.space)
    }
    switch op {
    case .ld(let value):
      let isOrdered =
        switch value.ordering {
        case .release: true
        default: false
        }
      return access(value, count: node.results.count)
        + require(!isOrdered, "a load must not release", value.ordering)
        + require(
          !value.isNonCoherent || value.ordering == .weak, "a read-only load must be weak",
          value.ordering)
    case .st(let value):
      let isOrdered =
        switch value.ordering {
        case .acquire: true
        default: false
        }
      return access(value, count: node.operands.count - 1 - (value.hasPolicy ? 1 : 0))
        + require(!isOrdered, "a store must not acquire", value.ordering)
        + require(
          !value.isNonCoherent && value.l2Prefetch == .none,
          "a store has no read-only path and no prefetch", value.l2Prefetch)
    case .atom(let value): return offset(value.offset)
    case .red(let value):
      return offset(value.offset)
        + require(
          value.op != .cas && value.op != .exchange, "must be a combination", value.op)
        + require(
          value.ordering == .relaxed || value.ordering == .release,
          "must be relaxed or release: nothing is read", value.ordering)
        + require(
          node.operands.count == 2 || value.op == .add && value.space == .global,
          "the vector form must be a global add", "\(value.op), \(value.space)")
    case .prefetch(_, let bytes): return offset(bytes)
    case .sharedAddress(let id, let bytes):
      let size = kernel.shared[id.index].byteCount
      return require(
        (0...max(0, size)).contains(bytes), "the offset must lie in the \(size) bytes", bytes)
    case .parameter, .parameterAddress, .mapa: return []
    }
  }

  private static func warp(_ op: Op.Warp) -> Violations {
    func members(_ members: UInt32) -> Violations {
      require(members != 0, "members must not be empty", hexadecimal(members))
    }
    switch op {
    case .shfl(_, let width, let lanes):
      return members(lanes)
        + require(
          [2, 4, 8, 16, 32].contains(width), "the width must be 2, 4, 8, 16 or 32", width)
    case .vote(_, let lanes), .redux(_, let lanes), .elect(let lanes), .matchAny(let lanes),
      .matchAll(let lanes), .syncWarp(let lanes):
      return members(lanes)
    case .movmatrix: return []
    }
  }

  private static func synchronisation(
    _ op: Op.Synchronisation, node: Node, in kernel: KernelIR
  ) -> Violations {
    func arrive(_ arrive: Op.MBarrierArrive, announces: Bool) -> Violations {
      offset(arrive.offset)
        + require(
          (1...((1 << 20) - 1)).contains(arrive.count) && (!announces || arrive.count == 1),
          announces ? "the count must be 1" : "the count must be in 1…1048575", arrive.count)
        + require(arrive.space != .global, "must be in shared memory", arrive.space)
        + require(
          arrive.ordering == .release || arrive.ordering == .relaxed,
          "must be release or relaxed", arrive.ordering)
        + require(
          arrive.scope == .block || arrive.scope == .cluster, "scope must be cta or cluster",
          arrive.scope)
    }
    switch op {
    case .barrierSync(let id), .barrierArrive(let id):
      let barrier = kernel.barriers[id.index]
      let index = node.operands.first
      return require(
        index != nil || barrier.count == 1, "must have an index for \(barrier.count) barriers",
        "none")
        + require(
          index?.constant.map { $0.bits < UInt64(barrier.count) } ?? true,
          "the index must be below \(barrier.count)", "\(index?.constant?.bits ?? 0)")
    case .mbarrierInit(let bytes):
      let count = node.operands.last?.constant
      return offset(bytes)
        + require(
          count.map { (1...((1 << 20) - 1)).contains($0.bits) } ?? true,
          "the count must be in 1…1048575", "\(count?.bits ?? 0)")
    case .mbarrierInvalidate(let bytes): return offset(bytes)
    case .mbarrierArrive(let value): return arrive(value, announces: false)
    case .mbarrierArriveExpect(let value), .mbarrierExpect(let value):
      return arrive(value, announces: true)
    case .mbarrierWait(let wait), .mbarrierTest(let wait):
      let parity = node.operands.last?.constant
      return offset(wait.offset)
        + require(
          parity.map { $0.bits <= 1 } ?? true, "the parity must be 0 or 1",
          "\(parity?.bits ?? 0)")
        + require(
          wait.scope == .block || wait.scope == .cluster, "scope must be cta or cluster",
          wait.scope)
    case .clusterArrive(let ordering):
      return require(
        ordering == .release || ordering == .relaxed, "must be release or relaxed", ordering)
    case .fence, .clusterWait, .gridDependencyWait, .gridDependencyLaunch: return []
    }
  }

  private static func copy(_ op: Op.Copy) -> Violations {
    func bulk(_ access: Op.BulkAccess, isLoad: Bool) -> Violations {
      offset(access.destinationOffset) + offset(access.sourceOffset)
        + offset(access.barrierOffset)
        + require(isLoad || !access.isMulticast, "only a load is multicast", "a mask")
    }
    func rank(_ dimensions: Int) -> Violations {
      require((1...5).contains(dimensions), "must have 1…5 dimensions", dimensions)
    }
    switch op {
    case .async(let copy):
      return require(
        [4, 8, 16].contains(copy.byteCount), "must copy 4, 8 or 16 bytes", copy.byteCount)
        + offset(copy.destinationOffset)
        + offset(copy.sourceOffset)
        + require(
          !copy.bypassesL1 || copy.byteCount == 16, "must copy 16 bytes to bypass L1",
          copy.byteCount)
    case .asyncWait(let pending), .bulkWait(let pending, _):
      return require(pending >= 0, "pending must be ≥ 0", pending)
    case .asyncArrive(let bytes, _): return offset(bytes)
    case .bulkLoad(let access): return bulk(access, isLoad: true)
    case .bulkStore(let access), .bulkCopyToCluster(let access):
      return bulk(access, isLoad: false)
    case .bulkPrefetch(let bytes): return offset(bytes)
    case .tensorLoad(let access):
      return rank(access.dimensions) + offset(access.sharedOffset)
        + offset(access.barrierOffset)
    case .tensorStore(let access, _):
      return rank(access.dimensions) + offset(access.sharedOffset)
        + require(!access.isMulticast, "only a load is multicast", "a mask")
    case .tensorPrefetch(let dimensions): return rank(dimensions)
    case .storeAsync(let bytes, let barrier): return offset(bytes) + offset(barrier)
    case .asyncCommit, .bulkCommit, .prefetchTensorMap: return []
    }
  }

  private static func tensorCore(_ op: Op.TensorCore) -> Violations {
    func types(
      _ a: Op.MatrixElement, _ b: Op.MatrixElement, _ accumulator: Op.AccumulatorType
    ) -> Violations {
      require(
        a == b || a.isFP8 && b.isFP8, "A and B must share a type or both be FP8", "\(a), \(b)")
        + require(
          accumulator == .f32 || a == .f16 || a.isFP8, "bf16 and tf32 must accumulate in f32",
          "\(accumulator)")
    }
    switch op {
    case .ldmatrix(let access), .stmatrix(let access):
      return offset(access.offset)
        + require([1, 2, 4].contains(access.count), "must move 1, 2 or 4 matrices", access.count)
    case .mma(let shape):
      let allowed: [Int] =
        switch shape.a {
        case .f16, .bf16: [8, 16]
        case .tf32: [4, 8]
        case .e4m3, .e5m2: [32]
        }
      return types(shape.a, shape.b, shape.accumulator)
        + require(allowed.contains(shape.k), "k must be one of \(allowed)", shape.k)
    case .wgmma(let shape):
      return types(shape.a, shape.b, shape.accumulator)
        + require(
          shape.n % 8 == 0 && (8...256).contains(shape.n), "n must be a multiple of 8 in 8…256",
          shape.n)
        + require(
          shape.a.bitWidth == 16 || !shape.transposesA && !shape.transposesB,
          "operands must be K-major unless they have 16 bits", "\(shape.a) transposed")
        + require(
          !(shape.aInRegisters && shape.transposesA), "A in registers must be K-major",
          "a transposition")
    case .wgmmaWait(let pending):
      return require((0...7).contains(pending), "pending must be in 0…7", pending)
    case .wgmmaFence, .wgmmaCommit: return []
    }
  }
}

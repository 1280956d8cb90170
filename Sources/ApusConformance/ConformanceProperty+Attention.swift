internal import ApusCore
internal import ApusNumerics

extension ConformanceProperty {
  static let determinism: [ConformanceProperty] = [
    .init("the same plan and inputs give the same bits") { context throws(Interruption) in
      guard let source = context.draw({ _ in true }) else { throw noCase }
      let data = context.data()
      let first = try context.bits(source, data: data)
      return same(try context.bits(source, data: data), first, source)
    },
    .init("a given workspace gives the bits of an own one") { context throws(Interruption) in
      guard let source = context.draw({ $0.kvLengths.contains { $0 > 64 } }) else { throw noCase }
      let data = context.data()
      let own = try context.bits(source, data: data, givesWorkspace: false)
      return same(try context.bits(source, data: data, givesWorkspace: true), own, source)
    },
    .init("a batch-invariant request has the same bits alone") { context throws(Interruption) in
      guard
        var source = context.draw({ $0.batch > 1 && $0.kvLengths.contains { $0 > 32 } })
      else { throw noCase }
      source.options.isBatchInvariant = true
      let tensors = AttentionTensors(source, random: context.data())
      try context.check.run(tensors, givesWorkspace: false)
      let (whole, arguments) = (tensors.problem, tensors.arguments)
      let together = (0..<source.batch).map { tensors.outputBits(requests: $0..<$0 + 1) }
      var failures: [String] = []
      for r in 0..<source.batch {
        tensors.resetOutputs()
        (tensors.problem, tensors.arguments) = tensors.alone(r)
        try context.check.run(tensors, givesWorkspace: false)
        (tensors.problem, tensors.arguments) = (whole, arguments)
        failures += same(tensors.outputBits(requests: r..<r + 1), together[r], source)
      }
      return failures
    },
  ]

  static let independence: [ConformanceProperty] = [
    .init("moving pages changes nothing") { context throws(Interruption) in
      guard
        let source = context.draw({ value in
          value.form.pageSize.map { size in value.kvLengths.contains { $0 > size } } ?? false
        })
      else { throw noCase }
      let data = context.data()
      var moves = context.random
      let before = try context.bits(source, data: data)
      let after = try context.bits(source, data: data) { $0.movePages(&moves) }
      return same(after, before, source)
    },
    .init("the content of unowned memory changes nothing") { context throws(Interruption) in
      guard let source = context.draw({ $0.hasUnownedRows }) else { throw noCase }
      let data = context.data()
      let poisoned = try context.bits(source, data: data)
      return same(try context.bits(source, data: data) { $0.clearPoison() }, poisoned, source)
    },
    .init("the content of unseen keys changes nothing") { context throws(Interruption) in
      guard
        let source = context.draw({ value in
          guard let window = value.windowLeft else { return value.customMask != nil }
          return zip(value.qoLengths, value.kvLengths).contains { $1 > $0 + window }
        })
      else { throw noCase }
      let data = context.data()
      let clean = try context.bits(source, data: data)
      return same(
        try context.bits(source, data: data) { _ = $0.poisonUnseenKeys() }, clean, source)
    },
  ]

  static let splitting: [ConformanceProperty] = [
    .init("every split gives the unsplit result within rounding") {
      context throws(Interruption) in
      guard var source = context.draw({ $0.kvLengths.contains { $0 > 64 } }) else { throw noCase }
      let data = context.data()
      var failures: [String] = []
      var options = source.options
      options.disablesSplitKV = true
      var variants = [options]
      for size in [1, 7, 16, 64, 100] {
        variants.append(ExecutionOptions(precision: options.precision, splitSize: size))
      }
      variants.append(ExecutionOptions(precision: options.precision, isBatchInvariant: true))
      for options in variants {
        source.options = options
        switch context.check.check(source, random: data) {
        case .passed: break
        case .failed(let found): failures += found.map { "\($0): \(source)" }
        case .skipped(let reason): throw .skipped(reason)
        }
      }
      return failures
    }
  ]

  static let propagation: [ConformanceProperty] = [
    .init("a NaN in q reaches exactly its row and head") { context throws(Interruption) in
      try propagates(&context) { tensors, random in tensors.spoilQuery(&random) }
    },
    .init("a NaN in k reaches exactly the rows that see it") { context throws(Interruption) in
      try propagates(&context) { tensors, random in tensors.spoilCache(&random, isKey: true) }
    },
    .init("a NaN in v reaches exactly the elements that see it") {
      context throws(Interruption) in
      try propagates(&context) { tensors, random in tensors.spoilCache(&random, isKey: false) }
    },
    .init("a NaN in a key that some rows see reaches no other row") {
      context throws(Interruption) in
      try propagates(&context, tiled: true) { tensors, random in
        tensors.spoilCache(&random, isKey: true, isPartlySeen: true)
      }
    },
    .init("a NaN in a value that some rows see reaches no other row") {
      context throws(Interruption) in
      try propagates(&context, tiled: true) { tensors, random in
        tensors.spoilCache(&random, isKey: false, isPartlySeen: true)
      }
    },
  ]

  /// Compares with the definition after one owned element became NaN. Every KV type has its turn.
  ///
  /// - Parameter tiled: whether cases must be such that back ends multiply tiles of rows, few and many.
  private static func propagates(
    _ context: inout Context, tiled: Bool = false,
    _ spoil: (AttentionTensors, inout CaseRandom) -> Void
  ) throws(Interruption) -> [String] {
    var failures: [String] = []
    for type in ElementType.allCases {
      let drawn = context.draw {
        $0.types.kv == type && ($0.isCausal || $0.windowLeft != nil)
          && (!tiled || $0.isNearlyTiled)
      }
      guard var source = drawn else { throw noCase }
      if tiled { source.becomeTiled() }
      let tensors = AttentionTensors(source, random: context.data())
      spoil(tensors, &context.random)
      try context.check.run(tensors, givesWorkspace: false)
      failures += try context.check.compare(tensors).0.map { "\($0): \(source)" }
    }
    return failures
  }
}

extension AttentionCase {
  /// Several query tokens that see different keys, a single width of rows.
  fileprivate var isNearlyTiled: Bool {
    latent == nil && !saturates && qoLengths.contains { $0 > 1 }
      && shape.headDimQK == shape.headDimVO
  }

  /// Leaves out what sends a case to general kernels.
  fileprivate mutating func becomeTiled() {
    if types.kv != .f32 { types.q = types.kv == .f16 ? .f16 : .bf16 }
    types.o = types.q
    (rope, hasGaps, isShifted) = (nil, false, false)
    (qScale, kScale, vScale, oScale) = (.one, .one, .one, .one)
    options = ExecutionOptions()
  }
}

extension AttentionTensors {
  /// Every type's NaN of either sign: poison has the sign, the other lacks it.
  fileprivate func spoil(_ view: TensorView, _ offset: Int, _ random: inout CaseRandom) {
    view.poison(at: offset)
    guard random.chance(0.5) else { return }
    let last = (offset + 1) * view.scalarType.byteCount - 1
    view.mutableHostPointer?.storeBytes(of: 0x7F, toByteOffset: last, as: UInt8.self)
  }

  /// Makes one element of an owned query NaN.
  fileprivate func spoilQuery(_ random: inout CaseRandom) {
    let rows = (0..<problem.batch).flatMap { Array(problem.qoIndptr.rows($0)) }
    guard !rows.isEmpty else { return }
    let view: TensorView
    switch arguments.q {
    case .packed(let q): view = q
    case .split(let nope, _): view = nope
    }
    let index = [
      random.pick(rows), random.int(0...view.shape[1] - 1), random.int(0...view.shape[2] - 1),
    ]
    spoil(view, view.offset(index), &random)
  }

  /// Makes one element of an owned key or value NaN.
  ///
  /// - Parameter isPartlySeen: whether it must be one that some query tokens see and others do not,
  ///   where there is any.
  fileprivate func spoilCache(
    _ random: inout CaseRandom, isKey: Bool, isPartlySeen: Bool = false
  ) {
    let requests = (0..<problem.batch).filter { problem.kvLength($0) > 0 }
    let candidates = parts.filter { (isKey ? $0.isKey : $0.isValue) && $0.view.shape.last != 0 }
    guard !requests.isEmpty, !candidates.isEmpty else { return }
    let candidateKeys = isPartlySeen ? requests.flatMap { partlySeenKeys($0) } : []
    var (r, token) = (random.pick(requests), 0)
    token = random.int(0...problem.kvLength(r) - 1)
    if !candidateKeys.isEmpty { (r, token) = random.pick(candidateKeys) }
    let head = random.int(0...problem.shape.kvHeadCount - 1)
    let view = random.pick(candidates).view
    let e = random.int(0...(view.shape.last ?? 1) - 1)
    spoil(view, problem.cacheOffset(view, r, token, head) + e, &random)
  }

  /// Keys of a request that some of its query tokens see and others do not.
  private func partlySeenKeys(_ r: Int) -> [(request: Int, token: Int)] {
    let (qo, kv) = (problem.qoLength(r), problem.kvLength(r))
    return (0..<kv).compactMap { token in
      let seen = (0..<qo).count {
        problem.mask.allows(request: r, $0, token, qoLength: qo, kvLength: kv)
      }
      return (1..<max(qo, 1)).contains(seen) ? (r, token) : nil
    }
  }
}

public import ApusIR

// Products of any shape on plain variables: f16 accumulators, negated operands, and tiles that a
// kernel splits by hand. `RegisterTile` has shorter forms for binary32.

extension Block {
  /// Accumulators of a product, zero at first: binary32 elements or pairs of binary16.
  ///
  /// - Parameter count: `accumulatorCount` of the shape.
  public func accumulators<T: WordScalar & NumberScalar>(
    _ name: String, _ type: T.Type, count: Int, file: String = #fileID, line: Int = #line
  ) -> [Variable<T>] {
    let zero = Value<T>(
      operand: .constant(Constant(type: T.type, bits: 0)), emitter: emitter)
    return (0..<max(0, count)).map { _ in variable(zero, name, file: file, line: line) }
  }

  /// D = A · B + D of one warp; types and lengths as `shape` says.
  public func mma<D: WordScalar, T: WordScalar>(
    into accumulators: [Variable<D>], a: [Value<T>], b: [Value<T>], shape: Op.MMAShape,
    file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    requireCount(accumulators.count, shape.accumulatorCount, "mma: accumulators", location)
    requireCount(a.count, shape.aCount, "mma: registers of A", location)
    requireCount(b.count, shape.bCount, "mma: registers of B", location)
    emitter.builder.accumulate(
      .mma(shape), into: accumulators.map { $0.id }, (a + b).map { $0.operand }, at: location)
  }

  /// D = A · B + (`accumulates` ? D : 0) of a warpgroup, asynchronously; types, lengths, negation
  /// and transposition as `shape` says.
  public func wgmma<D: WordScalar, T: WordScalar>(
    into accumulators: [Variable<D>], a: WarpgroupOperand<T>, b: Value<U64>,
    shape: Op.WGMMAShape, accumulates: Value<Pred>? = nil, file: String = #fileID,
    line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    requireCount(accumulators.count, shape.accumulatorCount, "wgmma: accumulators", location)
    requireCount(a.operands.count, shape.aCount, "wgmma: operands of A", location)
    emitter.builder.accumulate(
      .wgmma(shape), into: accumulators.map { $0.id },
      a.operands + [b.operand, accumulates?.operand ?? .constant(.pred(true))], at: location)
  }

  private func requireCount(
    _ found: Int, _ expected: Int, _ what: String, _ location: SourceLocation
  ) {
    if found != expected {
      emitter.fail("\(what) must be \(expected); found \(found).", at: location)
    }
  }

  // MARK: - Pinning

  /// Keeps the computation of `values` before this point of the machine code.
  ///
  /// The assembler moves arithmetic across `wgmmaWait`, which may undo an overlap that the kernel
  /// was written for. A store under a condition that never holds, but that the assembler cannot
  /// know, is a use that it must not move: one issue slot per value.
  ///
  /// - Parameters:
  ///   - scratch: any shared address; it is never written.
  ///   - never: a condition that never holds and is no constant; by default one of the launch's
  ///     properties.
  public func pin<T: DataScalar>(
    _ values: [Value<T>], scratch: SharedPointer<T>, never: Value<Pred>? = nil,
    file: String = #fileID, line: Int = #line
  ) {
    let never = never ?? (special(.dynamicSharedSize) == Int(UInt32.max))
    when(never, .predicated, file: file, line: line) {
      for value in values { store(value, to: scratch, file: file, line: line) }
    }
  }
}

extension WarpgroupOperand {
  var operands: [Operand] {
    switch self {
    case .shared(let descriptor): [descriptor.operand]
    case .registers(let values): values.map { $0.operand }
    case .variables(let variables): variables.map { .value($0.id) }
    }
  }
}

import ApusIR

/// One op with the types of its operands and results: one line of the sweep.
struct Variant {
  let op: Op
  let operands: [ValueType]
  let results: [ValueType]

  /// A node-sized requirement.
  var requirements: Requirements {
    Node(
      op, operands: operands.map { .constant(Constant(type: $0, bits: 0)) },
      location: line(0)
    ).requirements(operandTypes: operands)
  }

  /// A literal that every operand may be: addresses and bulk sizes are multiples of 16, all else
  /// may be 1.
  private var constantBits: UInt64 {
    switch op {
    case .copy, .memory, .tensorCore: 16
    default: 1
    }
  }

  /// Whether operands stay in registers in the sweep of constants: A registers of a product are
  /// written before its fence, and a constant address of `stmatrix` is an internal error (C7907) of
  /// ptxas 13.5.
  private var restsInRegisters: Bool {
    switch op {
    case .tensorCore(.wgmma(let shape)): shape.aInRegisters
    case .tensorCore(.stmatrix): true
    default: false
    }
  }

  /// The first version that has the op on a target.
  func version(on target: Target) -> PTXVersion {
    let node = Node(
      op, operands: operands.map { .constant(Constant(type: $0, bits: 0)) }, location: line(0))
    return max(
      target.minimumPTXVersion, node.minimumVersion(operandTypes: operands, on: target))
  }

  /// Every binding of T and S, and every type of each independent slot, that the signatures of an
  /// op admit.
  static func all(_ op: Op, operands: Int, results: Int = 1) -> [Variant] {
    op.signatures(operandCount: operands, resultCount: results).flatMap { expand($0, op) }
  }

  private static func expand(_ signature: Signature, _ op: Op) -> [Variant] {
    let slots = signature.operands + signature.results
    let ts = slots.contains(.t) ? signature.t.types : [.u32]
    let ss = slots.contains(.s) ? signature.s.types : [.u32]
    let choices =
      slots.map { slot in
        if case .of(let set) = slot { set.types.count } else { 1 }
      }.max() ?? 1
    return ts.flatMap { t in
      ss.flatMap { s in
        (0..<choices).map { choice in
          func type(_ slot: Signature.Slot) -> ValueType {
            switch slot {
            case .fixed(let type): type
            case .of(let set): set.types[choice % set.types.count]
            case .t: t
            case .s: s
            }
          }
          return Variant(
            op: op, operands: signature.operands.map(type), results: signature.results.map(type))
        }
      }
    }
  }

  /// A kernel that holds the variants, one source line each (line = index), operands in registers
  /// or, where `constants` is set, as constants.
  static func kernel(
    _ variants: [(index: Int, variant: Variant)], symbol: String = "sweep", constants: Bool = false
  ) -> KernelIR {
    var builder = IRBuilder(symbol: symbol, launch: LaunchBounds(threads: 128))
    for type in ValueType.allCases where type != .pred {
      _ = builder.addParameter(name: "\(type)", kind: .scalar(type))
    }
    _ = builder.addParameter(name: "pointer", kind: .pointer(alignment: 16))
    _ = builder.addParameter(name: "map", kind: .tensorMap)
    _ = builder.addParameter(name: "bytes", kind: .bytes(count: 64, alignment: 16))
    _ = builder.addShared(name: "first", byteCount: 512)
    _ = builder.addShared(name: "second", byteCount: 512)
    _ = builder.addBarrier(name: "single", firstID: 1, threads: 64)
    _ = builder.addBarrier(name: "pair", firstID: 2, count: 2, threads: 128)
    _ = builder.addBarrier(name: "zero", firstID: 0, threads: 128)
    for (index, variant) in variants {
      let inPlace = variant.op.inPlaceCount
      let operands = variant.operands.enumerated().map { position, type -> Operand in
        constants && position >= inPlace && !variant.restsInRegisters
          ? .constant(Constant(type: type, bits: variant.constantBits))
          : .value(builder.variable(type, at: line(index)))
      }
      if inPlace > 0 {
        builder.append(
          Node(
            variant.op, operands: operands, results: operands.prefix(inPlace).compactMap(\.valueID),
            location: line(index)))
        continue
      }
      switch variant.op {
      case .control(.breakIf), .control(.continueIf):
        let loop = builder.region { $0.emit(variant.op, operands, at: line(index)) }
        builder.emit(.control(.loop(.automatic)), regions: [loop], at: line(index))
      default:
        let regions = (0..<variant.op.regionCounts.upperBound).map { _ in
          builder.region { leaf(&$0, in: variant.op, at: line(index)) }
        }
        builder.emit(
          variant.op, operands, results: variant.results, regions: regions, at: line(index))
      }
    }
    return builder.finish()
  }
}

/// What stands in each region: a way out of a loop, else an effect of its own.
private func leaf(_ b: inout IRBuilder, in op: Op, at location: SourceLocation) {
  if case .control(.loop) = op {
    let isDone = b.variable(.pred, at: location)
    b.emit(.control(.breakIf), [.value(isDone)], at: location)
  } else {
    b.emit(
      .memory(.st(Op.MemoryAccess(.global, .b32))), [.constant(.u64(0)), .constant(.u32(0))],
      at: location)
  }
}

/// Line `line` of a pretended source file.
func line(_ line: Int) -> SourceLocation { SourceLocation(fileID: "Tests/K.swift", line: line) }

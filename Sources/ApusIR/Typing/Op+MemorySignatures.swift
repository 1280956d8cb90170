private let u32 = Signature.Slot.fixed(.u32)
private let u64 = Signature.Slot.fixed(.u64)
private let coordinate = Signature.Slot.of(TypeSet(.u32, .s32))

extension Op.Memory {
  func signatures(operandCount: Int, resultCount: Int) -> [Signature] {
    switch self {
    case .parameter: [Signature([], [.t], t: .data)]
    case .parameterAddress: [Signature([], [u64])]
    case .sharedAddress: [Signature([], [u32])]
    case .ld(let access):
      [
        Signature(
          [.fixed(access.space.addressType)] + policy(access.hasPolicy),
          repeated(.t, vectorCount(resultCount)), t: access.element.loadTypes)
      ]
    case .st(let access):
      [
        Signature(
          [.fixed(access.space.addressType)]
            + repeated(.t, vectorCount(operandCount - 1 - (access.hasPolicy ? 1 : 0)))
            + policy(access.hasPolicy), t: access.element.storeTypes)
      ]
    case .atom(let access):
      [
        Signature(
          [.fixed(access.space.addressType)] + repeated(.t, access.op == .cas ? 2 : 1), [.t],
          t: access.op.types)
      ]
    case .red(let access):
      [
        Signature(
          [.fixed(access.space.addressType)] + repeated(.t, vectorCount(operandCount - 1)),
          t: operandCount > 2 ? TypeSet(.f32) : access.op.types)
      ]
    case .prefetch: [Signature([u64])]
    case .mapa: [Signature([u32, u32], [u32])]
    }
  }

  /// The nearest vector length that exists: a count of 3 cannot match.
  private func vectorCount(_ count: Int) -> Int { count >= 4 ? 4 : count >= 2 ? 2 : 1 }
}

private func policy(_ isPresent: Bool) -> [Signature.Slot] { isPresent ? [u64] : [] }

extension Op.MemoryElement {
  /// Register types a load of this element may fill.
  var loadTypes: TypeSet {
    switch self {
    case .b8: TypeSet(.u16, .u32)
    case .s8, .s16: TypeSet(.s32)
    case .b16: [.width16, TypeSet(.u32)]
    case .b32: .width32
    case .b64: .width64
    }
  }

  /// Register types a store of this element may take.
  var storeTypes: TypeSet {
    switch self {
    case .b8, .s8: TypeSet(.u16, .u32, .s32)
    case .b16, .s16: [.width16, TypeSet(.u32, .s32)]
    case .b32: .width32
    case .b64: .width64
    }
  }
}

extension Op.AtomicOp {
  /// Types the combination is defined for.
  var types: TypeSet {
    switch self {
    case .add: TypeSet(.u32, .s32, .u64, .f32, .f16x2, .bf16x2)
    case .min, .max: TypeSet(.u32, .s32, .u64, .s64)
    case .and, .or, .xor, .exchange, .cas: TypeSet(.u32, .u64)
    case .inc: TypeSet(.u32)
    }
  }
}

extension Op.Synchronisation {
  func signatures(operandCount: Int) -> [Signature] {
    switch self {
    case .barrierSync, .barrierArrive: [Signature(operandCount == 0 ? [] : [u32])]
    case .mbarrierInvalidate, .mbarrierArrive: [Signature([u32])]
    case .mbarrierInit, .mbarrierArriveExpect, .mbarrierExpect, .mbarrierWait:
      [Signature([u32, u32])]
    case .mbarrierTest: [Signature([u32, u32], [.fixed(.pred)])]
    case .fence, .clusterArrive, .clusterWait, .gridDependencyWait, .gridDependencyLaunch:
      [Signature([])]
    }
  }
}

extension Op.Copy {
  func signatures(operandCount: Int) -> [Signature] {
    switch self {
    case .async(let copy):
      [Signature([u32, u64] + (copy.hasSourceSize ? [u32] : []) + policy(copy.hasPolicy))]
    case .asyncCommit, .asyncWait, .bulkCommit, .bulkWait: [Signature([])]
    case .asyncArrive: [Signature([u32])]
    case .bulkLoad(let access):
      [Signature([u32, u64, u32, u32] + mask(access.isMulticast) + policy(access.hasPolicy))]
    case .bulkStore(let access): [Signature([u64, u32, u32] + policy(access.hasPolicy))]
    case .bulkCopyToCluster: [Signature([u32, u32, u32, u32])]
    case .bulkPrefetch: [Signature([u64, u32])]
    case .tensorLoad(let access):
      [
        Signature(
          [u32, u64] + repeated(coordinate, access.dimensions) + [u32]
            + mask(access.isMulticast) + policy(access.hasPolicy))
      ]
    case .tensorStore(let access, _):
      [
        Signature(
          [u64] + repeated(coordinate, access.dimensions) + [u32] + policy(access.hasPolicy))
      ]
    case .tensorPrefetch(let dimensions):
      [Signature([u64] + repeated(coordinate, dimensions))]
    case .prefetchTensorMap: [Signature([u64])]
    case .storeAsync:
      switch operandCount - 2 {
      case 2: [Signature([u32, .t, .t, u32], t: [.width32, .width64])]
      case 4: [Signature([u32, .t, .t, .t, .t, u32], t: .width32)]
      default: [Signature([u32, .t, u32], t: [.width32, .width64])]
      }
    }
  }

  private func mask(_ isPresent: Bool) -> [Signature.Slot] {
    isPresent ? [.fixed(.u16)] : []
  }
}

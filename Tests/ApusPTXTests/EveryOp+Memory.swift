import ApusIR

extension EveryOp {
  static var memory: [Variant] {
    typealias Access = Op.MemoryAccess
    let scopes = Op.Scope.allCases
    var list: [Variant] = []
    let scalars = ValueType.allCases.filter { $0 != .pred }
    for (index, type) in scalars.enumerated() {
      list.append(
        Variant(
          op: .memory(.parameter(ParameterID(index), offset: 0)), operands: [], results: [type]))
    }
    let bytes = ParameterID(scalars.count + 2)
    for type in scalars {
      list.append(
        Variant(op: .memory(.parameter(bytes, offset: 16)), operands: [], results: [type]))
    }
    for id in [scalars.count + 1, scalars.count + 2] {
      list += Variant.all(.memory(.parameterAddress(ParameterID(id))), operands: 0)
    }
    list += Variant.all(.memory(.sharedAddress(SharedID(0), offset: 0)), operands: 0)
    list += Variant.all(.memory(.sharedAddress(SharedID(1), offset: 8)), operands: 0)
    list += Variant.all(.memory(.mapa), operands: 2)
    for level in [Op.PrefetchLevel.l1, .l2] {
      list += Variant.all(.memory(.prefetch(level, offset: 128)), operands: 1, results: 0)
    }
    for space in Op.MemorySpace.allCases {
      for element in Op.MemoryElement.allCases {
        for count in [1, 2, 4] where count * element.byteCount <= 16 {
          let access = Access(space, element, offset: count == 2 ? -16 : 0)
          list += loads(access, count) + stores(access, count)
        }
        for scope in scopes {
          list += loads(Access(space, element, ordering: .relaxed(scope)), 1)
          list += loads(Access(space, element, ordering: .acquire(scope)), 1)
          list += stores(Access(space, element, ordering: .relaxed(scope)), 1)
          list += stores(Access(space, element, ordering: .release(scope)), 1)
        }
        list += loads(Access(space, element, ordering: .volatile), 1)
        list += stores(Access(space, element, ordering: .volatile), 1)
      }
    }
    for l1 in Op.L1Priority.allCases {
      for hasPolicy in [false, true] {
        list += stores(Access(.global, .b32, l1: l1, hasPolicy: hasPolicy), 4)
        for isNonCoherent in [false, true] {
          for l2 in Op.L2Prefetch.allCases {
            list += loads(
              Access(
                .global, .b32, isNonCoherent: isNonCoherent, l1: l1, l2Prefetch: l2,
                hasPolicy: hasPolicy), 4)
          }
        }
      }
    }
    return list
  }

  private static func loads(_ access: Op.MemoryAccess, _ count: Int) -> [Variant] {
    Variant.all(
      .memory(.ld(access)), operands: 1 + (access.hasPolicy ? 1 : 0), results: count)
  }

  private static func stores(_ access: Op.MemoryAccess, _ count: Int) -> [Variant] {
    Variant.all(
      .memory(.st(access)), operands: 1 + count + (access.hasPolicy ? 1 : 0), results: 0)
  }

  static var atomics: [Variant] {
    typealias Access = Op.AtomicAccess
    let ops: [Op.AtomicOp] = [.add, .min, .max, .and, .or, .xor, .inc, .exchange, .cas]
    let orders: [Op.AtomicOrdering] = [.relaxed, .acquire, .release, .acquireRelease]
    var list: [Variant] = []
    for space in Op.MemorySpace.allCases {
      for op in ops {
        for scope in Op.Scope.allCases {
          for order in scope == .gpu ? orders : [.relaxed] {
            let access = Access(op, space, offset: 4, ordering: order, scope: scope)
            list += Variant.all(.memory(.atom(access)), operands: op == .cas ? 3 : 2)
            guard op != .exchange, op != .cas, order == .relaxed || order == .release else {
              continue
            }
            list += Variant.all(.memory(.red(access)), operands: 2, results: 0)
          }
        }
      }
    }
    for count in [2, 4] {
      for order in [Op.AtomicOrdering.relaxed, .release] {
        list += Variant.all(
          .memory(.red(Access(.add, .global, ordering: order))), operands: 1 + count, results: 0)
      }
    }
    return list
  }
}

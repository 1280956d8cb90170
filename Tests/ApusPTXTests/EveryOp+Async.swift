import ApusIR

extension EveryOp {
  static var synchronisation: [Variant] {
    typealias S = Op.Synchronisation
    let scopes = Op.Scope.allCases
    var ops: [(S, Int, Int)] = []
    for barrier in [0, 2] {
      ops.append((.barrierSync(NamedBarrierID(barrier)), 0, 0))
      ops.append((.barrierArrive(NamedBarrierID(barrier)), 0, 0))
    }
    for barrier in [1, 2] {
      ops.append((.barrierSync(NamedBarrierID(barrier)), 1, 0))
      ops.append((.barrierArrive(NamedBarrierID(barrier)), 1, 0))
    }
    ops += [(.mbarrierInit(offset: 8), 2, 0), (.mbarrierInvalidate(offset: 8), 1, 0)]
    for space in [Op.MemorySpace.shared, .sharedCluster] {
      for scope in [Op.Scope.block, .cluster] {
        for order in [Op.AtomicOrdering.release, .relaxed] {
          for count in [1, 3] {
            let arrive = Op.MBarrierArrive(
              space: space, offset: 8, count: count, ordering: order, scope: scope)
            ops.append((.mbarrierArrive(arrive), 1, 0))
            if count > 1 { continue }
            ops.append((.mbarrierArriveExpect(arrive), 2, 0))
            ops.append((.mbarrierExpect(arrive), 2, 0))
          }
        }
      }
    }
    for scope in [Op.Scope.block, .cluster] {
      ops.append((.mbarrierWait(Op.MBarrierWait(offset: 8, scope: scope)), 2, 0))
      ops.append((.mbarrierTest(Op.MBarrierWait(offset: 8, scope: scope)), 2, 1))
    }
    for scope in scopes {
      ops.append((.fence(.acquireRelease(scope)), 0, 0))
      ops.append((.fence(.sequential(scope)), 0, 0))
    }
    for space in Op.ProxySpace.allCases { ops.append((.fence(.proxyAsync(space)), 0, 0)) }
    ops += [
      (.fence(.mbarrierInit), 0, 0), (.clusterArrive(.release), 0, 0),
      (.clusterArrive(.relaxed), 0, 0), (.clusterWait, 0, 0), (.gridDependencyWait, 0, 0),
      (.gridDependencyLaunch, 0, 0),
    ]
    return ops.flatMap { Variant.all(.synchronisation($0), operands: $1, results: $2) }
  }

  static var copy: [Variant] {
    var ops: [(Op.Copy, Int)] = [
      (.asyncCommit, 0), (.asyncWait(pending: 2), 0), (.asyncArrive(offset: 8, isCounted: true), 1),
      (.asyncArrive(offset: 8, isCounted: false), 1), (.bulkPrefetch(offset: 16), 2),
      (.bulkCommit, 0), (.bulkWait(pending: 0, isReadOnly: true), 0),
      (.bulkWait(pending: 1, isReadOnly: false), 0), (.prefetchTensorMap, 1),
      (.bulkCopyToCluster(.init(destinationOffset: 16, sourceOffset: 32, barrierOffset: 8)), 4),
    ]
    for bytes in [4, 8, 16] {
      for hasSize in [false, true] {
        for hasPolicy in [false, true] {
          for prefetch in Op.L2Prefetch.allCases {
            for bypasses in bytes == 16 ? [false, true] : [false] {
              let copy = Op.AsyncCopy(
                byteCount: bytes, destinationOffset: 16, sourceOffset: -16, hasSourceSize: hasSize,
                bypassesL1: bypasses, l2Prefetch: prefetch, hasPolicy: hasPolicy)
              ops.append((.async(copy), 2 + (hasSize ? 1 : 0) + (hasPolicy ? 1 : 0)))
            }
          }
        }
      }
    }
    for hasPolicy in [false, true] {
      let extra = hasPolicy ? 1 : 0
      ops.append((.bulkStore(.init(sourceOffset: 16, hasPolicy: hasPolicy)), 3 + extra))
      for isMulticast in [false, true] {
        let access = Op.BulkAccess(
          destinationOffset: 16, barrierOffset: 8, isMulticast: isMulticast, hasPolicy: hasPolicy)
        ops.append((.bulkLoad(access), 4 + extra + (isMulticast ? 1 : 0)))
      }
      for rank in 1...5 {
        for isMulticast in [false, true] {
          let load = Op.TensorAccess(
            dimensions: rank, sharedOffset: 128, barrierOffset: 8, isMulticast: isMulticast,
            hasPolicy: hasPolicy)
          ops.append((.tensorLoad(load), 3 + rank + extra + (isMulticast ? 1 : 0)))
        }
        let store = Op.TensorAccess(dimensions: rank, sharedOffset: 128, hasPolicy: hasPolicy)
        for reduction in [nil] + Op.ReductionOp.allCases.map(Optional.some) {
          ops.append((.tensorStore(store, reduction: reduction), 2 + rank + extra))
        }
        ops.append((.tensorPrefetch(dimensions: rank), 1 + rank))
      }
    }
    for count in [1, 2, 4] {
      ops.append((.storeAsync(offset: 4, barrierOffset: 8), 2 + count))
    }
    return ops.flatMap { Variant.all(.copy($0), operands: $1, results: 0) }
  }

  static var tensor: [Variant] {
    var list: [Variant] = []
    for count in [1, 2, 4] {
      for isTransposed in [false, true] {
        let access = Op.MatrixAccess(count: count, isTransposed: isTransposed, offset: 16)
        list += Variant.all(.tensorCore(.ldmatrix(access)), operands: 1, results: count)
        list += Variant.all(.tensorCore(.stmatrix(access)), operands: 1 + count, results: 0)
      }
    }
    let fp8: [Op.MatrixElement] = [.e4m3, .e5m2]
    let pairs: [(Op.MatrixElement, Op.MatrixElement)] =
      [(.f16, .f16), (.bf16, .bf16), (.tf32, .tf32)] + fp8.flatMap { a in fp8.map { (a, $0) } }
    for (a, b) in pairs {
      let depths = a.bitWidth == 16 ? [8, 16] : a == .tf32 ? [4, 8] : [32]
      let accumulators: [Op.AccumulatorType] = a == .bf16 || a == .tf32 ? [.f32] : [.f32, .f16]
      for accumulator in accumulators {
        for k in depths {
          let shape = Op.MMAShape(a, b, k: k, accumulator: accumulator)
          list += inPlace(.mma(shape), shape.accumulatorCount + shape.aCount + shape.bCount)
        }
        for n in a == .bf16 ? Array(stride(from: 8, through: 256, by: 8)) : [8, 64, 256] {
          list += products(n, a, b, accumulator)
        }
      }
    }
    return list
      + [.wgmmaFence, .wgmmaCommit, .wgmmaWait(pending: 1)].flatMap {
        Variant.all(.tensorCore($0), operands: 0, results: 0)
      }
  }

  private static func products(
    _ n: Int, _ a: Op.MatrixElement, _ b: Op.MatrixElement, _ accumulator: Op.AccumulatorType
  ) -> [Variant] {
    var list: [Variant] = []
    let flags = a.bitWidth == 16 && n <= 64 ? [false, true] : [false]
    for inRegisters in [false, true] {
      for transposesA in inRegisters ? [false] : flags {
        for transposesB in flags {
          for negates in [false, true] {
            let shape = Op.WGMMAShape(
              n: n, a, b, accumulator: accumulator, aInRegisters: inRegisters,
              transposesA: transposesA, transposesB: transposesB, negatesA: negates,
              negatesB: negates)
            list += inPlace(.wgmma(shape), shape.accumulatorCount + shape.aCount + 2)
          }
        }
      }
    }
    return list
  }

  private static func inPlace(_ op: Op.TensorCore, _ operands: Int) -> [Variant] {
    Variant.all(
      .tensorCore(op), operands: operands, results: Op.tensorCore(op).inPlaceCount)
  }
}

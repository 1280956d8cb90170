internal import ApusCore
internal import ApusNumerics

extension AttentionCase {
  /// What a case is about: that axis keeps its drawn value when the case must shrink to its budget.
  private enum Focus { case lengths, dims, heads }

  /// Draws a case.
  ///
  /// - Parameters:
  ///   - index: rotates the head dimensions, so that every multiple of 8 has its turn.
  ///   - use: what the case is for; nil draws it.
  static func generate(
    _ random: inout CaseRandom, index: Int, size: CaseSize, use given: AttentionUse? = nil
  ) -> AttentionCase {
    let use = given ?? random.pick(AttentionUse.allCases)
    let focus = random.pick([Focus.lengths, .lengths, .dims, .dims, .heads])
    let (shape, latent) = drawShape(&random, use: use, focus: focus, index: index)
    let lengths = drawLengths(&random, use: use, focus: focus)
    var result = AttentionCase(
      use: use, shape: shape,
      types: AttentionTypes(
        q: random.pick(CaseAxes.types), kv: random.pick(CaseAxes.types),
        o: random.pick(CaseAxes.types)),
      latent: latent, qoLengths: lengths.qo, kvLengths: lengths.kv,
      form: drawForm(&random, use: use), layout: random.pick(KVLayout.allCases),
      isCombined: false, hasSplitQueries: false, sharesPages: random.chance(0.3),
      hasGaps: random.chance(0.4), isShifted: random.chance(0.3),
      hasUnownedRows: random.chance(0.4), isCausal: random.chance(0.5), windowLeft: nil,
      customMask: nil, softmaxScale: nil, softCap: nil, hasAlibi: random.chance(0.15), rope: nil,
      hasSinks: random.chance(0.2), qScale: .one, kScale: .one, vScale: .one, oScale: .one,
      saturates: false, hasLSE: random.chance(0.75),
      convention: random.pick(CaseAxes.conventions), options: drawOptions(&random),
      givesWorkspace: random.chance(0.5))
    result.shrink(&random, focus: size == .full ? focus : nil)
    result.drawModification(&random)
    result.drawScales(&random)
    return result
  }

  private static func drawShape(
    _ random: inout CaseRandom, use: AttentionUse, focus: Focus, index: Int
  ) -> (AttentionShape, LatentShape?) {
    let group = random.pick(CaseAxes.groupSizes)
    if use == .mla {
      let latent = random.pick(CaseAxes.latents)
      let heads = random.chance(0.7) ? 1 : random.int(2...3)
      let vo = random.chance(0.6) ? latent.ckv : random.int(1...latent.ckv)
      let shape = AttentionShape(
        qoHeadCount: heads * group, kvHeadCount: heads, headDimQK: latent.ckv + latent.kpe,
        headDimVO: vo)
      return (shape, latent)
    }
    let heads = random.pick(CaseAxes.kvHeads)
    var qk = random.pick(CaseAxes.emphasisedDims)
    if focus == .dims, random.chance(0.9) { qk = 8 * (1 + index % 72) }
    if focus != .dims, random.chance(0.5) { qk = 8 * random.int(1...24) }
    var vo = Swift.min(qk, 512)
    if random.chance(0.3) {
      vo = random.chance(0.3) ? random.pick(CaseAxes.emphasisedDims) : 8 * (1 + index % 64)
    }
    let shape = AttentionShape(
      qoHeadCount: heads * group, kvHeadCount: heads, headDimQK: qk, headDimVO: vo)
    return (shape, nil)
  }

  private static func drawLengths(_ random: inout CaseRandom, use: AttentionUse, focus: Focus)
    -> (qo: [Int], kv: [Int])
  {
    let isSingle = use == .singleDecode || use == .singlePrefill
    let batch =
      isSingle ? 1 : random.chance(0.06) ? 0 : random.pick(CaseAxes.batches.filter { $0 > 0 })
    let isLong = focus == .lengths && random.chance(0.25)
    var kv = (0..<batch).map { _ in
      random.chance(0.75) ? random.pick(CaseAxes.kvLengths) : random.int(2...300)
    }
    if isLong, batch > 0 { kv[random.int(0...batch - 1)] = random.int(CaseAxes.longKV) }
    let qo: [Int]
    switch use {
    case .singleDecode, .paddedDecode, .pagedDecode, .blockDecode:
      qo = [Int](repeating: 1, count: batch)
    case .speculative:
      qo = [Int](repeating: random.int(2...16), count: batch)
    case .mla:
      qo = [Int](repeating: random.chance(0.5) ? 1 : random.int(2...16), count: batch)
    case .singlePrefill, .raggedPrefill, .pagedPrefill:
      qo = (0..<batch).map { _ in
        random.chance(0.5)
          ? random.pick(CaseAxes.qoLengths)
          : random.chance(0.5) ? random.pick(CaseAxes.qoTileLengths) : random.int(17...64)
      }
    }
    // Queries longer than their context: fully masked first rows under a causal mask.
    if batch > 0, random.chance(0.15) {
      let r = random.int(0...batch - 1)
      kv[r] = random.int(0...Swift.max(qo[r] - 1, 0))
    }
    return (qo, kv)
  }

  private static func drawForm(_ random: inout CaseRandom, use: AttentionUse) -> CacheForm {
    let size = random.pick(CaseAxes.pageSizes)
    switch use {
    case .singleDecode, .singlePrefill, .raggedPrefill: return .ragged
    case .paddedDecode: return .padded
    case .pagedDecode: return .csr(pageSize: size)
    case .blockDecode: return .blockTable(pageSize: size)
    case .pagedPrefill, .speculative:
      return random.chance(0.5) ? .csr(pageSize: size) : .blockTable(pageSize: size)
    case .mla:
      return random.pick([
        .csr(pageSize: size), .csr(pageSize: size), .blockTable(pageSize: size),
        .blockTable(pageSize: size), .ragged, .padded,
      ])
    }
  }

  private static func drawOptions(_ random: inout CaseRandom) -> ExecutionOptions {
    ExecutionOptions(
      precision: random.pick([.fast, .fast, .accurate, .automatic(tolerance: 1e-3)]),
      splitSize: random.chance(0.35) ? random.pick(CaseAxes.splitSizes) : nil,
      disablesSplitKV: random.chance(0.12), isBatchInvariant: random.chance(0.2))
  }

  /// Makes the case fit a budget without touching its focus while anything else can give.
  private mutating func shrink(_ random: inout CaseRandom, focus: Focus?) {
    // Without a focus everything may give: small cases.
    let full = random.pick([1, 1, 1, 1, 1, 1, 1, 4, 4, 10]) * 1_000_000
    let budget = focus == nil ? 6_000 : full
    let elements = focus == nil ? 3_000 : 400_000
    for round in 0..<400
    where work > budget || cacheElements > elements || rowElements > elements {
      // After many rounds the focus gives too.
      let isStuck = round > 60
      switch random.int(0...3) {
      case 0 where focus != .heads || isStuck:
        let heads = shape.kvHeadCount > 1 && random.chance(0.6) ? 1 : shape.kvHeadCount
        let group = random.pick(CaseAxes.groupSizes.filter { $0 <= shape.groupSize })
        resize(heads: heads, group: group, qk: shape.headDimQK, vo: shape.headDimVO)
      case 1 where focus != .dims || isStuck:
        let qk = Swift.min(shape.headDimQK, random.pick([8, 16, 24, 32, 40, 64]))
        if latent == nil {
          resize(
            heads: shape.kvHeadCount, group: shape.groupSize, qk: qk,
            vo: Swift.min(shape.headDimVO, qk))
        } else {
          let small = LatentShape(ckv: 40, kpe: 24)
          latent = small
          resize(
            heads: shape.kvHeadCount, group: shape.groupSize, qk: 64,
            vo: Swift.min(shape.headDimVO, small.ckv))
        }
      case 2 where focus != .lengths || isStuck:
        if let r = kvLengths.indices.max(by: { kvLengths[$0] < kvLengths[$1] }) {
          kvLengths[r] = random.pick(CaseAxes.kvLengths.filter { $0 <= kvLengths[r] / 2 } + [0])
        }
      case 3 where use != .singlePrefill && use != .singleDecode && (batch > 3 || isStuck):
        qoLengths.removeLast()
        kvLengths.removeLast()
      case 3 where use == .singlePrefill || use == .raggedPrefill || use == .pagedPrefill:
        if let r = qoLengths.indices.max(by: { qoLengths[$0] < qoLengths[$1] }) {
          qoLengths[r] = random.pick(CaseAxes.qoLengths.filter { $0 <= qoLengths[r] })
        }
      default: continue
      }
    }
  }

  private mutating func resize(heads: Int, group: Int, qk: Int, vo: Int) {
    shape = AttentionShape(
      qoHeadCount: heads * group, kvHeadCount: heads, headDimQK: qk, headDimVO: vo)
  }

  private mutating func drawModification(_ random: inout CaseRandom) {
    let isPaged = form.pageSize != nil
    if latent != nil {
      isCombined = random.chance(0.5)
      hasSplitQueries = random.chance(0.5)
    } else {
      isCombined = isPaged && shape.headDimQK == shape.headDimVO && random.chance(0.4)
    }
    sharesPages = sharesPages && isPaged && batch > 1
    let longest = kvLengths.max() ?? 0
    if random.chance(0.25) { windowLeft = random.int(0...Swift.max(longest, 1)) }
    let pairs = zip(qoLengths, kvLengths).reduce(0) { $0 + $1.0 * $1.1 }
    if random.chance(0.2), pairs <= 200_000 { customMask = random.pick(BitOrder.allCases) }
    if random.chance(0.4) {
      let typical = Float(1 / Double(shape.headDimQK).squareRoot())
      softmaxScale = random.pick([typical * 1.5, typical * 0.5, 0.0625, -typical, 0])
    }
    if random.chance(0.2) { softCap = random.pick([0, 0.5, 5, 30]) }
    if latent == nil, random.chance(0.2), work <= 1_000_000 {
      rope = random.pick(CaseAxes.ropes).1
    }
  }

  private mutating func drawScales(_ random: inout CaseRandom) {
    guard random.chance(0.6) else { return }
    qScale = random.pick([.one, .tensor, .head])
    kScale = random.pick([.one, .tensor, .head, .tokenHead])
    if latent != nil {
      vScale = kScale == .tokenHead ? .one : random.pick([.one, .tensor, .head])
    } else {
      vScale = random.pick([.one, .tensor, .head, .tokenHead])
    }
    oScale = random.pick([.one, .tensor, .head])
    let canSaturate = types.o == .e4m3 || types.o == .e5m2 || types.o == .f16
    saturates = canSaturate && oScale != .one && random.chance(0.4)
  }
}

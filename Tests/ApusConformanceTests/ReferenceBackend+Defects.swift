import ApusCore
import ApusNumerics
import ApusReference

extension ReferenceBackend {
  /// The problem and arguments as the defect understands them.
  func distort(
    _ problem: AttentionProblem, _ arguments: AttentionArguments
  ) -> (AttentionProblem, AttentionArguments) {
    var (problem, arguments) = (problem, arguments)
    switch defect {
    case .causalOffByOne where problem.mask.isCausal:
      replaceMask(&problem) { r, i, j, mask, qo, kv in
        let isVisible = mask.allows(request: r, i, j, qoLength: qo, kvLength: kv)
        return isVisible && j < kv - qo + i
      }
    case .causalTopLeft where problem.mask.isCausal:
      let custom = problem.mask.custom
      let window = problem.mask.windowLeft
      replaceMask(&problem) { r, i, j, _, qo, kv in
        let rest = AttentionMask(windowLeft: window, custom: custom)
        return j <= i && rest.allows(request: r, i, j, qoLength: qo, kvLength: kv)
      }
    case .windowOffByOne:
      if let window = problem.mask.windowLeft { problem.mask.windowLeft = window + 1 }
    case .ignoresMask: problem.mask = .none
    case .wrongMaskBitOrder:
      if let mask = problem.mask.custom {
        problem.mask.custom = CustomMask(
          bytes: mask.bytes, byteIndptr: mask.byteIndptr,
          bitOrder: mask.bitOrder == .little ? .big : .little)
      }
    case .readsUnusedSlot: resizeKV(&problem, by: 1)
    case .dropsLastKey: resizeKV(&problem, by: -1)
    case .ignoresPageOrder: sortPages(&problem)
    case .ignoresSinks: arguments.sinks = nil
    case .ignoresSoftCap: problem.modification.logitsSoftCap = nil
    case .ignoresAlibi: problem.modification.alibiSlopes = nil
    case .ignoresRope: problem.modification.rope = nil
    case .wrongPairing:
      if let rope = problem.modification.rope {
        problem.modification.rope?.pairing = rope.pairing == .half ? .interleaved : .half
      }
    case .wrongScale: problem.modification.softmaxScale = problem.softmaxScale * 1.01
    case .ignoresQScale: arguments.scales.q = .one
    case .ignoresKScale: arguments.scales.k = .one
    case .ignoresVScale: arguments.scales.v = .one
    case .ignoresOScale: arguments.scales.o = .one
    case .multipliesOScale:
      if case .tensor(let value) = arguments.scales.o { arguments.scales.o = .tensor(1 / value) }
    default: break
    }
    return (problem, arguments)
  }

  /// Errors that are easier to plant in the result.
  func damage(
    _ problem: AttentionProblem, _ arguments: AttentionArguments,
    _ result: inout (o: [Float], lse: [Float])
  ) {
    let (heads, width) = (problem.shape.qoHeadCount, problem.shape.headDimVO)
    let (kvHeads, group) = (problem.shape.kvHeadCount, problem.shape.groupSize)
    switch defect {
    case .wrongHeadMap where kvHeads > 1 && group > 1:
      // As if query head h read KV head h % kvHeads.
      let original = result
      for row in 0..<problem.qoIndptr.end {
        for head in 0..<heads {
          let from = row * heads + head % kvHeads * group + head / kvHeads
          let to = row * heads + head
          result.lse[to] = original.lse[from]
          for e in 0..<width { result.o[to * width + e] = original.o[from * width + e] }
        }
      }
    case .sinkInLSE:
      guard let sinks = arguments.sinks else { return }
      for i in result.lse.indices where result.lse[i].isFinite {
        result.lse[i] += HostTensor(sinks).float([i % heads]) > 0 ? 0.1 : 0.01
      }
    case .coarseP where problem.options.precision == .accurate:
      if let coarse = try? Reference.naiveAttention(problem, arguments, pType: .bf16) {
        result = coarse
      }
    case .truncatesOutput:
      guard let exact = try? Reference.attention(problem, arguments) else { return }
      for i in exact.o.indices where exact.o[i].isFinite {
        let nearest = Double(result.o[i])
        if nearest.magnitude > exact.o[i].magnitude {
          result.o[i] -= Float(problem.types.o.ulp(of: nearest)) * (nearest > 0 ? 1 : -1)
        }
      }
    case .variesWithBatch where problem.batch > 1: nudge(&result.o)
    case .variesWithPages:
      if case .paged(let table) = problem.geometry, table.batch > 0, table.pageCount(0) > 0,
        table.page(0, 0) % 2 == 0
      {
        nudge(&result.o)
      }
    case .multipliesMasked:
      // Weight 0 times the NaN of a masked key is NaN.
      var unmasked = problem
      unmasked.mask = .none
      guard let all = try? Reference.naiveAttention(unmasked, arguments) else { return }
      for i in all.o.indices where all.o[i].isNaN { result.o[i] = .nan }
    case .losesNaN:
      for i in result.o.indices where result.o[i].isNaN { result.o[i] = 0 }
    default: break
    }
  }

  /// Moves every value by one unit of f32: below any tolerance, but other bits.
  func nudge(_ values: inout [Float]) {
    for i in values.indices where values[i].isFinite { values[i] = values[i].nextUp }
  }

  private func replaceMask(
    _ problem: inout AttentionProblem,
    _ isVisible: (Int, Int, Int, AttentionMask, Int, Int) -> Bool
  ) {
    let mask = problem.mask
    var flags: [Bool] = []
    var counts: [Int] = []
    for r in 0..<problem.batch {
      let (qo, kv) = (problem.qoLength(r), problem.kvLength(r))
      counts.append(qo * kv)
      for i in 0..<qo {
        for j in 0..<kv { flags.append(isVisible(r, i, j, mask, qo, kv)) }
      }
    }
    guard let custom = try? CustomMask(packing: flags, elementCounts: counts) else { return }
    problem.mask = .custom(custom)
  }

  /// Lengths changed where the lists allow it.
  private func resizeKV(_ problem: inout AttentionProblem, by delta: Int) {
    // A custom mask belongs to the true lengths.
    guard problem.mask.custom == nil else { return }
    switch problem.geometry {
    case .padded(let maxLength, let lengths):
      let changed = lengths.map { min(max($0 + delta, 0), maxLength) }
      problem.geometry = .padded(maxLength: maxLength, lengths: changed)
    case .paged(let table):
      let size = table.pageSize
      func changed(_ length: Int) -> Int {
        let used = length % size
        if delta > 0 { return used > 0 ? length + 1 : length }
        return used > 1 ? length - 1 : length
      }
      switch table.form {
      case .blockTable(let blocks, let width, let lengths):
        problem.geometry = .paged(
          PageTable(
            pageSize: size, blocks: blocks, pagesPerRequest: width, lengths: lengths.map(changed)))
      case .csr(let indptr, let indices, let last):
        problem.geometry = .paged(
          PageTable(
            pageSize: size, indptr: indptr, indices: indices,
            lastPageLength: last.map { (1...size).contains(Int($0)) ? Int32(changed(Int($0))) : $0 }
          ))
      }
    case .ragged: break
    }
  }

  private func sortPages(_ problem: inout AttentionProblem) {
    guard case .paged(let table) = problem.geometry, case .csr = table.form else { return }
    var indices: [Int32] = []
    let compressed = table.compressed
    guard case .csr(let indptr, let original, let last) = compressed.form else { return }
    indices = original
    for r in 0..<indptr.batch { indices[indptr.rows(r)].sort() }
    problem.geometry = .paged(
      PageTable(
        pageSize: table.pageSize, indptr: indptr, indices: indices, lastPageLength: last))
  }
}

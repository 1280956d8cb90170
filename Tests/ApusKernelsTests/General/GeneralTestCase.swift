import ApusCore
import ApusIR
import ApusKernels
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

/// An attention problem and its tensors, in the definition's memory and on the device.
struct GeneralTestCase {
  enum Geometry: CaseIterable { case ragged, padded, csr, blocks }
  enum Operand: CaseIterable { case separate, combined, latent, packedLatent }
  enum Scaling: CaseIterable { case one, tensor, head, tokenHead }

  var geometry = Geometry.csr
  var operand = Operand.separate
  var splitsQuery = false
  var layout = KVLayout.nhd
  var types = AttentionTypes(q: .bf16)
  var qoHeads = 4
  var kvHeads = 2
  var dimQK = 16
  var dimVO = 16
  var qoLengths = [1, 3, 0]
  var kvLengths = [9, 5, 2]
  var pageSize = 4
  var mask = AttentionMask.none
  var customOrder: BitOrder?
  var modification = ScoreModification()
  var convention = LSEConvention.base2
  var splitSize: Int?
  var hasSinks = false
  var hasLSE = true
  var qScaling = Scaling.one
  var kScaling = Scaling.one
  var vScaling = Scaling.one
  var oScaling = Scaling.one
  var kpeScaling = Scaling.one
  var isPadded = false
  /// Writes NaN to this key and value of request 0.
  var poisonedKey: Int?
  var seed: UInt64 = 1

  var isLatent: Bool { operand == .latent || operand == .packedLatent }

  @MainActor @discardableResult func check(
    target: Target = .sm90a, sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) throws -> [any ShippedKernel] {
    var random = SplitMix64(seed: seed)
    let pad = isPadded ? 3 : 0
    let batch = qoLengths.count
    let qoIndptr = RaggedIndptr(lengths: qoLengths)
    let pageCounts = kvLengths.map { ($0 + pageSize - 1) / pageSize }
    let pageCount = pageCounts.reduce(0, +) + 2
    let kvGeometry = makeGeometry(pageCount, &random)
    let latent = isLatent ? LatentShape(ckv: dimQK - 8, kpe: 8) : nil
    var mask = mask
    if let order = customOrder {
      let counts = zip(qoLengths, kvLengths).map { $0 * $1 }
      mask.custom = try CustomMask(
        packing: (0..<counts.reduce(0, +)).map { _ in Bool.random(using: &random) },
        elementCounts: counts, bitOrder: order)
    }
    let problem = AttentionProblem(
      shape: AttentionShape(
        qoHeadCount: qoHeads, kvHeadCount: kvHeads, headDimQK: dimQK, headDimVO: dimVO),
      types: types, qoIndptr: qoIndptr, geometry: kvGeometry, layout: layout, latent: latent,
      mask: mask, modification: modification, lseConvention: convention,
      options: ExecutionOptions(precision: .accurate, splitSize: splitSize))
    try problem.validate(operation: "attention")

    // Tensors.
    func tensor(_ type: ScalarType, _ shape: [Int], _ range: ClosedRange<Float> = -2...2)
      -> TestTensor
    {
      let tensor = TestTensor(
        type, shape, padding: shape.map { _ in 0 }.dropLast() + [pad], lead: pad,
        random: &random)
      tensor.fill { _ in Float.random(in: range, using: &random) }
      return tensor
    }
    let rows = qoIndptr.end
    let outer: [Int] =
      switch geometry {
      case .ragged:
        layout.ordered(tokens: kvLengths.reduce(0, +) + 1, heads: kvHeads).map { $0 ?? 0 }
      case .padded:
        [batch] + layout.ordered(tokens: (kvLengths.max() ?? 0) + 1, heads: kvHeads).map { $0 ?? 0 }
      case .csr, .blocks:
        [pageCount] + layout.ordered(tokens: pageSize, heads: kvHeads).map { $0 ?? 0 }
      }
    let qType = ScalarType(types.q)
    let kvType = ScalarType(types.kv)
    let queries: [TestTensor] =
      splitsQuery
      ? [tensor(qType, [rows, qoHeads, dimQK - 8]), tensor(qType, [rows, qoHeads, 8])]
      : [tensor(qType, [rows, qoHeads, dimQK])]
    let keys: [TestTensor] =
      switch operand {
      case .separate: [tensor(kvType, outer + [dimQK]), tensor(kvType, outer + [dimVO])]
      case .combined: [tensor(kvType, [outer[0], 2] + outer.dropFirst() + [dimQK])]
      case .latent: [tensor(kvType, outer + [dimQK - 8]), tensor(kvType, outer + [8])]
      case .packedLatent: [tensor(kvType, outer + [dimQK])]
      }
    let headScales = (0..<5).map { index in
      tensor(.f32, [index == 0 || index == 3 ? qoHeads : kvHeads], 0.25...2)
    }
    let tokenScales = (0..<2).map { _ in tensor(.f32, outer, 0.25...2) }
    let sinks = tensor(.f32, [qoHeads])
    let output = tensor(ScalarType(types.o), [rows + 1, qoHeads, dimVO])
    let lse = TestTensor(.f32, [rows, qoHeads], order: [1, 0], random: &random)
    if let poisonedKey { poison(keys, problem, poisonedKey) }

    var device = TestDevice()
    for (index, tensor) in (queries + keys + headScales + tokenScales + [sinks]).enumerated() {
      device.bind("input\(index)", tensor)
    }
    device.bind("o", output, isWritable: true)
    device.bind("lse", lse, isWritable: true)
    func arguments(_ view: (TestTensor) -> TensorView) -> AttentionArguments {
      func scale(_ scaling: Scaling, _ index: Int) -> Scale {
        switch scaling {
        case .one: .one
        case .tensor: .tensor(0.5 + 0.25 * Float(index))
        case .head: .head(view(headScales[index]))
        case .tokenHead: .tokenHead(view(tokenScales[index == 1 ? 0 : 1]))
        }
      }
      let kv: KVOperand =
        switch operand {
        case .separate: .separate(k: view(keys[0]), v: view(keys[1]))
        case .combined: .combined(view(keys[0]))
        case .latent: .latent(ckv: view(keys[0]), kpe: view(keys[1]))
        case .packedLatent: .packedLatent(view(keys[0]))
        }
      return AttentionArguments(
        q: splitsQuery
          ? .split(nope: view(queries[0]), rope: view(queries[1])) : .packed(view(queries[0])),
        kv: kv, o: view(output), lse: hasLSE ? view(lse) : nil,
        scales: AttentionScales(
          q: scale(qScaling, 0), k: scale(kScaling, 1), v: scale(vScaling, 2),
          o: scale(oScaling, 3), kpe: scale(kpeScaling, 4)),
        sinks: hasSinks ? view(sinks) : nil)
    }
    let expected = try Reference.attention(problem, arguments(\.host))
    let onDevice = arguments(\.device)
    try onDevice.validate(for: problem, memory: .cuda(device: 0), operation: "attention")
    let general = GeneralAttention(problem, target: target)
    let launches = general.launches(for: onDevice)
    let before = output.copy()
    try simulate(
      LaunchPlan(
        launches: launches, metadata: general.metadata,
        workspaceByteCount: general.workspaceByteCount), on: &device, target: target,
      sourceLocation: sourceLocation)
    device.readBack()
    var mismatches = Mismatches()
    compare(expected, output, lse, before, rows, &mismatches)
    mismatches.expectNone(sourceLocation: sourceLocation)
    return launches.map(\.kernel)
  }

  /// Every score is at most `X = scale · d · 2·2 · scales` (elements are within 2, scales within 2).
  /// It errs by `(d + 16)·u·X` for product, scales, factors and roundings, 16u·X for rotation, 8u of
  /// the cap and of ALiBi's term; that moves o by `expm1(2·error)` of `Σ p|v|`, to which sums of n
  /// terms and rescales add `2u(2n + 32)` (the bound of the conformance suite's tolerance).
  private func compare(
    _ expected: AttentionResult, _ output: TestTensor, _ lse: TestTensor, _ before: TestTensor,
    _ rows: Int, _ mismatches: inout Mismatches
  ) {
    let u = 0x1p-24
    let d = Double(dimQK)
    let n = Double(kvLengths.max() ?? 0)
    let largest = 4.0 * 4.0  // scales of q and k
    let x =
      Double(modification.resolvedScale(headDimQK: dimQK).magnitude) * d * 4 * largest
    let slope = Double(modification.alibiSlopes?.map(\.magnitude).max() ?? 0)
    let reach = Double((kvLengths + qoLengths).max() ?? 0)
    let size = x + slope * reach
    let score = u * ((d + 32) * x + 8 * Double(modification.activeSoftCap ?? 0) + 8 * slope * reach)
    for row in 0..<rows {
      for head in 0..<qoHeads {
        let cell = row * qoHeads + head
        for e in 0..<dimVO {
          let wanted = expected.o[cell * dimVO + e]
          let found = Double(output.float([row, head, e]))
          let limit = Double(types.o.greatestFiniteMagnitude)
          let error =
            (Double.expm1(2 * score) + 2 * u * (2 * n + 32))
            * expected.oMagnitude[cell * dimVO + e]
          let clamped = Swift.min(Swift.max(wanted, -limit), limit)
          let allowed =
            error + 0.5 * types.o.ulp(of: Swift.min(clamped.magnitude + error, limit))
          mismatches.check(
            wanted.isNaN ? found.isNaN : (found - clamped).magnitude <= allowed,
            "o[\(row), \(head), \(e)]: \(found), not \(wanted); \(self)")
        }
        guard hasLSE else { continue }
        let base2 = expected.lse[cell]
        let found = Double(lse.float([row, head]))
        if base2 == -.infinity {
          mismatches.check(
            found == (convention.emptyRow == .negativeInfinity ? -.infinity : .infinity),
            "lse[\(row), \(head)] of an empty row: \(found); \(self)")
          continue
        }
        let unit = convention.base == .two ? 1 : 0.6931471805599453
        let allowed = (score + u * (2 * n + 16)) * 1.5 + 4 * u * (base2.magnitude + 1.5 * size)
        mismatches.check(
          base2.isNaN ? found.isNaN : (found - base2 * unit).magnitude <= allowed,
          "lse[\(row), \(head)]: \(found), not \(base2 * unit); \(self)")
      }
    }
    for head in 0..<qoHeads {
      for e in 0..<dimVO {
        mismatches.check(
          output.bits([rows, head, e]) == before.bits([rows, head, e]),
          "a row behind the batch was written; \(self)")
      }
    }
  }

  private func poison(_ keys: [TestTensor], _ problem: AttentionProblem, _ key: Int) {
    guard case .paged(let table) = problem.geometry else { return }
    let page = table.page(0, key / pageSize)
    let slot = key % pageSize
    for tensor in keys {
      guard let base = tensor.storage.baseAddress else { continue }
      for index in tensor.indices where index[0] == page {
        let token = layout == .nhd ? index[1] : index[2]
        if token == slot {
          tensor.type.elementType?.store(
            Float.nan, to: base + tensor.lead, at: tensor.offset(index), overflow: .saturate)
        }
      }
    }
  }

  private func makeGeometry(_ pageCount: Int, _ random: inout SplitMix64) -> KVGeometry {
    let pages = (0..<Int32(pageCount)).shuffled(using: &random)
    var next = 0
    let perRequest = kvLengths.map { length -> [Int32] in
      let count = (length + pageSize - 1) / pageSize
      defer { next += count }
      return Array(pages[next..<next + count])
    }
    switch geometry {
    case .ragged: return .ragged(RaggedIndptr(lengths: kvLengths))
    case .padded: return .padded(maxLength: (kvLengths.max() ?? 0) + 1, lengths: kvLengths)
    case .csr:
      return .paged(
        PageTable(
          pageSize: pageSize, indptr: RaggedIndptr(lengths: perRequest.map(\.count)),
          indices: perRequest.flatMap { $0 },
          lastPageLength: kvLengths.map { $0 == 0 ? 0 : Int32(($0 - 1) % pageSize + 1) }))
    case .blocks:
      let width = (perRequest.map(\.count).max() ?? 0) + 1
      return .paged(
        PageTable(
          pageSize: pageSize,
          blocks: perRequest.flatMap { $0 + [Int32](repeating: -1, count: width - $0.count) },
          pagesPerRequest: width, lengths: kvLengths))
    }
  }
}

extension Double {
  /// e^x − 1 for small x, by the first terms of its series.
  static func expm1(_ x: Double) -> Double { x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4))) }
}

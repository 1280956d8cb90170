internal import ApusCore
internal import ApusNumerics

/// How often each value of each axis was met.
public struct Coverage: Sendable, Hashable, CustomStringConvertible {
  /// Counts by axis and value.
  public private(set) var counts: [String: [String: Int]] = [:]
  /// Values in the order in which they are printed, and which must all occur.
  private var order: [(axis: String, values: [String])]
  /// Cases counted.
  public private(set) var caseCount = 0
  /// Head dimensions met, apart from the axes.
  public private(set) var headDims: Set<Int> = []
  /// Cases that cross a boundary of each kind, or of any.
  public private(set) var crossings: [String: Int] = [:]

  /// Nothing counted yet.
  public init() {
    order = Self.axes
    for (axis, values) in order {
      for value in values { counts[axis, default: [:]][value] = 0 }
    }
  }

  /// Coverage of some cases.
  public init(_ cases: some Sequence<ConformanceCase>) {
    self.init()
    for value in cases { add(value) }
  }

  /// Counts one case.
  public mutating func add(_ value: ConformanceCase) {
    caseCount += 1
    count("family", value.family)
    switch value.content {
    case .attention(let attention): add(attention)
    case .append(let append):
      count("append cache", append.latent == nil ? "k/v" : "latent")
      count("append cache", append.isCombined ? "one tensor" : "two tensors")
      count("append types", append.source == append.cache ? "same" : "converted")
      count("append k-scale", append.kScale.rawValue)
      if append.latent == nil { count("append v-scale", append.vScale.rawValue) }
    case .merge(let merge):
      count("merge", merge.kind.rawValue)
      count("merge convention", "\(merge.convention)")
    case .rotary(let rotary):
      count("rope operator", rotary.ropeName)
      count("rope source", rotary.hasTable ? "table" : "frequencies")
      count("rope place", rotary.isInPlace ? "in place" : "out of place")
    case .packBits(let pack): count("packbits", "\(pack.order)")
    }
  }

  private mutating func count(_ axis: String, _ value: String) {
    counts[axis, default: [:]][value, default: 0] += 1
  }

  private mutating func add(_ value: AttentionCase) {
    let shape = value.shape
    headDims.insert(shape.headDimQK)
    count("q type", "\(value.types.q)")
    count("kv type", "\(value.types.kv)")
    count("o type", "\(value.types.o)")
    if value.latent == nil {
      count("head dim qk", Self.dimBucket(shape.headDimQK))
      count("head dim vo", Self.dimBucket(shape.headDimVO))
      count("head dims", shape.headDimQK == shape.headDimVO ? "equal" : "different")
    } else {
      count("latent heads", shape.kvHeadCount == 1 ? "1" : "more")
      count("latent cache", value.isCombined ? "packed" : "two tensors")
      count("latent rows", value.qoLengths.first.map { $0 > 1 ? "several" : "1" } ?? "none")
      count("latent queries", value.hasSplitQueries ? "two tensors" : "one tensor")
      count("latent value width", shape.headDimVO % 2 == 0 ? "even" : "odd")
    }
    count("group size", "\(shape.groupSize)")
    count("kv heads", "\(shape.kvHeadCount)")
    count("form", value.form.name)
    if let size = value.form.pageSize { count("page size", "\(size)") }
    count("layout", "\(value.layout)")
    count("batch", "\(value.batch)")
    for length in Set(value.kvLengths.map(Self.kvBucket)) { count("kv length", length) }
    for length in Set(value.qoLengths.map(Self.qoBucket)) { count("qo length", length) }
    if zip(value.qoLengths, value.kvLengths).contains(where: { $0 > $1 && $1 > 0 }) {
      count("shape", "qo longer than kv")
    }
    countMask(value)
    countStorage(value)
    countCrossings(value)
  }

  private mutating func countMask(_ value: AttentionCase) {
    let parts = [value.isCausal, value.windowLeft != nil, value.customMask != nil]
    let names = zip(parts, ["causal", "window", "custom"]).filter(\.0).map(\.1)
    count("mask", names.isEmpty ? "none" : names.joined(separator: "+"))
    if let order = value.customMask { count("mask bits", "\(order)") }
    if let cap = value.softCap { count("modification", cap == 0 ? "softcap 0" : "softcap") }
    if value.hasAlibi { count("modification", "alibi") }
    if value.hasSinks { count("modification", "sinks") }
    count("softmax scale", value.softmaxScale == nil ? "default" : "explicit")
    if let rope = value.rope, let name = CaseAxes.ropes.first(where: { $0.1 == rope })?.0 {
      count("rope in attention", name)
    }
  }

  private mutating func countStorage(_ value: AttentionCase) {
    count("q-scale", value.qScale.rawValue)
    count("k-scale", value.kScale.rawValue)
    count(value.latent == nil ? "v-scale" : "kpe-scale", value.vScale.rawValue)
    count("o-scale", value.oScale.rawValue)
    count("lse", value.hasLSE ? "\(value.convention)" : "none")
    let flags: [(Bool, String)] = [
      (value.isCombined && value.latent == nil, "combined kv"), (value.sharesPages, "shared pages"),
      (value.hasGaps, "gaps"), (value.isShifted, "unaligned"),
      (value.hasUnownedRows, "unowned rows"), (value.saturates, "saturating o"),
      (value.givesWorkspace, "workspace given"),
    ]
    for (isOn, name) in flags where isOn { count("storage", name) }
    let options = value.options
    switch options.precision {
    case .fast: count("precision", "fast")
    case .accurate: count("precision", "accurate")
    case .automatic: count("precision", "automatic")
    }
    count("split size", options.splitSize.map { "\($0)" } ?? "planner's")
    if options.disablesSplitKV { count("option", "unsplit") }
    if options.isBatchInvariant { count("option", "batch-invariant") }
  }

  private mutating func countCrossings(_ value: AttentionCase) {
    // Tiles of 64 keys or rows; smaller ones are crossed all the more.
    let pairs = zip(value.qoLengths, value.kvLengths)
    let longest = pairs.filter { $0.0 > 0 }.map(\.1).max() ?? 0
    var any = false
    func cross(_ kind: String, _ condition: Bool) {
      guard condition else { return }
      crossings[kind, default: 0] += 1
      any = true
    }
    cross("tile", longest > 64 || (value.qoLengths.max() ?? 0) > 64)
    cross("page", value.form.pageSize.map { longest > $0 } ?? false)
    let isSplit = !value.options.disablesSplitKV
    cross("split", isSplit && (value.options.splitSize.map { longest > $0 } ?? false))
    if any { crossings["any", default: 0] += 1 }
  }

  // MARK: - Axes

  private static func dimBucket(_ dim: Int) -> String {
    if CaseAxes.emphasisedDims.contains(dim) { return "\(dim)" }
    let edges = [0] + CaseAxes.emphasisedDims + [584]
    for (low, high) in zip(edges, edges.dropFirst()) where dim > low && dim < high {
      return "\(low + 8)...\(high - 8)"
    }
    return "\(dim)"
  }

  private static func kvBucket(_ length: Int) -> String {
    if CaseAxes.kvLengths.contains(length) { return "\(length)" }
    return length >= CaseAxes.longKV.lowerBound ? "1000..." : "other"
  }

  private static func qoBucket(_ length: Int) -> String {
    CaseAxes.qoLengths.contains(length) ? "\(length)" : "other"
  }

  private static func names(_ values: [some CustomStringConvertible]) -> [String] {
    values.map(\.description)
  }

  private static var axes: [(axis: String, values: [String])] {
    let types = names(CaseAxes.types)
    let scales = ScaleChoice.allCases.map(\.rawValue)
    let headScales = scales.filter { $0 != "token-head" }
    let dims = Set(stride(from: 8, through: 576, by: 8).map(dimBucket))
    let orderedDims = dims.sorted { leastNumber($0) < leastNumber($1) }
    let conventions = names(CaseAxes.conventions)
    let ropes = CaseAxes.ropes.map(\.0)
    return [
      (
        "family",
        AttentionUse.allCases.map(\.rawValue) + ["append", "merge", "rope", "packbits"]
      ),
      ("q type", types), ("kv type", types), ("o type", types),
      ("head dim qk", orderedDims), ("head dim vo", orderedDims),
      ("head dims", ["equal", "different"]),
      ("group size", names(CaseAxes.groupSizes)), ("kv heads", names(CaseAxes.kvHeads)),
      ("form", ["ragged", "padded", "csr", "block table"]),
      ("page size", names(CaseAxes.pageSizes)), ("layout", names(KVLayout.allCases)),
      ("batch", names(CaseAxes.batches)),
      ("kv length", names(CaseAxes.kvLengths) + ["1000...", "other"]),
      ("qo length", names(CaseAxes.qoLengths) + ["other"]), ("shape", ["qo longer than kv"]),
      (
        "mask",
        [
          "none", "causal", "window", "custom", "causal+window", "causal+custom", "window+custom",
          "causal+window+custom",
        ]
      ),
      ("mask bits", names(BitOrder.allCases)),
      ("modification", ["softcap", "softcap 0", "alibi", "sinks"]),
      ("softmax scale", ["default", "explicit"]), ("rope in attention", ropes),
      ("q-scale", headScales), ("k-scale", scales), ("v-scale", scales), ("o-scale", headScales),
      ("lse", conventions + ["none"]),
      (
        "storage",
        [
          "combined kv", "shared pages", "gaps", "unaligned", "unowned rows", "saturating o",
          "workspace given",
        ]
      ),
      ("precision", ["fast", "accurate", "automatic"]),
      ("split size", ["planner's"] + names(CaseAxes.splitSizes)),
      ("option", ["unsplit", "batch-invariant"]),
      ("latent heads", ["1", "more"]), ("latent cache", ["packed", "two tensors"]),
      ("latent queries", ["one tensor", "two tensors"]), ("latent rows", ["1", "several"]),
      ("latent value width", ["even", "odd"]), ("kpe-scale", headScales),
      ("append cache", ["k/v", "latent", "one tensor", "two tensors"]),
      ("append types", ["same", "converted"]), ("append k-scale", scales),
      ("append v-scale", scales), ("merge", MergeCase.Kind.allCases.map(\.rawValue)),
      ("merge convention", conventions), ("rope operator", ropes),
      ("rope source", ["frequencies", "table"]), ("rope place", ["in place", "out of place"]),
      ("packbits", names(BitOrder.allCases)),
    ]
  }

  private static func leastNumber(_ name: String) -> Int {
    Int(name.prefix { $0.isNumber }) ?? 0
  }

  /// Values met fewer than `minimum` times, as `axis value: count`.
  public func gaps(minimum: Int) -> [String] {
    order.flatMap { axis, values in
      values.compactMap { value in
        let count = counts[axis]?[value] ?? 0
        return count < minimum ? "\(axis) \(value): \(count)" : nil
      }
    }
  }

  /// Share of the cases that cross a tile, page or split boundary.
  public var crossingShare: Double {
    caseCount == 0 ? 0 : Double(crossings["any"] ?? 0) / Double(caseCount)
  }

  /// The table: one axis a paragraph, `value count` in the axis's order.
  public var description: String { text(omittingUnmetAxes: false) }

  /// The table without the axes that no case has, such as masks among merges.
  public var metText: String { text(omittingUnmetAxes: true) }

  private func text(omittingUnmetAxes omits: Bool) -> String {
    var lines: [String] = []
    for (axis, values) in order {
      if omits, counts[axis]?.values.allSatisfy({ $0 == 0 }) ?? true { continue }
      let cells = values.map { "\($0): \(counts[axis]?[$0] ?? 0)" }
      lines += Self.wrapped(cells, label: axis)
    }
    let kinds = ["tile", "page", "split", "any"].map { "\($0): \(crossings[$0] ?? 0)" }
    return (lines + Self.wrapped(kinds, label: "crossings")).joined(separator: "\n")
  }

  private static func wrapped(_ cells: [String], label: String) -> [String] {
    let indent = 20
    var lines: [String] = []
    var line = label + String(repeating: " ", count: Swift.max(indent - label.count, 1))
    for (i, cell) in cells.enumerated() {
      let piece = cell + (i == cells.count - 1 ? "" : "  ")
      if line.count + cell.count > 98 {
        lines.append(line.trimmingTrailingSpaces)
        line = String(repeating: " ", count: indent)
      }
      line += piece
    }
    return lines + [line.trimmingTrailingSpaces]
  }

  /// Two coverages are equal when they counted the same.
  public static func == (left: Coverage, right: Coverage) -> Bool {
    left.counts == right.counts && left.crossings == right.crossings
      && left.caseCount == right.caseCount && left.headDims == right.headDims
  }

  /// Hashes what equality compares.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(counts)
    hasher.combine(crossings)
    hasher.combine(caseCount)
    hasher.combine(headDims)
  }
}

extension String {
  fileprivate var trimmingTrailingSpaces: String {
    var text = self
    while text.last == " " { text.removeLast() }
    return text
  }
}

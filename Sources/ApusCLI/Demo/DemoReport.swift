/// Everything that `apus demo` found.
struct DemoReport: Codable, Sendable {
  /// Where it ran.
  var machine: MachineInfo
  /// Instruction set of the CPU back end.
  var instructionSet: String
  /// Measured limits.
  var limits: LimitsReport
  /// The data file's own words.
  var data: [String: String]
  /// What was read of it.
  var dataShape: String
  /// Requests of the decode batch and their tokens.
  var decodeShape: String
  /// Operators, in the order in which they ran.
  var rows: [DemoRow]
  /// Storage types.
  var storage: [StorageRow]

  /// Whether every bound holds.
  var isWithinBounds: Bool {
    rows.allSatisfy(\.isWithinBound) && storage.allSatisfy(\.isWithinBound)
  }

  /// The report for a terminal of 100 columns.
  var text: String {
    [heading, "", operatorTable, "", Self.operatorNote, "", storageTable, "", Self.storageNote]
      .joined(separator: "\n") + "\n\n" + verdict
  }

  private var heading: String {
    let source = [data["model"], data["text"]].compactMap { $0 }.joined(separator: ", ")
    return """
      data     \(source.isEmpty ? "unnamed" : source)
               \(dataShape)
               \(decodeShape)
      machine  \(machine.cpuModel), \(limits.threadCount) threads, \(instructionSet)
      limits   read \(Format.bytesPerSecond(limits.readBytesPerSecond)), multiply-add \
      \(Format.flops(limits.fmaFlopsPerSecond)) (measured now)
      """
  }

  private var operatorTable: String {
    var table = TextTable([
      ("operator", .left), ("types", .left), ("back end", .left), ("time", .right),
      ("rate", .right), ("limit", .right), ("error    bound", .left),
    ])
    for row in rows {
      let rate =
        row.bytesPerSecond.map(Format.bytesPerSecond) ?? row.flopsPerSecond.map(Format.flops) ?? ""
      table.add([
        row.operation, row.types, row.backend, Format.seconds(row.seconds), rate,
        Format.percent(row.fractionOfLimit),
        Self.comparison(row.error, row.bound, row.isWithinBound),
      ])
    }
    return table.text()
  }

  private static let operatorNote = """
    types: q and o · K/V cache / scale granularity. time: median, one layer. limit: fraction of the
    measured read bandwidth (GB/s) or multiply-add peak (GFLOP/s). error: relative L2 against float64
    on the same stored operands, the larger of the layers; log-sum-exps are checked likewise.
    bound: 2 × error of the naive f32 computation + rounding of the exact result to o's type.
    Append: error of what is stored, bound by half a step of the type; its bytes are also compared
    with the definition's.
    """

  private var storageTable: String {
    var table = TextTable([
      ("whole way from f32 tensors", .left), ("types", .left), ("cache bytes/token", .right),
      ("error    bound", .left),
    ])
    for row in storage {
      table.add([
        row.operation, row.types,
        row.cacheBytesPerToken.map { Format.shortest($0) } ?? "",
        Self.comparison(row.error, row.bound, row.isWithinBound),
      ])
    }
    return table.text()
  }

  private static let storageNote = """
    error: relative L2 against float64 attention over the f32 tensors (stored in the data file): what
    storing q, K, V and o in these types costs. bound: 2 × the error expected of independent roundings
    of each value, computed from the data, + the bound above. cache bytes/token: of one layer.
    """

  private var verdict: String {
    let count = rows.count + storage.count
    let failed =
      rows.filter { !$0.isWithinBound }.count + storage.filter { !$0.isWithinBound }.count
    return failed == 0
      ? "All \(count) checks are within their bounds."
      : "\(failed) of \(count) checks exceed their bounds."
  }

  private static func comparison(_ error: Double, _ bound: Double, _ holds: Bool) -> String {
    let text = "\(Format.short(error)) ≤ \(Format.short(bound))"
    return holds ? text : text.replacing("≤", with: ">") + "  FAILED"
  }
}

/// Results as text for a terminal.
struct BenchTable {
  let report: BenchReport

  /// Limits, one line per case, skipped cases with their reasons.
  var text: String {
    let read = Format.bytesPerSecond(report.limits.readBytesPerSecond)
    let peak = Format.flops(report.limits.fmaFlopsPerSecond)
    var lines = [
      "apus bench \(report.suite.rawValue)\(report.isQuick ? " --quick" : "")",
      "\(report.machine)",
      "\(report.backend), \(report.instructionSet), \(report.threads) threads; limits of this run: "
        + "read \(read), f32 multiply-add \(peak)"
        + (report.limits.dotFlopsPerSecond.map { ", bf16 pairs \(Format.flops($0))" } ?? ""),
      "",
      table,
    ]
    if !report.skipped.isEmpty {
      lines += ["", "skipped \(report.skipped.count):"]
      lines += report.skipped.map { "  \($0.name): \($0.reason)" }
    }
    return lines.joined(separator: "\n")
  }

  private var table: String {
    var table = TextTable([
      ("case", .left), ("median", .right), ("min", .right), ("p90", .right), ("GB/s", .right),
      ("of read", .right), ("GFLOP/s", .right), ("of peak", .right),
      ("of limit", .right),
    ])
    for result in report.cases {
      table.add([
        result.name, Format.seconds(result.time.medianSeconds),
        Format.seconds(result.time.minSeconds), Format.seconds(result.time.p90Seconds),
        Format.significant(result.bytesPerSecond / 1e9), Format.percent(result.readFraction),
        Format.significant(result.flopsPerSecond / 1e9), Format.percent(result.peakFraction),
        Format.percent(result.limitFraction),
      ])
    }
    return table.text()
  }
}

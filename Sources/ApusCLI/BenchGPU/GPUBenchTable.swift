extension GPUBenchReport {
  /// The report as aligned text.
  var table: String {
    var text = TextTable([
      ("case", .left), ("burst", .right), ("TFLOP/s", .right), ("sustained", .right),
      ("TFLOP/s", .right), ("MHz", .right), ("graph", .right), ("TB/s", .right),
      ("of read", .right), ("kernel", .left),
    ])
    for item in cases {
      let burst = item.burst?.medianSeconds
      let graph = item.graph?.medianSeconds
      text.add([
        item.name, seconds(burst), rate(item.teraflops(burst)), seconds(item.sustainedSeconds),
        rate(item.teraflops(item.sustainedSeconds)),
        item.sustainedClockMHz.map { "\($0)" } ?? "", seconds(graph), rate(item.terabytes(graph)),
        ofRead(item, graph), item.kernels.joined(separator: " "),
      ])
    }
    var lines = [
      "\(device.name), compute capability \(device.capability), \(device.multiprocessorCount) "
        + "multiprocessors, CUDA \(device.cudaVersion)"
    ]
    if let read = limits.readBytesPerSecond {
      lines.append("read-only kernel: \(Format.bytesPerSecond(read))")
    }
    if let copy = limits.copyBytesPerSecond {
      lines.append("copy kernel (read and written): \(Format.bytesPerSecond(copy))")
    }
    lines += ["", text.text()]
    for item in skipped { lines.append("skipped \(item.name): \(item.reason)") }
    return lines.joined(separator: "\n")
  }

  private func seconds(_ value: Double?) -> String { value.map(Format.seconds) ?? "" }
  private func rate(_ value: Double?) -> String { value.map(Format.significant) ?? "" }
  private func ofRead(_ item: GPUBenchResult, _ value: Double?) -> String {
    guard let read = limits.readBytesPerSecond, let value else { return "" }
    return Format.percent(Double(item.bytes) / value / read)
  }
}

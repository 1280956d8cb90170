/// The code of every row by hash, with what an assembler made of it: the file
/// `Tests/ApusKernelsTests/Golden/hashes.txt`.
///
/// A change of a kernel, a pass or the printer shows there which rows it touches;
/// `Scripts/ptx-diff` shows the text behind it. A line is `symbol target hash registers shared`: the
/// first 16 digits of the SHA-256 of the PTX, registers of a thread, shared bytes of a block; `?` for
/// what is not known. Lines that start with `#` are comments, `# ptxas 13.0` names the assembler.
struct KernelRecording: Sendable, Hashable {
  /// One row on one target.
  struct Line: Sendable, Hashable {
    /// `symbol target`.
    var name: String
    /// Digits of the hash.
    var hash: String
    /// `registers shared`.
    var usage: String
  }

  /// CUDA release of the assembler, `none` without one.
  var release = "none"
  /// In the order of the catalogue.
  var lines: [Line] = []

  /// The recording of a file's text; lines of another form are passed over.
  init(_ text: String) {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ").map(String.init)
      if line.hasPrefix("# ptxas "), words.count > 2 { release = words[2] }
      guard !line.hasPrefix("#"), words.count == 5 else { continue }
      lines.append(
        Line(name: "\(words[0]) \(words[1])", hash: words[2], usage: "\(words[3]) \(words[4])"))
    }
  }

  /// What is true now; rows that do not build are left out.
  init(_ report: KernelResourcesReport) {
    release = report.ptxas ?? "none"
    lines = report.rows.filter { !$0.ptxDigest.isEmpty }.map { row in
      Line(
        name: "\(row.symbol) \(row.target)", hash: row.ptxDigest,
        usage: row.registers.map { "\($0) \(row.sharedBytes)" } ?? "? ?")
    }
  }

  /// The file's text.
  var text: String {
    """
    # Every row of the catalogue on every target: symbol, target, the first 16 digits of the SHA-256 of
    # its PTX, registers of a thread, shared bytes of a block. Written by
    # apus kernels resources --record Tests/ApusKernelsTests/Golden/hashes.txt
    # ptxas \(release)

    """ + lines.map { "\($0.name) \($0.hash) \($0.usage)\n" }.joined()
  }

  /// What differs from an earlier recording.
  ///
  /// - Parameter catalogue: names of all rows and targets; lines of others are gone.
  /// - Returns: changes, a line each, and notes on what could not be compared.
  func compared(
    with recorded: KernelRecording, catalogue: Set<String>
  ) -> (changes: [String], notes: [String]) {
    let old = Dictionary(
      recorded.lines.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let isSameAssembler = release == recorded.release
    let notes =
      isSameAssembler
      ? []
      : ["SKIP recorded registers: they are of ptxas \(recorded.release), found \(release)"]
    var changes = recorded.lines.map(\.name).filter { !catalogue.contains($0) }
      .map { "\($0) is gone" }
    for line in lines {
      guard let before = old[line.name] else {
        changes.append("\(line.name) is new")
        continue
      }
      if before.hash != line.hash { changes.append("\(line.name): other PTX") }
      if isSameAssembler, before.usage != line.usage {
        changes.append("\(line.name): registers and shared bytes \(before.usage) → \(line.usage)")
      }
    }
    return (changes, notes)
  }
}

internal import ApusCore

/// A problem's requests as the schedule and the kernel count them.
///
/// Everything is counted once, into arrays: what a plan costs is a few passes over the requests.
struct DecodeWork: Sendable {
  let problem: AttentionProblem
  let kernel: DecodeKernel
  /// First step with a visible key, and steps from there, of each request.
  let firstSteps, steps: [Int]
  /// One past the last visible key of each request.
  let ends: [Int]
  /// Rows of the schedule of each request: items of KV heads × tiles of query rows.
  let units: [Int]
  let kvLengths, qoLengths: [Int]
  /// Tokens of a step.
  let stepTokens: Int
  /// Items of a request's KV heads.
  let headItems: Int

  init(_ problem: AttentionProblem, _ kernel: DecodeKernel) {
    self.problem = problem
    self.kernel = kernel
    let stepTokens = 16 * kernel.tilesPerStep
    let headItems = problem.shape.kvHeadCount / kernel.headsPerItem
    self.stepTokens = stepTokens
    self.headItems = headItems
    kvLengths = problem.geometry.lengths
    qoLengths = problem.qoIndptr.lengths
    let batch = min(kvLengths.count, qoLengths.count)
    var firstSteps: [Int] = []
    var steps: [Int] = []
    var ends: [Int] = []
    var units: [Int] = []
    firstSteps.reserveCapacity(batch)
    steps.reserveCapacity(batch)
    ends.reserveCapacity(batch)
    units.reserveCapacity(batch)
    let group = problem.shape.groupSize
    let mask = problem.mask
    for request in 0..<batch {
      let (queries, keys) = (qoLengths[request], kvLengths[request])
      let visible =
        kernel.hasRanges
        ? mask.keyRange(queries: 0..<queries, qoLength: queries, kvLength: keys) : 0..<keys
      let first = visible.lowerBound / stepTokens
      firstSteps.append(first)
      ends.append(visible.upperBound)
      steps.append((visible.upperBound + stepTokens - 1) / stepTokens - first)
      units.append(headItems * ((queries * group + kernel.rows - 1) / kernel.rows))
    }
    self.firstSteps = firstSteps
    self.steps = steps
    self.ends = ends
    self.units = units
  }

  /// Steps of a split that the options fix.
  var splitSteps: Int? {
    let options = problem.options
    if options.disablesSplitKV { return .max }
    if let size = options.splitSize { return (max(1, size) - 1) / stepTokens + 1 }
    // Splits of every row at the same keys, whatever else is in the batch.
    return options.isBatchInvariant ? 4096 / stepTokens : nil
  }

  var isPaged: Bool {
    if case .paged = problem.geometry { true } else { false }
  }

  /// Pages that are listed: those in use, request after request.
  var pageCount: Int {
    if case .paged(let table) = problem.geometry { table.usedPageCount } else { 0 }
  }

  /// ALiBi slopes in exponents of 2.
  var slopes: [Float] {
    (problem.modification.alibiSlopes ?? []).map { Float(Double($0) * 1.442_695_040_888_963_4) }
  }

  /// Where each request's page list begins, or the row of its first token.
  var bases: [Int] {
    switch problem.geometry {
    case .ragged(let indptr): return indptr.offsets
    case .padded(_, let lengths): return [Int](repeating: 0, count: lengths.count)
    case .paged(let table):
      switch table.form {
      case .csr(let indptr, _, _):
        let first = indptr.offsets.first ?? 0
        return first == 0 ? indptr.offsets : indptr.offsets.map { $0 - first }
      case .blockTable(_, _, let lengths):
        var next = 0
        return lengths.map { length in
          defer { next += (length + table.pageSize - 1) / table.pageSize }
          return next
        }
      }
    }
  }

  /// Calls a body with the pages in use where they lie in one piece, as they do in compressed rows
  /// and in the list that `writePages` made.
  func writePages(to list: UnsafeMutableBufferPointer<UInt32>) {
    guard case .paged(let table) = problem.geometry, var target = list.baseAddress else { return }
    table.forEachUsedRun { run in
      run.withMemoryRebound(to: UInt32.self) { run in
        if let source = run.baseAddress { target.update(from: source, count: run.count) }
      }
      target += run.count
      return true
    }
  }
}

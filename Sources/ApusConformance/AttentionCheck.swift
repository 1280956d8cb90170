internal import ApusCore
internal import ApusNumerics
internal import ApusReference

/// Runs attention cases on a back end and compares them with the definition.
struct AttentionCheck {
  let backend: any Backend
  let model: ArithmeticModel

  /// Plans and runs; the workspace is exactly as large as the plan says.
  func run(_ tensors: AttentionTensors, givesWorkspace: Bool) throws(Interruption) {
    let problem = tensors.problem
    if case .unsupported(let requested, _) = backend.support(for: problem) {
      throw .skipped(requested)
    }
    let backend = backend
    let plan = try Interruption.guarding("plan") { () throws(ApusError) in
      try backend.plan(problem, operation: "conformance")
    }
    guard plan.problem == problem, plan.backendName == backend.name else {
      throw .failed("the plan must name its problem and back end; found \(plan)")
    }
    var workspace: TensorView?
    if givesWorkspace {
      workspace = tensors.memory.tensor("workspace", .u8, [plan.workspaceByteCount])
    }
    let (arguments, space) = (tensors.arguments, workspace)
    try Interruption.guarding("run") { () throws(ApusError) in
      try backend.run(
        plan, arguments, workspace: space, on: .synchronous, operation: "conformance")
    }
  }

  /// The whole check of one case.
  func check(_ source: AttentionCase, random: CaseRandom) -> CaseOutcome {
    let tensors = AttentionTensors(source, random: random)
    return withExtendedLifetime(tensors) {
      Interruption.outcome { () throws(Interruption) in
        let before = tensors.memory.snapshots(except: AttentionTensors.outputs)
        try run(tensors, givesWorkspace: source.givesWorkspace)
        var (failures, margin) = try compare(tensors)
        for name in tensors.memory.changed(since: before) {
          failures.append("\(name) is an input and must not be written")
        }
        failures += untouched(tensors)
        return (failures, margin)
      }
    }
  }

  /// Compares o and lse with the definition.
  func compare(_ tensors: AttentionTensors) throws(Interruption) -> ([String], Double) {
    let (problem, arguments) = (tensors.problem, tensors.arguments)
    let pType = model.resolved(for: problem).pType
    let oracle = try Interruption.reference { () throws(ArgumentError) in
      try Reference.attention(problem, arguments)
    }
    let naive = try Interruption.reference { () throws(ArgumentError) in
      try Reference.naiveAttention(problem, arguments, pType: pType)
    }
    let tolerance = AttentionTolerance(tensors, model: model)
    let convention = problem.lseConvention
    let unit = convention.base == .two ? 1 : AttentionTolerance.ln2
    let empty = Double(convention.external(-.infinity))
    let limit = Double(problem.types.o.greatestFiniteMagnitude)
    let (heads, width) = (problem.shape.qoHeadCount, problem.shape.headDimVO)
    let o = arguments.o
    var outputs = Comparison("o")
    var sums = Comparison("lse")
    for r in 0..<problem.batch {
      let keyCount = problem.kvLength(r)
      for row in problem.qoIndptr.rows(r) {
        for head in 0..<heads {
          let cell = row * heads + head
          let isEmpty = oracle.lse[cell] == -.infinity
          for e in 0..<width {
            let at = cell * width + e
            let offset = row * o.strides[0] + head * o.strides[1] + e * o.strides[2]
            let value = oracle.o[at]
            let expected = value.isNaN ? value : Swift.min(Swift.max(value, -limit), limit)
            let allowance =
              isEmpty
              ? Allowance(worst: 0, typical: 0)
              : tolerance.output(
                head: head, keyCount: keyCount, value: value, magnitude: oracle.oMagnitude[at])
            outputs.check(
              "[\(row), \(head), \(e)] (request \(r))", found: o.value(at: offset),
              bits: o.bits(at: offset), expected: expected, allowance: allowance,
              naive: naive.o[at])
          }
          guard let lse = arguments.lse else { continue }
          let offset = row * lse.strides[0] + head * lse.strides[1]
          let value = oracle.lse[cell]
          var allowance = tolerance.logSumExp(head: head, keyCount: keyCount, value: value)
          allowance.worst *= unit
          allowance.typical *= unit
          sums.check(
            "[\(row), \(head)] (request \(r))", found: lse.value(at: offset),
            bits: lse.bits(at: offset), expected: isEmpty ? empty : value * unit,
            allowance: allowance,
            naive: isEmpty ? nil : Float(Double(naive.lse[cell]) * unit))
        }
      }
    }
    let failures = outputs.finish() + sums.finish()
    return (failures, Swift.max(outputs.margin, sums.margin))
  }

  /// Guard zones, gaps and rows that no request owns must keep their poison.
  func untouched(_ tensors: AttentionTensors) -> [String] {
    var failures = tensors.memory.brokenGuards.map { "\($0) was written out of bounds" }
    let problem = tensors.problem
    let outputs = [("o", tensors.arguments.o)] + (tensors.arguments.lse.map { [("lse", $0)] } ?? [])
    for (name, view) in outputs {
      guard let buffer = tensors.memory.buffer(name) else { continue }
      var bytes = [UInt8](buffer.bytes)
      let size = view.scalarType.byteCount
      for r in 0..<problem.batch {
        for row in problem.qoIndptr.rows(r) {
          for head in 0..<problem.shape.qoHeadCount {
            let width = view.shape.count == 3 ? view.shape[2] : 1
            let start = (row * view.strides[0] + head * view.strides[1]) * size
            for byte in start..<start + width * size { bytes[byte] = HostBuffer.poison }
          }
        }
      }
      if let first = bytes.firstIndex(where: { $0 != HostBuffer.poison }) {
        failures.append("\(name) was written where no request owns it, first at byte \(first)")
      }
    }
    return failures
  }
}

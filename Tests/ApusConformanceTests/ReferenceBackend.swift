import ApusCore
import ApusNumerics
import ApusReference

/// A defect planted in the reference back end; the suite must find each.
enum Defect: String, CaseIterable, Sendable {
  case causalOffByOne, windowOffByOne, causalTopLeft, ignoresMask, wrongMaskBitOrder
  case wrongHeadMap, readsUnusedSlot, dropsLastKey, ignoresPageOrder
  case wrongBase, wrongEmptyRow, sinkInLSE, ignoresSinks, ignoresSoftCap, ignoresAlibi
  case wrongScale, wrongPairing, ignoresRope
  case ignoresQScale, ignoresKScale, ignoresVScale, ignoresOScale, multipliesOScale
  case coarseP, truncatesOutput, infiniteOverflow, losesNaN
  case writesUnownedRow, writesInput, overrunsWorkspace
  case appendsUnscaled, appendsOffByOne, mergesWrongBase, mergesEmptyStates, ignoresMergeMask
  case rotatesBackwards, wrongPackOrder
  case variesWithBatch, variesWithWorkspace, variesWithPages, multipliesMasked
  case mergesAsymmetrically, acceptsAnything, writesBeforeRefusing

  /// Those that single cases find; the others need a law or a malformed call.
  static let ofCases = allCases.filter { defect in
    switch defect {
    case .losesNaN, .variesWithBatch, .variesWithWorkspace, .variesWithPages, .multipliesMasked,
      .mergesAsymmetrically, .acceptsAnything, .writesBeforeRefusing:
      false
    default: true
    }
  }
}

/// A back end that runs the naive f32 computation, with or without a planted defect.
struct ReferenceBackend: Backend {
  struct Plan: AttentionPlan {
    let problem: AttentionProblem
    let backendName: String
    let workspaceByteCount: Int
    var description: String { "naive \(problem)" }
  }

  var defect: Defect?
  var pType = ElementType.f32
  let name = "reference"
  let memory = MemorySpace.host
  /// What the back end refuses, by use; for tests of skipping.
  var refusesMLA = false

  func support(for problem: AttentionProblem) -> Support {
    refusesMLA && problem.latent != nil
      ? .unsupported(requested: "a latent cache", supported: "separate K and V") : .supported
  }

  func plan(_ problem: AttentionProblem, operation: String) throws(ApusError) -> any AttentionPlan {
    do {
      try problem.validate(operation: operation)
    } catch { throw .argument(error) }
    return Plan(problem: problem, backendName: name, workspaceByteCount: 64)
  }

  func run(
    _ plan: any AttentionPlan, _ arguments: AttentionArguments, workspace: TensorView?,
    on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    let problem = plan.problem
    guard plan.backendName == name else {
      throw .argument(
        ArgumentError(
          operation: operation, "the plan must be this back end's", found: plan.backendName))
    }
    try check(stream, operation)
    do {
      try arguments.validate(for: problem, memory: memory, operation: operation)
    } catch {
      if defect == .acceptsAnything { return }
      if defect == .writesBeforeRefusing, arguments.o.byteCount > 0 {
        arguments.o.mutableHostPointer?.storeBytes(of: 0, as: UInt8.self)
      }
      throw .argument(error)
    }
    if let workspace {
      var validator = Validator(operation)
      validator.requireTensor("workspace", workspace, [.u8], shape: [nil], isOutput: true)
      validator.require(
        workspace.memory == memory, "workspace must live in \(memory) memory",
        found: "\(workspace.memory)")
      validator.require(
        (workspace.shape.first ?? 0) >= plan.workspaceByteCount,
        "workspace must hold workspaceByteCount bytes", found: "\(workspace.shape)")
      do { try validator.finish() } catch { throw .argument(error) }
      if defect == .overrunsWorkspace {
        workspace.mutableHostPointer?.storeBytes(of: 7, toByteOffset: 64, as: UInt8.self)
      }
    }
    do {
      let (wrong, inputs) = distort(problem, arguments)
      let type = problem.options.precision == .accurate ? .f32 : pType
      var result = try Reference.naiveAttention(wrong, inputs, pType: type)
      if defect == .variesWithWorkspace, workspace == nil { nudge(&result.o) }
      damage(problem, arguments, &result)
      write(problem, arguments, result)
    } catch { throw .argument(error) }
  }

  private func check(_ stream: ExecutionStream, _ operation: String) throws(ApusError) {
    guard stream == .synchronous else {
      throw .argument(
        ArgumentError(
          operation: operation, "stream must be synchronous on the host", found: "\(stream)"))
    }
  }

  private func write(
    _ problem: AttentionProblem, _ arguments: AttentionArguments,
    _ result: (o: [Float], lse: [Float])
  ) {
    let (heads, width) = (problem.shape.qoHeadCount, problem.shape.headDimVO)
    for r in 0..<problem.batch {
      for row in problem.qoIndptr.rows(r) {
        for head in 0..<heads {
          let cell = row * heads + head
          for e in 0..<width {
            store(result.o[cell * width + e], to: arguments.o, [row, head, e])
          }
          if let lse = arguments.lse {
            let offset = lse.offset([row, head])
            lse.mutableHostPointer?.storeBytes(
              of: external(problem, result.lse[cell]), toByteOffset: offset * 4, as: Float.self)
          }
        }
      }
    }
    if defect == .writesUnownedRow, problem.qoIndptr.offsets[0] > 0 {
      store(0, to: arguments.o, [0, 0, 0])
    }
    if defect == .writesInput, problem.qoIndptr.end > 0, case .packed(let q) = arguments.q {
      store(0, to: q, [problem.qoIndptr.end - 1, 0, 0])
    }
  }

  private func store(_ value: Float, to view: TensorView, _ index: [Int]) {
    guard let base = view.mutableHostPointer, let type = view.elementType else { return }
    let overflow: OverflowRule =
      defect == .infiniteOverflow && value.magnitude >= type.greatestFiniteMagnitude
      ? .nonSaturating : .saturate
    let stored = overflow == .nonSaturating ? value * 2 : value
    type.store(stored, to: base, at: view.offset(index), overflow: overflow)
  }

  private func external(_ problem: AttentionProblem, _ lse: Float) -> Float {
    var convention = problem.lseConvention
    switch defect {
    case .wrongBase: convention.base = convention.base == .two ? .e : .two
    case .wrongEmptyRow:
      convention.emptyRow =
        convention.emptyRow == .negativeInfinity ? .positiveInfinity : .negativeInfinity
    default: break
    }
    return convention.external(lse)
  }

  // MARK: - Other operators

  func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    try check(stream, "append")
    do {
      var (problem, arguments) = (problem, arguments)
      if defect == .appendsUnscaled { arguments.kScale = .one }
      if defect == .appendsOffByOne { problem.positions = problem.positions.map { max($0 - 1, 0) } }
      try Reference.append(problem, arguments)
    } catch {
      // A defect's own refusal is not the caller's: do nothing, which the suite must notice too.
      if defect != .appendsOffByOne { throw .argument(error) }
    }
  }

  func merge(_ arguments: MergeArguments, on stream: ExecutionStream) throws(ApusError) {
    try check(stream, "merge")
    do {
      var read = arguments
      if defect == .mergesWrongBase {
        read.convention.base = read.convention.base == .two ? .e : .two
      }
      if defect == .mergesEmptyStates { read.convention.emptyRow = .negativeInfinity }
      if defect == .ignoresMergeMask,
        case .inPlace(let v, let s, let otherV, let otherS, _) = arguments.states
      {
        read.states = .inPlace(v: v, s: s, otherV: otherV, otherS: otherS, mask: nil)
      }
      let result = try Reference.merge(read)
      let (v, s): (TensorView, TensorView)
      switch read.states {
      case .two(_, _, _, _, let outV, let outS): (v, s) = (outV, outS)
      case .inPlace(let outV, let outS, _, _, _): (v, s) = (outV, outS)
      case .many(_, _, let outV, let outS): (v, s) = (outV, outS)
      }
      var isKept = { (_: Int) in false }
      if case .inPlace(_, _, _, _, let mask?) = read.states {
        isKept = { HostTensor(mask).byte([$0]) == 0 }
      }
      let heads = v.shape[1]
      for row in 0..<v.shape[0] where !isKept(row) {
        for head in 0..<heads {
          let cell = row * heads + head
          s.mutableHostPointer?.storeBytes(
            of: Float(result.s[cell]), toByteOffset: s.offset([row, head]) * 4, as: Float.self)
          for e in 0..<v.shape[2] {
            var value = result.v[cell * v.shape[2] + e]
            if defect == .mergesAsymmetrically, case .two(_, let aS, _, let bS, _, _) = read.states,
              HostTensor(aS).float([row, head]) > HostTensor(bS).float([row, head])
            {
              value *= v.scalarType == .f32 ? 1 + 0x1p-22 : 1.2
            }
            storeRounded(value, v, [row, head, e])
          }
        }
      }
    } catch { throw .argument(error) }
  }

  func rotate(_ arguments: RotaryArguments, on stream: ExecutionStream) throws(ApusError) {
    try check(stream, "rotate")
    do {
      var read = arguments
      if defect == .rotatesBackwards {
        read.positions = read.positions.map { $0 == 0 ? 0 : $0 - 1 }
      }
      let result = try Reference.rotate(read)
      let rotary = arguments.rotaryDim
      for (values, from, to) in [
        (result.q, arguments.q, arguments.qOut), (result.k, arguments.k, arguments.kOut),
      ] {
        var at = 0
        for row in 0..<to.shape[0] {
          for head in 0..<to.shape[1] {
            for e in 0..<to.shape[2] {
              if e < rotary {
                storeRounded(values[at], to, [row, head, e])
              } else {
                HostTensor(to).copy(
                  from: HostTensor(from), at: [row, head, e], to: [row, head, e])
              }
              at += 1
            }
          }
        }
      }
    } catch { throw .argument(error) }
  }

  func packBits(_ arguments: PackBitsArguments, on stream: ExecutionStream) throws(ApusError) {
    try check(stream, "packBits")
    do {
      var read = arguments
      if defect == .wrongPackOrder { read.bitOrder = read.bitOrder == .little ? .big : .little }
      for (i, byte) in try Reference.packBits(read).enumerated() {
        arguments.packed.mutableHostPointer?.storeBytes(of: byte, toByteOffset: i, as: UInt8.self)
      }
    } catch { throw .argument(error) }
  }

  private func storeRounded(_ value: Double, _ view: TensorView, _ index: [Int]) {
    guard let base = view.mutableHostPointer, let type = view.elementType else { return }
    type.store(value, to: base, at: view.offset(index))
  }
}

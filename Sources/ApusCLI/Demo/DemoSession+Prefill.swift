import Apus
import ApusCore
import ApusNumerics

extension DemoSession {
  /// Attention of the whole text over itself, as a model's first step does it.
  func prefillFindings() throws -> Findings {
    var findings = try prefill(.f32, mask: .none)
    for type in [ElementType.f32, .bf16, .f16] {
      findings.append(try prefill(type, mask: .causal))
    }
    return findings
  }

  private func prefill(_ type: ElementType, mask: AttentionMask) throws -> Findings {
    let name = "SinglePrefill \(mask.isCausal ? "causal" : "full")"
    let types = "\(type) · \(type)"
    progress.show("\(name), \(types) …")
    let tokens = data.tokenCount
    let planned = try SinglePrefill.plan(
      shape: shape, types: AttentionTypes(q: type), qoLength: tokens, kvLength: tokens, mask: mask,
      on: backend)
    var measurement = Measurement()
    let runs = try data.layers.map { layer in
      let run = try PrefillRun(self, layer, type)
      measurement.seconds += try time { try planned.run(run.arguments) }
      return run
    }
    let checks = try concurrentMap(runs) { try $0.check(planned.problem, self) }
    var wholeWay = Measurement()
    for check in checks {
      measurement.add(error: check.error, bound: check.bound)
      measurement.addLSE(error: check.lseError, bound: check.lseBound)
      wholeWay.add(error: check.wholeError, bound: check.wholeBound)
      if let (error, bound) = check.storedLSE { wholeWay.add(error: error, bound: bound) }
    }
    let pairs = mask.isCausal ? tokens * (tokens + 1) / 2 : tokens * tokens
    return Findings(
      rows: [
        row(
          name, types: types, measurement, work: .flops(4 * pairs * data.headDim * data.headCount))
      ],
      storage: [storageRow(name, types: types, wholeWay)])
  }
}

/// The tensors of one layer's prefill.
private struct PrefillRun: Sendable {
  private let layer: ExampleData.Layer
  private let type: ElementType
  private let q: Tensor
  private let k: Tensor
  private let v: Tensor
  private let o: Tensor
  private let lse: Tensor

  init(_ session: DemoSession, _ layer: ExampleData.Layer, _ type: ElementType) throws {
    (self.layer, self.type) = (layer, type)
    q = try session.tensor(layer.q, type)
    k = try session.tensor(layer.k, type)
    v = try session.tensor(layer.v, type)
    o = try Tensor(zeros: type, shape: q.shape)
    lse = try Tensor(zeros: .f32, shape: Array(q.shape.dropLast()))
  }

  /// Views of the tensors, which live as long as the run does.
  var arguments: AttentionArguments {
    AttentionArguments(
      q: .packed(q.view), kv: .separate(k: k.view, v: v.view), o: o.view, lse: lse.view)
  }

  /// Errors of a finished run and what they may be.
  struct Check: Sendable {
    var error: Double
    var bound: Double
    var lseError: Double
    var lseBound: Double
    /// Against the results stored in the data file.
    var wholeError: Double
    var wholeBound: Double
    var storedLSE: (error: Double, bound: Double)?
  }

  func check(_ problem: AttentionProblem, _ session: DemoSession) throws -> Check {
    let oracle = try withExtendedLifetime(self) { try Oracle(problem, arguments) }
    let isCausal = problem.mask.isCausal
    let storage = StorageErrorModel.Storage(type: type)
    let model = StorageErrorModel(q: storage, k: storage, v: storage, o: type)
    let roundings =
      type == .f32 ? 0 : StorageErrorModel.bound(model.causalRows(session.data, layer))
    // The file's results are float64 rounded to f32, at most half a step each.
    let stored = ElementType.f32.unitRoundoff
    let natural = lse.values.map { Float(Double($0) * Double.naturalPerLog2) }
    return Check(
      error: relativeError(o.values, oracle.o), bound: oracle.bound,
      lseError: relativeError(lse.values, oracle.lse), lseBound: oracle.lseBound,
      wholeError: relativeError(o.values, (isCausal ? layer.oCausal : layer.o).map(Double.init)),
      wholeBound: roundings + oracle.bound + stored,
      storedLSE: isCausal
        ? nil
        : (relativeError(natural, layer.lse.map(Double.init)), oracle.lseBound + 2 * stored))
  }
}

extension Double {
  /// `ln 2`: a log-sum-exp in base 2 times this is one in natural logarithms.
  static let naturalPerLog2 = 0.693147180559945309417232121458176568
}

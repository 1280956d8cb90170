import Apus
import ApusCore
import ApusIO
import ApusNumerics

extension AttendCommand {
  /// Reads, computes, writes and compares.
  ///
  /// - Throws: `FileError` and `ApusError` before anything is written.
  func report() throws -> AttendReport {
    let backend = try backendOptions.makeBackend()
    let source = try TensorSource(path: file)
    let queries = try AttendOperand(
      source.tensor(q, option: "q", as: qType), option: "q", type: qType)
    let (keys, values) = try keysAndValues(source)
    try requireAgreement(queries, keys, values)
    let type = kvType ?? keys.type
    let comparisons = try references(source, queries, values)

    let cache = try AttendCache(
      keys: keys, values: values, type: type, layout: layout, pageSize: pageSize,
      scales: kvScales ?? (type.byteCount == 1 && type != keys.type ? .head : .none))
    let planned = try plan(queries, keys, values, type, cache.geometry, on: backend)
    let o = try Tensor(
      zeros: planned.problem.types.o,
      shape: [queries.batch * queries.tokens, queries.heads, values.dim])
    let lse = try Tensor(zeros: .f32, shape: [queries.batch * queries.tokens, queries.heads])
    let clock = ContinuousClock()
    var duration = Duration.zero
    try cache.filled(on: backend) { operand, scales in
      duration = try clock.measure {
        try planned.run(
          AttentionArguments(
            q: .packed(queries.tensor.view), kv: operand, o: o.view, lse: lse.view, scales: scales))
      }
    }
    try withExtendedLifetime((o, lse, queries)) {
      if let output { try write(o, lse, queries, to: output, planned.problem) }
    }
    let parts = duration.components
    return AttendReport(
      problem: "\(planned.problem)", backend: backend.name,
      seconds: Double(parts.seconds) + Double(parts.attoseconds) * 1e-18, output: output,
      comparisons: comparisons.map { reference in
        AttendReport.Comparison(
          name: reference.name, tensor: reference.isLSE ? lseName : oName,
          relativeError: relativeError((reference.isLSE ? lse : o).values, reference.values))
      }, tolerance: tolerance)
  }

  /// Keys and values of one type, which an append needs; f32 holds every other exactly.
  private func keysAndValues(
    _ source: TensorSource
  ) throws -> (keys: AttendOperand, values: AttendOperand) {
    let stored = (
      try source.tensor(k, option: "k", as: kvType), try source.tensor(v, option: "v", as: kvType)
    )
    let common: ElementType? = stored.0.scalarType == stored.1.scalarType ? nil : .f32
    return (
      try AttendOperand(stored.0, option: "k", type: common),
      try AttendOperand(stored.1, option: "v", type: common)
    )
  }

  private func requireAgreement(
    _ queries: AttendOperand, _ keys: AttendOperand, _ values: AttendOperand
  ) throws(ArgumentError) {
    var validator = Validator("apus attend")
    validator.require(
      queries.batch == keys.batch && keys.batch == values.batch,
      "q, k and v must have the same batch",
      found: "\(queries.batch), \(keys.batch) and \(values.batch)")
    validator.require(
      keys.tokens == values.tokens && keys.heads == values.heads,
      "k and v must have the same tokens and heads",
      found: "\(keys.storedShape) and \(values.storedShape)")
    validator.require(
      queries.dim == keys.dim, "q and k must have the same dimension",
      found: "\(queries.dim) and \(keys.dim)")
    validator.require(
      queries.storedShape.count == keys.storedShape.count,
      "q, k and v must all have a batch dimension, or none",
      found: "\(queries.storedShape) and \(keys.storedShape)")
    try validator.finish()
  }

  private func plan(
    _ queries: AttendOperand, _ keys: AttendOperand, _ values: AttendOperand, _ type: ElementType,
    _ geometry: KVGeometry, on backend: any Backend
  ) throws(ApusError) -> PlannedAttention {
    let shape = AttentionShape(
      qoHeadCount: queries.heads, kvHeadCount: keys.heads, headDimQK: keys.dim,
      headDimVO: values.dim)
    let types = AttentionTypes(q: queries.type, kv: type, o: oType ?? queries.type)
    let rows = RaggedIndptr(uniform: queries.tokens, batch: queries.batch)
    let mask = AttentionMask(isCausal: causal, windowLeft: windowLeft)
    let modification = modification(qoHeadCount: queries.heads)
    let convention: LSEConvention = lseBase == .two ? .base2 : .natural
    switch geometry {
    case .paged(let pages):
      return try BatchPrefill.plan(
        shape: shape, types: types, qoIndptr: rows, pages: pages, layout: layout, mask: mask,
        modification: modification, lseConvention: convention, on: backend)
    default:
      return try BatchPrefill.plan(
        shape: shape, types: types, qoIndptr: rows,
        kvIndptr: RaggedIndptr(uniform: keys.tokens, batch: keys.batch), layout: layout,
        mask: mask, modification: modification, lseConvention: convention, on: backend)
    }
  }

  private struct ReferenceTensor {
    var name: String
    var isLSE: Bool
    var values: [Double]
  }

  /// The tensors to compare with, read before anything is computed.
  private func references(
    _ source: TensorSource, _ queries: AttendOperand, _ values: AttendOperand
  ) throws -> [ReferenceTensor] {
    let rows = queries.storedShape.dropLast()
    let wanted = [
      (compare, "compare", rows + [values.dim], false), (compareLse, "compare-lse", rows, true),
    ]
    return try wanted.compactMap { name, option, shape, isLSE in
      guard let name else { return nil }
      let tensor = try source.tensor(name, option: option)
      guard tensor.shape == Array(shape) else {
        throw ArgumentError(
          operation: "apus attend", "--\(option) must name a tensor of shape \(Array(shape))",
          found: "\(tensor)")
      }
      return ReferenceTensor(
        name: name, isLSE: isLSE, values: try tensor.doubles(operation: "--\(option)"))
    }
  }

  private func write(
    _ o: Tensor, _ lse: Tensor, _ queries: AttendOperand, to path: String,
    _ problem: AttentionProblem
  ) throws {
    let rows = Array(queries.storedShape.dropLast())
    func content(_ name: String, _ tensor: Tensor, _ type: ElementType, _ shape: [Int])
      -> TensorContent
    {
      TensorContent(
        name: name, scalarType: FileScalarType(type), shape: shape,
        bytes: tensor.withBytes { Array($0) })
    }
    let output = content(oName, o, problem.types.o, rows + [problem.shape.headDimVO])
    if path.hasSuffix(".npy") {
      try NPYWriter.write(output, to: path)
    } else {
      try SafetensorsWriter.write(
        [output, content(lseName, lse, .f32, rows)],
        metadata: ["problem": "\(problem)", "lse": "\(problem.lseConvention)"], to: path)
    }
  }
}

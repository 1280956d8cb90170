/// Where the cosines and sines of a rotation come from.
public enum RotarySource: Sendable, Hashable {
  /// Computed from frequencies.
  case frequencies(RotaryEmbedding)
  /// Read from a f32 table `[maxPosition, rotaryDim]`: first half cosines, second half sines of the
  /// `rotaryDim / 2` pairs; the pairing says which elements they rotate.
  case cosSinCache(TensorView, pairing: RotaryEmbedding.Pairing)
}

/// Rotation of q and k by their positions, in place or out of place.
public struct RotaryArguments: Sendable, Hashable {
  /// Queries `[rows, qoHead, headDim]`.
  public var q: TensorView
  /// Keys `[rows, kvHead, headDim]`.
  public var k: TensorView
  /// Rotated queries: the same view as q for in place. Other overlaps give undefined values.
  public var qOut: TensorView
  /// Rotated keys: the same view as k for in place.
  public var kOut: TensorView
  /// Position of each row, at least 0.
  public var positions: [Int]
  /// Positions in the memory of the back end instead, i32 or i64 `[rows]`; `positions` then is empty.
  ///
  /// A GPU reads them in stream order: nothing is copied or waited for, a captured rotation reads at
  /// each replay what they hold then, and their values are not checked: the caller ensures that they
  /// are in 0…2^31 − 1 and below the rows of a table. The CPU checks them.
  public var positionTensor: TensorView?
  /// Cosines and sines.
  public var source: RotarySource

  /// Out of place; pass the inputs again as outputs for in place.
  public init(
    q: TensorView, k: TensorView, qOut: TensorView, kOut: TensorView, positions: [Int],
    source: RotarySource
  ) {
    self.q = q
    self.k = k
    self.qOut = qOut
    self.kOut = kOut
    self.positions = positions
    self.source = source
  }

  /// Rotation by positions in the memory of the back end.
  public init(
    q: TensorView, k: TensorView, qOut: TensorView, kOut: TensorView, positions: TensorView,
    source: RotarySource
  ) {
    self.init(q: q, k: k, qOut: qOut, kOut: kOut, positions: [], source: source)
    positionTensor = positions
  }

  /// Number of rows.
  public var rowCount: Int { positionTensor?.shape.first ?? positions.count }

  /// Positions of ragged rows: row `i` of request `r` is at `offsets[r] + i`.
  public static func positions(indptr: RaggedIndptr, offsets: [Int]) throws(ArgumentError) -> [Int]
  {
    var validator = Validator("RotaryArguments.positions")
    if validator.requireIndptr("indptr", indptr) {
      validator.require(
        offsets.count == indptr.batch, "offsets must hold one value per request",
        found: "\(offsets.count) for batch \(indptr.batch)")
      validator.require(
        indptr.offsets[0] == 0, "indptr must start at 0", found: "\(indptr.offsets[0])")
    }
    try validator.finish()
    var positions: [Int] = []
    for r in 0..<indptr.batch {
      for i in 0..<indptr.length(r) { positions.append(offsets[r] &+ i) }
    }
    return positions
  }
}

extension RotaryArguments {
  private static let floats: [ScalarType] = [.f32, .f16, .bf16, .e4m3, .e5m2]

  /// Rotated leading elements of each head.
  public var rotaryDim: Int {
    switch source {
    case .frequencies(let rope): rope.rotaryDim ?? (q.shape.last ?? 0)
    case .cosSinCache(let table, _): table.shape.last ?? 0
    }
  }

  /// Checks every tensor and position.
  ///
  /// - Throws: `ArgumentError` with every violation; nothing has been written.
  public func validate(memory: MemorySpace, operation: String) throws(ArgumentError) {
    var validator = Validator(operation)
    for (name, view) in [("q", q), ("k", k), ("qOut", qOut), ("kOut", kOut)] {
      validator.require(
        view.memory == memory, "\(name) must live in \(memory) memory", found: "\(view.memory)")
    }
    guard
      validator.require(
        q.shape.count == 3 && k.shape.count == 3, "q and k must have 3 dimensions",
        found: "\(q.shape) and \(k.shape)")
    else { return try validator.finish() }
    if let positionTensor {
      validator.requireTensor(
        "positions", positionTensor, [.i32, .i64], shape: [Swift.max(rowCount, 0)])
      validator.require(
        positionTensor.memory == memory, "positions must live in \(memory) memory",
        found: "\(positionTensor.memory)")
      validator.require(
        positions.isEmpty, "positions must be a tensor or values", found: "both")
    }
    let dim = q.shape[2]
    validator.requireTensor("q", q, Self.floats, shape: [rowCount, nil, nil])
    validator.requireTensor("k", k, Self.floats, shape: [rowCount, nil, dim])
    validator.requireTensor(
      "qOut", qOut, [q.scalarType], shape: q.shape.map(Optional.some), isOutput: true)
    validator.requireTensor(
      "kOut", kOut, [k.scalarType], shape: k.shape.map(Optional.some), isOutput: true)
    let limit: Int
    switch source {
    case .frequencies(let rope):
      validator.requireRotary(rope, headDim: dim)
      limit = Int(Int32.max)
    case .cosSinCache(let table, _):
      validator.requireTensor("cosSinCache", table, [.f32], shape: [nil, nil])
      validator.require(
        table.memory == memory, "cosSinCache must live in \(memory) memory",
        found: "\(table.memory)")
      let width = table.shape.last ?? 0
      validator.require(
        width.isMultiple(of: 2) && width >= 2 && width <= dim,
        "cosSinCache must have an even width in 2…\(dim) (head dimension)", found: "\(width)")
      limit = Swift.max(table.shape.first ?? 0, 0) - 1
    }
    if let bad = positions.firstIndex(where: { $0 < 0 || $0 > limit }) {
      validator.require(
        false, "positions must be in 0…\(limit)", found: "\(positions[bad]) at row \(bad)")
    }
    try validator.finish()
  }
  /// The same rotation by values, where its positions are a tensor in host memory.
  ///
  /// - Throws: `ArgumentError` with every violation of the rotation.
  public func readingPositions(operation: String) throws(ArgumentError) -> RotaryArguments {
    guard let positionTensor else { return self }
    try validate(memory: .host, operation: operation)
    var validator = Validator(operation)
    validator.requireReadable("positions", positionTensor)
    try validator.finish()
    var result = self
    result.positionTensor = nil
    result.positions = positionTensor.hostIntegers()
    return result
  }
}

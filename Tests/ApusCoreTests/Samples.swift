import ApusCore
import ApusNumerics
import Testing

/// The violations that `body` records, each as `requirement; found value. remedy`.
func complaints(_ body: (inout Validator) -> Void) -> [String] {
  var validator = Validator("test")
  body(&validator)
  return validator.violations.map(\.description)
}

/// As `complaints`, for checks that return whether they passed: the two answers must agree.
func verdict(_ body: (inout Validator) -> Bool) -> [String] {
  var validator = Validator("test")
  let passed = body(&validator)
  #expect(passed == validator.isClean)
  return validator.violations.map(\.description)
}

/// The text of the error that `body` throws, or `accepted`.
func refusal<Value>(_ body: () throws -> Value) -> String {
  do {
    _ = try body()
    return "accepted"
  } catch {
    return "\(error)"
  }
}

extension TensorView {
  /// A view at an arbitrary aligned address that nothing reads; dense and exactly as large as its
  /// shape unless told otherwise.
  static func sample(
    _ type: ScalarType, _ shape: [Int], strides: [Int]? = nil, byteCount: Int? = nil,
    address: UInt = 4096, memory: MemorySpace = .host
  ) -> TensorView {
    let strides = strides ?? denseStrides(shape)
    let view = TensorView(
      address: address, byteCount: 0, scalarType: type, shape: shape, strides: strides)
    return TensorView(
      address: address, byteCount: byteCount ?? view.requiredByteCount ?? 0, scalarType: type,
      shape: shape, strides: strides, memory: memory)
  }

  /// Whether every element lies inside the buffer and the address space, by division alone: no
  /// product is formed that could overflow.
  var staysInside: Bool {
    guard shape.count == strides.count, shape.allSatisfy({ $0 >= 0 }) else { return false }
    if shape.contains(0) { return true }
    guard address != 0, byteCount >= scalarType.byteCount else { return false }
    var budget = byteCount / scalarType.byteCount - 1
    for (extent, stride) in zip(shape, strides) where extent > 1 && stride != 0 {
      guard stride > 0, extent - 1 <= budget / stride else { return false }
      budget -= (extent - 1) * stride
    }
    let used = UInt(byteCount - budget * scalarType.byteCount)
    return UInt.max - address >= used - UInt(byteCount % scalarType.byteCount)
  }

  /// Whether `index` along `axis` is one of the view's.
  func holds(_ index: Int, axis: Int) -> Bool {
    shape.indices.contains(axis) && index < shape[axis]
  }
}

extension AttentionProblem {
  /// Two requests of 2 and 3 queries over 4 and 5 ragged keys; heads 4/2, dimensions 16 and 8.
  static func sample(
    shape: AttentionShape = AttentionShape(
      qoHeadCount: 4, kvHeadCount: 2, headDimQK: 16, headDimVO: 8),
    geometry: KVGeometry = .ragged(RaggedIndptr([0, 4, 9])), layout: KVLayout = .nhd,
    latent: LatentShape? = nil, mask: AttentionMask = .none
  ) -> AttentionProblem {
    AttentionProblem(
      shape: shape, types: AttentionTypes(q: .bf16, kv: .e4m3, o: .f16),
      qoIndptr: RaggedIndptr([0, 2, 5]), geometry: geometry, layout: layout, latent: latent,
      mask: mask)
  }
}

extension PageTable {
  /// Pages of 4 tokens: request 0 has 4 tokens in page 2, request 1 has 5 in pages 0 and 2.
  static let sample = PageTable(
    pageSize: 4, indptr: RaggedIndptr([0, 1, 3]), indices: [2, 0, 2], lastPageLength: [4, 1])
}

public import ApusCore

/// A call that breaks one rule of the contract: every back end must throw `.argument` and write
/// nothing.
public struct MalformedCall: Sendable, CustomStringConvertible {
  /// The broken rule.
  public let description: String
  private let body: @Sendable (any Backend) -> CaseOutcome

  init(_ description: String, _ body: @escaping @Sendable (any Backend) -> CaseOutcome) {
    self.description = description
    self.body = body
  }

  /// Makes the call.
  public func check(on backend: any Backend) -> CaseOutcome { body(backend) }

  /// Every malformed call.
  public static let all: [MalformedCall] =
    attentionProblems + attentionTensors + appends + merges + rotations + packings

  /// Runs `call` and expects `.argument` and unchanged memory.
  static func expectRefusal(
    of memory: CaseMemory, _ call: () throws(ApusError) -> Void
  ) -> CaseOutcome {
    let before = memory.snapshots()
    var failures: [String] = []
    do {
      try call()
      failures.append("nothing was thrown; expected an argument error")
    } catch .argument(let error) {
      if error.violations.isEmpty { failures.append("an argument error must name a violation") }
    } catch .unsupported(let error) {
      return .skipped(reason: error.requested)
    } catch {
      failures.append("expected an argument error; found \(error)")
    }
    for name in memory.changed(since: before) {
      failures.append("\(name) was written although the call was refused")
    }
    return failures.isEmpty ? .passed(margin: 0) : .failed(failures)
  }
}

extension TensorView {
  /// The same view with some properties replaced.
  func replacing(
    address: UInt? = nil, byteCount: Int? = nil, type: ScalarType? = nil, shape: [Int]? = nil,
    strides: [Int]? = nil, memory: MemorySpace? = nil
  ) -> TensorView {
    TensorView(
      address: address ?? self.address, byteCount: byteCount ?? self.byteCount,
      scalarType: type ?? scalarType, shape: shape ?? self.shape,
      strides: strides ?? self.strides, memory: memory ?? self.memory)
  }

  /// The ways in which any tensor can be wrong. All keep to the tensor's own memory, so that a back
  /// end that misses one still harms nobody.
  enum Malformation: String, CaseIterable, Sendable {
    case type = "the wrong type"
    case rank = "one dimension less"
    case strideCount = "a stride less"
    case negativeStride = "a negative stride"
    case null = "a null address"
    case memory = "memory of another device"
    case short = "a buffer one byte short"
    case overflow = "a size that overflows"
    case alignment = "a misaligned address"

    /// Those that a tensor of bytes can have.
    static let ofBytes = allCases.filter { $0 != .alignment }
  }

  /// This tensor, wrong in one way.
  func broken(_ way: Malformation) -> TensorView {
    switch way {
    case .type: replacing(type: scalarType == .i32 ? .i64 : .i32)
    case .rank: replacing(shape: Array(shape.dropLast()))
    case .strideCount: replacing(strides: Array(strides.dropLast()))
    case .negativeStride: replacing(strides: [-strides[0]] + strides.dropFirst())
    case .null: replacing(address: 0)
    case .memory: replacing(memory: .cuda(device: 77))
    case .short: replacing(byteCount: byteCount - 1)
    case .overflow: replacing(strides: strides.map { _ in .max / 2 })
    case .alignment: replacing(address: address + 1)
    }
  }
}

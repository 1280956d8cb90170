internal import ApusCore
internal import ApusNumerics

extension TensorView {
  /// A dense tensor in a sample's buffer, some elements behind its beginning.
  static func sample(
    _ address: UInt64, _ type: ScalarType, _ shape: [Int], skipping elements: Int = 0
  ) -> TensorView {
    TensorView(
      address: UInt(address) + UInt(elements * type.byteCount),
      byteCount: shape.reduce(type.byteCount, *), scalarType: type, shape: shape,
      strides: denseStrides(shape))
  }
}

extension Sequence<KernelLaunch> {
  /// The launches with addresses in place of offsets into a plan's memory.
  func bound(metadata: UInt64, workspace: UInt64 = 0) -> [KernelLaunch] {
    map { launch in
      var launch = launch
      launch.values = launch.values.map { value in
        switch value {
        case .metadata(let offset): .pointer(metadata + UInt64(offset))
        case .workspace(let offset): .pointer(workspace + UInt64(offset))
        default: value
        }
      }
      return launch
    }
  }
}

extension ElementType {
  /// What a value that errs by `error` errs by when it has been rounded to the type.
  func bound(_ value: Double, error: Double) -> Double {
    error + (value.magnitude + error) * unitRoundoff + Double(leastNonzeroMagnitude) / 2
  }
}

/// The first differences between what a sample must give and what it gave.
struct SampleFindings: Sendable {
  private(set) var lines: [String] = []

  /// Findings are enough to tell that something is wrong, and roughly what.
  private static let limit = 8

  /// Notes a line unless the condition holds.
  mutating func require(_ condition: Bool, _ line: @autoclosure () -> String) {
    if !condition && lines.count < Self.limit { lines.append(line()) }
  }

  /// Notes a value that is not within a bound of what it must be. Infinities must be equal, a NaN be
  /// a NaN.
  mutating func require(
    _ name: @autoclosure () -> String, _ found: Float, is expected: Double, within bound: Double = 0
  ) {
    let isRight =
      expected.isNaN
      ? found.isNaN : Double(found) == expected || (Double(found) - expected).magnitude <= bound
    require(isRight, "\(name()) must be \(expected) ± \(bound); found \(found)")
  }
}

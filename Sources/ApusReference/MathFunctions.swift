#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The C library's functions under one spelling for both precisions.
enum Math {
  static func exp(_ x: Double) -> Double { _exp(x) }
  static func exp2(_ x: Double) -> Double { _exp2(x) }
  static func log(_ x: Double) -> Double { _log(x) }
  static func log2(_ x: Double) -> Double { _log2(x) }
  static func tanh(_ x: Double) -> Double { _tanh(x) }
  static func cos(_ x: Double) -> Double { _cos(x) }
  static func sin(_ x: Double) -> Double { _sin(x) }
  static func exp2(_ x: Float) -> Float { _exp2(x) }
  static func log2(_ x: Float) -> Float { _log2(x) }
  static func tanh(_ x: Float) -> Float { _tanh(x) }

  /// `log₂ e`.
  static let log2e = 1.442695040888963407359924681001892137
}

// Inside `Math` the plain names would mean its own members.
private func _exp(_ x: Double) -> Double { exp(x) }
private func _exp2(_ x: Double) -> Double { exp2(x) }
private func _log(_ x: Double) -> Double { log(x) }
private func _log2(_ x: Double) -> Double { log2(x) }
private func _tanh(_ x: Double) -> Double { tanh(x) }
private func _cos(_ x: Double) -> Double { cos(x) }
private func _sin(_ x: Double) -> Double { sin(x) }
private func _exp2(_ x: Float) -> Float { exp2f(x) }
private func _log2(_ x: Float) -> Float { log2f(x) }
private func _tanh(_ x: Float) -> Float { tanhf(x) }

import Foundation

/// Numbers as tables print them: short, with units, in one place.
enum Format {
  /// `digits` digits behind the point.
  static func fixed(_ value: Double, _ digits: Int) -> String {
    String(format: "%.\(digits)f", value)
  }

  /// `1.23e-04`.
  static func scientific(_ value: Double) -> String {
    value == 0 ? "0" : String(format: "%.2e", value)
  }

  /// `1.2e-04`: two digits, for bounds and errors side by side.
  static func short(_ value: Double) -> String { String(format: "%.1e", value) }

  /// Three significant digits in ns, µs, ms or s.
  static func seconds(_ value: Double) -> String {
    scaled(value, [(1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")])
  }

  /// `12.3 GB/s`.
  static func bytesPerSecond(_ value: Double) -> String { "\(significant(value / 1e9)) GB/s" }

  /// `123 GFLOP/s`.
  static func flops(_ value: Double) -> String { "\(significant(value / 1e9)) GFLOP/s" }

  /// `45 %`.
  static func percent(_ fraction: Double) -> String { "\(fixed(fraction * 100, 0)) %" }

  /// Bytes in binary units.
  static func bytes(_ value: Double) -> String {
    scaled(value, [(0x1p40, "TiB"), (0x1p30, "GiB"), (0x1p20, "MiB"), (0x1p10, "KiB"), (1, "B")])
  }

  /// An integer in groups of three digits, such as `327 680`.
  static func grouped(_ value: Int) -> String {
    var digits = Array(String(value.magnitude))
    var position = digits.count - 3
    while position > 0 {
      digits.insert(" ", at: position)
      position -= 3
    }
    return (value < 0 ? "-" : "") + String(digits)
  }

  /// Three significant digits, without an exponent.
  static func significant(_ value: Double) -> String {
    guard value.isFinite else { return "\(value)" }
    let magnitude = value.magnitude
    let digits = magnitude >= 99.95 ? 0 : magnitude >= 9.995 ? 1 : magnitude == 0 ? 0 : 2
    return fixed(value, digits)
  }

  /// A number without digits that say nothing: `6`, `4.5`.
  static func shortest(_ value: Double) -> String { String(format: "%g", value) }

  private static func scaled(_ value: Double, _ units: [(size: Double, name: String)]) -> String {
    for unit in units where value >= unit.size {
      return "\(significant(value / unit.size)) \(unit.name)"
    }
    guard let smallest = units.last else { return significant(value) }
    return "\(significant(value / smallest.size)) \(smallest.name)"
  }
}

/// A CUDA version as the driver counts: the newest CUDA that it supports, such as 13.0.
public struct DriverVersion: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// First number.
  public let major: Int
  /// Second number.
  public let minor: Int

  /// Version `major.minor`.
  public init(_ major: Int, _ minor: Int) {
    self.major = major
    self.minor = minor
  }

  /// The driver's encoding: 1000 * major + 10 * minor.
  public init(encoded: Int) {
    self.init(encoded / 1000, encoded % 1000 / 10)
  }

  /// The oldest driver that Apus accepts: the first that encodes tensor maps and compiles PTX 8.0.
  public static var oldestSupported: DriverVersion { DriverVersion(12, 0) }

  /// Order by major, then minor.
  public static func < (left: DriverVersion, right: DriverVersion) -> Bool {
    (left.major, left.minor) < (right.major, right.minor)
  }

  /// `13.0`.
  public var description: String { "\(major).\(minor)" }
}

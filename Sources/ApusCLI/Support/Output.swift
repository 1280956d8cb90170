import ApusCore
import Foundation

/// What commands print: results on standard output, everything else on standard error.
enum Output {
  /// Prints a value as JSON: keys sorted, so that runs can be compared line by line. Infinities and
  /// NaN, which JSON lacks, become strings.
  static func json(_ value: some Encodable) throws {
    print(try jsonText(value))
  }

  /// The text that `json` prints.
  static func jsonText(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }

  /// Writes out what is still buffered.
  ///
  /// - Throws: `EnvironmentError` when standard output did not take it: a full disk, a closed pipe.
  static func finish() throws(EnvironmentError) {
    guard fflush(nil) == 0 else {
      let code = errno
      throw EnvironmentError(
        operation: "apus", code: Int(code), text: String(cString: strerror(code)),
        remedy: "Standard output is incomplete.")
    }
  }

  /// Writes a line to standard error.
  static func note(_ text: String) {
    FileHandle.standardError.write(Data("\(text)\n".utf8))
  }
}

/// One line on standard error that says what runs now. It appears on terminals alone: logs and
/// pipes never see it.
struct Progress: Sendable {
  private let isShown: Bool

  /// Progress of a command; `isEnabled` false keeps it silent.
  init(isEnabled: Bool = true) {
    isShown = isEnabled && isatty(STDERR_FILENO) == 1
  }

  /// Replaces the line.
  func show(_ text: @autoclosure () -> String) {
    guard isShown else { return }
    FileHandle.standardError.write(Data("\r\u{1B}[2K\(text())".utf8))
  }

  /// Removes the line.
  func clear() {
    guard isShown else { return }
    FileHandle.standardError.write(Data("\r\u{1B}[2K".utf8))
  }
}

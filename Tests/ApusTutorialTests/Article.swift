import Foundation
import Testing

/// The text of Documentation/Tutorial and the outputs that it quotes.
///
/// A quote is the fenced block behind a line `<!-- NAME -->`. APUS_RECORD=1 writes what the test
/// found into it; run it with `--no-parallel`, as all tests write the same file.
enum Article {
  static let folder = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Documentation/Tutorial")

  private static let file = folder.appendingPathComponent("README.md")

  static func read() throws -> String { try String(contentsOf: file, encoding: .utf8) }

  /// Fails unless the article quotes the output under the name.
  static func expect(_ output: String, at name: String) throws {
    let text = try read()
    guard let marker = text.range(of: "<!-- \(name) -->\n```console\n"),
      let end = text.range(of: "\n```\n", range: marker.upperBound..<text.endIndex),
      !text[marker.upperBound..<end.lowerBound].contains("```")
    else {
      Issue.record("the article must quote \(name)")
      return
    }
    if ProcessInfo.processInfo.environment["APUS_RECORD"] == "1" {
      try text.replacingCharacters(in: marker.upperBound..<end.lowerBound, with: output)
        .write(to: file, atomically: true, encoding: .utf8)
      return
    }
    #expect(String(text[marker.upperBound..<end.lowerBound]) == output)
  }
}

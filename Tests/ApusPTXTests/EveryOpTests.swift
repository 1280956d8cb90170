import ApusIR
import Foundation
import Testing

/// The sweep misses nothing: every case of every group that the language's source declares is in it.
@Suite struct EveryOpTests {
  @Test func `every case of the language is in the sweep`() throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Sources/ApusIR/Operations")
    let root = try String(
      contentsOf: folder.appending(path: "Op.swift"), encoding: .utf8)
    // `case movement(Movement)` names a group's enum.
    let groups = cases(root, indent: 2).map { String($0.prefix(1).uppercased() + $0.dropFirst()) }
      .map { $0 == "Special" ? "SpecialRegister" : $0 }
    #expect(groups.count == 11)
    var declared: [String: Set<String>] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.path()) {
      let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
      for group in groups {
        guard let start = text.range(of: "  public enum \(group): Sendable, Hashable {\n") else {
          continue
        }
        let rest = text[start.upperBound...]
        let end = rest.range(of: "\n  }\n")?.lowerBound ?? rest.endIndex
        declared[group] = Set(cases(String(rest[..<end]), indent: 4))
      }
    }
    #expect(Set(declared.keys) == Set(groups))
    var swept: [String: Set<String>] = [:]
    for variant in EveryOp.all {
      guard let payload = Mirror(reflecting: variant.op).children.first?.value else { continue }
      let group = "\(Swift.type(of: payload))"
      let label = Mirror(reflecting: payload).children.first?.label ?? "\(payload)"
      swept[group, default: []].insert(label)
    }
    for group in groups {
      let missing = declared[group, default: []].subtracting(swept[group, default: []])
      #expect(missing.isEmpty, "\(group): \(missing.sorted())")
      #expect(!declared[group, default: []].isEmpty, "\(group)")
    }
  }

  /// Names of the cases declared at an indentation.
  private func cases(_ text: String, indent: Int) -> [String] {
    let start = String(repeating: " ", count: indent) + "case "
    return text.split(separator: "\n").filter { $0.hasPrefix(start) }.flatMap { line in
      line.dropFirst(start.count).split(separator: ",").prefix { _ in !line.contains("switch") }
        .prefix(line.contains("(") ? 1 : .max)
        .map { $0.drop { " `".contains($0) }.prefix { $0.isLetter || $0.isNumber } }.map(
          String.init)
    }
  }
}

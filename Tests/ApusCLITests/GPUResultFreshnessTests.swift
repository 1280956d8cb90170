import Foundation
import Testing

@testable import ApusCLI

/// Figures of a kernel whose code has changed say nothing about this tree: PERFORMANCE.md must name
/// them. `Benchmarks/freshness.py` writes the page; this is a count of its own.
@Suite struct GPUResultFreshnessTests {
  /// The part of a GPU result that says which code was measured.
  private struct Result: Decodable {
    var kind: String
    var device: Device
    var cases: [Case]

    struct Device: Decodable { var capability: String }

    struct Case: Decodable {
      var kernels: [String]
      var ptxHashes: [String]?
    }
  }

  private static let root = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()
  private static let targets = ["8.0": "sm_80", "8.6": "sm_86", "8.9": "sm_89", "9.0": "sm_90a"]

  /// Hashes of the tree by `symbol target`, which `KernelRecordingTests` holds to the kernels.
  private static func hashes() throws -> [String: String] {
    let file = root.appending(path: "Tests/ApusKernelsTests/Golden/hashes.txt")
    let recording = KernelRecording(try String(contentsOf: file, encoding: .utf8))
    return Dictionary(uniqueKeysWithValues: recording.lines.map { ($0.name, $0.hash) })
  }

  /// Kernels of a result that are no longer, or not as they were, in the tree.
  private static func older(_ result: Result, _ hashes: [String: String]) -> Set<String> {
    let rows = Set(hashes.keys.compactMap { $0.split(separator: " ").first.map(String.init) })
    var older = Set<String>()
    for item in result.cases {
      for (symbol, measured) in zip(item.kernels, item.ptxHashes ?? []) {
        guard rows.contains(symbol), measured != "?" else { continue }
        let now =
          Self.targets[result.device.capability].map { [hashes["\(symbol) \($0)"]] }
          ?? hashes.filter { $0.key.hasPrefix("\(symbol) ") }.map(\.value)
        if !now.contains(measured) { older.insert(symbol) }
      }
    }
    return older
  }

  @Test func `PERFORMANCE names every kernel that changed since it was measured`() throws {
    let page = try String(
      contentsOf: Self.root.appending(path: "PERFORMANCE.md"), encoding: .utf8)
    let sections = page.components(separatedBy: "## Kernels behind the GPU figures")
    let shown = try #require(sections.count == 2 ? sections[1] : nil, "no section on kernels")
    let hashes = try Self.hashes()
    let folder = Self.root.appending(path: "Benchmarks/Results")
    let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
    var count = 0
    while let file = files?.nextObject() as? URL {
      guard file.pathExtension == "json",
        let result = try? JSONDecoder().decode(Result.self, from: Data(contentsOf: file)),
        result.kind == "apus-gpu-bench"
      else { continue }
      let name = String(file.path.dropFirst(Self.root.path.count + 1))
      guard shown.contains("| [\(name)](\(name)) |") else { continue }
      count += 1
      let list = shown.components(separatedBy: "Older in \(name):\n").dropFirst().first ?? ""
      let named = list.split(separator: "\n").prefix { $0.hasPrefix("- `") }
        .compactMap { $0.split(separator: "`").dropFirst().first.map(String.init) }
      let older = Self.older(result, hashes)
      #expect(Set(named) == older, "\(name); run Scripts/performance")
      if !older.isEmpty {
        print("\(name): measured with an older kernel: \(older.sorted().joined(separator: ", "))")
      }
    }
    #expect(count == shown.split(separator: "\n").count { $0.hasPrefix("| [Benchmarks/") })
    #expect(count > 0)
  }

  @Test func `a changed, a vanished and an unknown kernel are told apart`() throws {
    let result = Result(
      kind: "apus-gpu-bench", device: Result.Device(capability: "9.0"),
      cases: [
        Result.Case(
          kernels: ["same", "other", "gone", "unasked", "custom"],
          ptxHashes: ["a", "b", "c", "?", "e"]),
        Result.Case(kernels: ["other"], ptxHashes: nil),
      ])
    let hashes = [
      "same sm_90a": "a", "other sm_90a": "b2", "gone sm_80": "c", "unasked sm_90a": "d",
    ]
    #expect(Self.older(result, hashes) == ["other", "gone"])
  }
}

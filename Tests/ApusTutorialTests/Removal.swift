import ApusDSL
import ApusIR
import ApusSimulator
import Foundation

/// A level without one line of its source: what the reader is invited to try.
struct Removal {
  /// The folder's number.
  let level: Int
  /// The line, without indentation.
  let line: String
  /// Which of several equal lines, from 0 on.
  var occurrence = 0

  /// File name and number of the line.
  func place() throws -> (file: String, line: Int) {
    let folder = Article.folder.appendingPathComponent("Level0\(level)")
    var left = occurrence
    for file in try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() {
      let text = try String(
        contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
      for (index, other) in text.split(separator: "\n", omittingEmptySubsequences: false)
        .enumerated() where other.trimmingCharacters(in: .whitespaces) == line
      {
        if left == 0 { return (file, index + 1) }
        left -= 1
      }
    }
    throw CocoaError(.fileReadUnknown)
  }

  /// The kernel without what the line emitted; of a branch its body stays.
  func kernel() throws -> KernelIR {
    let place = try place()
    var removed = 0
    func without(_ region: Region) -> Region {
      Region(
        region.nodes.flatMap { node -> [Node] in
          var node = node
          node.regions = node.regions.map(without)
          let isHere = node.location.line == place.line && node.location.file == place.file
          guard isHere else { return [node] }
          if case .control(.if) = node.op {
            removed += 1
            return node.regions[0].nodes
          }
          guard node.results.isEmpty || node.op == .movement(.assign) else { return [node] }
          removed += 1
          return []
        })
    }
    var kernel = try Levels.all()[level - 1].kernel.build()
    kernel.body = without(kernel.body)
    guard removed > 0 else { throw CocoaError(.fileReadUnknown) }
    return kernel
  }

  /// What the verifier says, or else the simulator's first error.
  func report() throws -> [String] {
    let sample = Levels.all()[level - 1]
    let changed = try kernel()
    let diagnostics = Verifier.verify(changed, target: sample.kernel.target)
    let simulated = try sample.run(changed).report.errors.prefix(1).map(\.description)
    return diagnostics.map(\.description) + simulated
  }
}

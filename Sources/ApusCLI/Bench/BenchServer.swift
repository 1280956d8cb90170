internal import Apus
internal import ApusCPU
internal import Foundation

/// Measures one case per line of standard input, so that another program can alternate between its
/// own measurements and Apus's while both keep their tensors.
///
/// A line is a case's name, answered by its `BenchResult`; `limits`, answered by `BenchLimits`;
/// `about`, answered by `BenchAbout`; or `drop`, which frees the tensors and answers `{}`. Each answer is one line of JSON; a line that
/// cannot be served is answered by `{"error": "…"}`. The tensors of a case stay until another is
/// asked for. End of input ends the server.
struct BenchServer {
  private var runner: BenchRunner
  private var limits: BenchLimits?
  private var current: (item: BenchCase, prepared: BenchPrepared)?
  private let about: BenchAbout
  private let cases: [String: BenchCase]

  init(runner: BenchRunner, commit: String?) {
    self.runner = runner
    about = BenchAbout(runner: runner, commit: commit)
    cases = Dictionary(uniqueKeysWithValues: BenchSuite.cpu.cases.map { ($0.name, $0) })
  }

  /// Serves until the input ends.
  mutating func serve() {
    while let line = readLine() {
      let text = line.trimmingCharacters(in: .whitespaces)
      guard !text.isEmpty else { continue }
      FileHandle.standardOutput.write(Data((answer(text) + "\n").utf8))
    }
  }

  /// The answer to one line.
  mutating func answer(_ line: String) -> String {
    do {
      switch line {
      case "drop":
        current = nil
        return "{}"
      case "about":
        return try about.benchLine()
      case "limits":
        let measured = runner.limits()
        limits = limits?.best(measured) ?? measured
        return try measured.benchLine()
      default:
        return try measure(line).benchLine()
      }
    } catch {
      let failure = BenchFailure(error: "\(error)")
      return (try? failure.benchLine()) ?? #"{"error":"bench: unprintable"}"#
    }
  }

  private mutating func measure(_ name: String) throws -> BenchResult {
    if current?.item.name != name {
      guard let item = cases[name] else { throw BenchError.unknownCase(name) }
      let memory = ProcessInfo.processInfo.physicalMemory
      if let reason = item.skipReason(physicalMemory: memory) {
        throw BenchError.skippedCase(name: name, reason: reason)
      }
      // Two cases' caches together might not fit.
      current = nil
      current = (item, try runner.prepare(item))
    }
    guard let current else { throw BenchError.unknownCase(name) }
    let limits = limits ?? runner.limits()
    self.limits = limits
    return try runner.measure(current.item, current.prepared, limits: limits)
  }
}

/// What measures: the fields of `BenchReport` of the same names.
private struct BenchAbout: Encodable {
  var machine: MachineInfo
  var commit: String?
  var backend: String
  var instructionSet: String
  var threads: Int
  var policy: BenchPolicy

  init(runner: BenchRunner, commit: String?) {
    machine = .current
    self.commit = commit
    backend = runner.backend.name
    instructionSet = runner.backend.engine.instructionSet.rawValue
    threads = runner.backend.engine.threadCount
    policy = runner.policy
  }
}

/// The server's answer when it has none.
private struct BenchFailure: Encodable {
  var error: String
}

extension Encodable {
  /// JSON on one line, sorted keys.
  fileprivate func benchLine() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }
}

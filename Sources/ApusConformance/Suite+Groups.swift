internal import Apus
internal import ApusThreads
internal import Foundation

/// The jobs of a run in which groups of cases share compiled kernels: every kernel is compiled once,
/// the largest first, and a group's cases follow as soon as its kernels are there.
///
/// Compilation, references and runs share the same threads: while the last kernels compile, the cases
/// of finished groups keep the other threads busy.
///
/// `@unchecked Sendable`: every access to the mutable state happens under `condition`.
final class CasePipeline: @unchecked Sendable {
  /// What a worker does next.
  enum Job {
    case compile(KernelKey)
    case check(Int)
  }

  private let condition = NSCondition()
  private let kernels: [KernelKey]
  /// Groups that wait for each kernel.
  private var waiting: [KernelKey: [Int]] = [:]
  /// Kernels that each group waits for.
  private var missing: [Int]
  /// Checks of each group.
  private let members: [[Int]]
  private var ready: [Int]
  private var nextKernel = 0
  private var compiling = 0
  private var isStopped = false
  private let start = ContinuousClock.now
  private var lastCompiled: Duration = .zero

  /// - Parameters:
  ///   - groups: kernels and checks of each group.
  ///   - others: checks that wait for nothing.
  ///   - weight: what a kernel costs, in any unit.
  init(
    groups: [(kernels: Set<KernelKey>, checks: [Int])], others: [Int], weight: [KernelKey: Int]
  ) {
    members = groups.map(\.checks)
    missing = groups.map(\.kernels.count)
    ready = others.reversed()
    for (index, group) in groups.enumerated() {
      for kernel in group.kernels { waiting[kernel, default: []].append(index) }
      if group.kernels.isEmpty { ready += group.checks.reversed() }
    }
    kernels = waiting.keys.sorted {
      let (left, right) = (weight[$0] ?? 0, weight[$1] ?? 0)
      return left == right ? $0.symbol < $1.symbol : left > right
    }
  }

  /// Kernels that were compiled, and the time until the last one was.
  var compilation: SuiteReport.Compilation {
    condition.lock()
    defer { condition.unlock() }
    let parts = lastCompiled.components
    return SuiteReport.Compilation(
      kernelCount: kernels.count,
      seconds: Double(parts.seconds) + Double(parts.attoseconds) * 1e-18)
  }

  /// The next job; waits where all that is left needs a kernel that another worker compiles.
  func next() -> Job? {
    condition.lock()
    defer { condition.unlock() }
    while !isStopped {
      if nextKernel < kernels.count {
        nextKernel += 1
        compiling += 1
        return .compile(kernels[nextKernel - 1])
      }
      if let check = ready.popLast() { return .check(check) }
      if compiling == 0 { return nil }
      condition.wait()
    }
    return nil
  }

  /// Says that a kernel is compiled, or that it cannot be: its cases then say why.
  func finished(_ kernel: KernelKey) {
    condition.lock()
    defer { condition.unlock() }
    compiling -= 1
    lastCompiled = ContinuousClock.now - start
    for group in waiting[kernel] ?? [] {
      missing[group] -= 1
      if missing[group] == 0 { ready += members[group].reversed() }
    }
    condition.broadcast()
  }

  /// Gives out no further job.
  func stop() {
    condition.lock()
    defer { condition.unlock() }
    isStopped = true
    condition.broadcast()
  }
}

extension CaseGroup {
  /// All groups that the options' cases belong to, in order, drawn on several threads.
  static func all(_ options: Suite.Options, on backend: any CompilingBackend) -> [CaseGroup] {
    let size = max(1, options.casesPerConfiguration)
    let range = options.cases
    guard !range.isEmpty else { return [] }
    let first = range.lowerBound / size
    let count = (range.upperBound - 1) / size - first + 1
    return concurrentMap(Array(first..<first + count), threadCount: options.workers) { number in
      let leader = number * size
      let members = (leader..<leader + size).clamped(to: range)
      return CaseGroup(leader: leader, members: members, options: options, on: backend)
    }
  }

  /// What each kernel of the groups costs to compile.
  static func weights(
    _ groups: [CaseGroup], on backend: any CompilingBackend, workers: Int
  ) -> [KernelKey: Int] {
    let kernels = Array(groups.reduce(into: Set<KernelKey>()) { $0.formUnion($1.compiled) })
    let weights = concurrentMap(kernels, threadCount: workers) {
      backend.compilationWeight(of: $0)
    }
    return Dictionary(zip(kernels, weights)) { first, _ in first }
  }
}

internal import Apus
public import ApusCore
internal import Dispatch
internal import Foundation

/// The conformance suite: one set of cases, laws and malformed calls for every back end.
///
/// A back end whose operands live in device memory is wrapped in one that stages host tensors; the
/// suite itself works on host memory only.
public struct Suite: Sendable {
  /// How much is run, and how.
  public struct Options: Sendable, Hashable {
    /// Seed of all random choices.
    public var seed: UInt64
    /// Numbers of the cases to run.
    public var cases: Range<Int>
    /// How large cases and properties are.
    public var size: CaseSize
    /// The family that cases are drawn from; nil draws from all.
    public var family: CaseFamily?
    /// Simplifies cases that the back end does not support until it does, and every other one until
    /// the kernels made for its use run it. What it supports nothing of stays skipped.
    public var seeksSupport: Bool
    /// Consecutive cases that share compiled kernels: see `CaseGroup`. 0 or 1 draws each case by
    /// itself, and so do back ends that compile nothing.
    public var casesPerConfiguration: Int
    /// How often each property is tried; 0 leaves properties out.
    public var propertyRepetitions: Int
    /// Whether malformed calls are made.
    public var makesMalformedCalls: Bool
    /// Threads that run checks; they share the back end.
    public var workers: Int
    /// Starts no further check after a failure.
    public var stopsAtFirstFailure: Bool

    /// 2000 cases, four repetitions of each property and all malformed calls.
    public init(
      seed: UInt64 = 1, cases: Range<Int> = 0..<2000, size: CaseSize = .full,
      family: CaseFamily? = nil, seeksSupport: Bool = false, casesPerConfiguration: Int = 0,
      propertyRepetitions: Int = 4, makesMalformedCalls: Bool = true, workers: Int = 1,
      stopsAtFirstFailure: Bool = false
    ) {
      self.seed = seed
      self.cases = cases
      self.size = size
      self.family = family
      self.seeksSupport = seeksSupport
      self.casesPerConfiguration = casesPerConfiguration
      self.propertyRepetitions = propertyRepetitions
      self.makesMalformedCalls = makesMalformedCalls
      self.workers = workers
      self.stopsAtFirstFailure = stopsAtFirstFailure
    }
  }

  /// One thing to try.
  private enum Check {
    case conformance(ConformanceCase)
    /// A case of a group, which runs as it is.
    case member(ConformanceCase)
    case property(ConformanceProperty, Int)
    case malformed(MalformedCall)
  }

  private let backend: any Backend
  private let model: ArithmeticModel
  private let options: Options
  private let kernels: KernelCounter?

  /// A suite for a back end whose operands live in host memory.
  ///
  /// - Parameters:
  ///   - model: what the back end declares about its arithmetic; nil asks for what is known of it.
  ///   - kernels: hears of the back end's launches; nil where nothing is launched.
  public init(
    backend: any Backend, model: ArithmeticModel? = nil, options: Options = Options(),
    kernels: KernelCounter? = nil
  ) {
    self.kernels = kernels
    self.backend = backend
    self.model = model ?? .declared(by: backend)
    self.options = options
  }

  /// Runs everything.
  ///
  /// - Parameter progress: called with (finished, total) after each check, one call at a time but
  ///   from any worker.
  public func run(progress: (@Sendable (Int, Int) -> Void)? = nil) -> SuiteReport {
    var checks: [Check] = []
    var groups: [(kernels: Set<KernelKey>, checks: [Int])] = []
    var weights: [KernelKey: Int] = [:]
    let compiling = options.casesPerConfiguration > 1 ? backend as? any CompilingBackend : nil
    if let compiling {
      let drawn = CaseGroup.all(options, on: compiling)
      weights = CaseGroup.weights(
        drawn, on: compiling, workers: options.workers)
      for group in drawn {
        groups.append((group.compiled, Array(checks.count..<checks.count + group.members.count)))
        checks += group.members.map {
          group.launched.isEmpty ? .conformance($0) : .member($0)
        }
      }
    } else {
      checks = options.cases.map { .conformance(.drawn($0, options)) }
    }
    let caseCount = checks.count
    if options.propertyRepetitions > 0 {
      for property in ConformanceProperty.all {
        for repetition in 0..<options.propertyRepetitions {
          checks.append(.property(property, repetition))
        }
      }
    }
    if options.makesMalformedCalls { checks += MalformedCall.all.map(Check.malformed) }
    let state = SuiteState(SuiteReport(backend: backend.name, options: options), checks.count)
    let list = checks
    let others = Array((compiling == nil ? 0 : caseCount)..<checks.count)
    let pipeline = CasePipeline(groups: groups, others: others, weight: weights)
    DispatchQueue.concurrentPerform(iterations: max(options.workers, 1)) { _ in
      while let job = pipeline.next() {
        switch job {
        case .compile(let kernel):
          // What does not compile fails the cases that need it, in the back end's words.
          try? compiling?.prepare(kernel)
          pipeline.finished(kernel)
        case .check(let number):
          let (name, value, outcome) = perform(list[number])
          let hasFailure = state.record(number, name, value, outcome, progress)
          if hasFailure && options.stopsAtFirstFailure { pipeline.stop() }
        }
      }
    }
    var report = state.finished
    if let kernels { report.kernelCases = kernels.cases }
    if compiling != nil { report.compilation = pipeline.compilation }
    return report
  }

  /// Every other case of attention is for the family of kernels that its use is meant for: what
  /// serves everything would otherwise run nearly all of them.
  private func wantedKernels(for value: ConformanceCase) -> AttentionRoute.FamilyName? {
    value.index % 2 == 1 ? value.meantKernels : nil
  }

  /// The case as it is, with the kernels that it launches counted.
  private func performed(_ value: ConformanceCase) -> (String, ConformanceCase?, CaseOutcome) {
    let (outcome, symbols) = KernelCounter.recording { value.check(on: backend, model: model) }
    kernels?.add(symbols)
    return ("\(value)", value, outcome)
  }

  private func perform(_ check: Check) -> (String, ConformanceCase?, CaseOutcome) {
    switch check {
    case .conformance(let value):
      guard options.seeksSupport else { return performed(value) }
      let sought = value.checkSeekingSupport(
        on: backend, model: model, wanted: wantedKernels(for: value))
      kernels?.add(sought.symbols)
      return ("\(sought.value)", sought.value, sought.outcome)
    case .member(let value): return performed(value)
    case .property(let property, let repetition):
      let outcome = property.check(
        on: backend, model: model, seed: options.seed, repetition: repetition, size: options.size)
      let name = "seed \(options.seed) repetition \(repetition): \(property)"
      return (name, nil, outcome)
    case .malformed(let call):
      return ("malformed: \(call)", nil, call.check(on: backend))
    }
  }
}

/// What the workers share.
///
/// `@unchecked Sendable`: every access to the mutable state happens under `lock`.
private final class SuiteState: @unchecked Sendable {
  private let lock = NSLock()
  private var report: SuiteReport
  private let total: Int
  private var done = 0

  init(_ report: SuiteReport, _ total: Int) {
    self.report = report
    self.total = total
  }

  /// Records an outcome; whether something has failed.
  func record(
    _ number: Int, _ name: String, _ value: ConformanceCase?, _ outcome: CaseOutcome,
    _ progress: (@Sendable (Int, Int) -> Void)?
  ) -> Bool {
    lock.lock()
    defer { lock.unlock() }
    report.record(number, name, value, outcome)
    done += 1
    progress?(done, total)
    return report.failedCount > 0
  }

  var finished: SuiteReport {
    lock.lock()
    defer { lock.unlock() }
    return report.ordered
  }
}

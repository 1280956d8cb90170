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
      family: CaseFamily? = nil, seeksSupport: Bool = false, propertyRepetitions: Int = 4,
      makesMalformedCalls: Bool = true, workers: Int = 1, stopsAtFirstFailure: Bool = false
    ) {
      self.seed = seed
      self.cases = cases
      self.size = size
      self.family = family
      self.seeksSupport = seeksSupport
      self.propertyRepetitions = propertyRepetitions
      self.makesMalformedCalls = makesMalformedCalls
      self.workers = workers
      self.stopsAtFirstFailure = stopsAtFirstFailure
    }
  }

  /// One thing to try.
  private enum Check {
    case conformance(ConformanceCase)
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
    var checks = options.cases.map { index in
      let value =
        options.family.map {
          ConformanceCase(seed: options.seed, index: index, size: options.size, family: $0)
        } ?? ConformanceCase(seed: options.seed, index: index, size: options.size)
      return Check.conformance(value)
    }
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
    DispatchQueue.concurrentPerform(iterations: max(options.workers, 1)) { _ in
      while let next = state.next(stopsAtFailure: options.stopsAtFirstFailure) {
        let (name, value, outcome) = perform(list[next])
        state.record(next, name, value, outcome, progress)
      }
    }
    var report = state.finished
    if let kernels { report.kernelCases = kernels.cases }
    return report
  }

  /// Every other case of attention is for the family of kernels that its use is meant for: what
  /// serves everything would otherwise run nearly all of them.
  private func wantedKernels(for value: ConformanceCase) -> AttentionRoute.FamilyName? {
    guard case .attention(let attention) = value.content, attention.latent == nil,
      value.index % 2 == 1
    else { return nil }
    return CaseFamily.prefill.uses.contains(attention.use) ? .prefill : .decode
  }

  private func perform(_ check: Check) -> (String, ConformanceCase?, CaseOutcome) {
    switch check {
    case .conformance(let value):
      guard options.seeksSupport else {
        let (outcome, symbols) = KernelCounter.recording { value.check(on: backend, model: model) }
        kernels?.add(symbols)
        return ("\(value)", value, outcome)
      }
      let sought = value.checkSeekingSupport(
        on: backend, model: model, wanted: wantedKernels(for: value))
      kernels?.add(sought.symbols)
      return ("\(sought.value)", sought.value, sought.outcome)
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
  private var started = 0
  private var done = 0

  init(_ report: SuiteReport, _ total: Int) {
    self.report = report
    self.total = total
  }

  func next(stopsAtFailure: Bool) -> Int? {
    lock.lock()
    defer { lock.unlock() }
    guard started < total, !(stopsAtFailure && report.failedCount > 0) else { return nil }
    started += 1
    return started - 1
  }

  func record(
    _ number: Int, _ name: String, _ value: ConformanceCase?, _ outcome: CaseOutcome,
    _ progress: (@Sendable (Int, Int) -> Void)?
  ) {
    lock.lock()
    defer { lock.unlock() }
    report.record(number, name, value, outcome)
    done += 1
    progress?(done, total)
  }

  var finished: SuiteReport {
    lock.lock()
    defer { lock.unlock() }
    return report.ordered
  }
}

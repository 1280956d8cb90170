public import ApusCore

/// A law that every back end keeps, tried on random data.
public struct ConformanceProperty: Sendable, CustomStringConvertible {
  /// What it runs on.
  struct Context {
    let check: AttentionCheck
    let size: CaseSize
    var random: CaseRandom

    var backend: any Backend { check.backend }

    /// A small case that satisfies a condition; nil when none turned up.
    mutating func draw(_ condition: (AttentionCase) -> Bool) -> AttentionCase? {
      for index in 0..<2000 {
        var value = AttentionCase.generate(&random, index: index, size: size)
        // Several sharers of a page would see what is changed for one request.
        value.sharesPages = false
        if value.work > 0, value.work <= 300_000, condition(value) { return value }
      }
      return nil
    }

    /// Bits of the outputs of a case after `prepare` changed its tensors.
    func bits(
      _ source: AttentionCase, data: CaseRandom, givesWorkspace: Bool = false,
      _ prepare: (AttentionTensors) -> Void = { _ in }
    ) throws(Interruption) -> [UInt32] {
      let tensors = AttentionTensors(source, random: data)
      prepare(tensors)
      try check.run(tensors, givesWorkspace: givesWorkspace)
      let failures = check.untouched(tensors)
      guard failures.isEmpty else { throw .failed(failures.joined(separator: "; ")) }
      return tensors.outputBits()
    }

    /// The data generator of the next case.
    mutating func data() -> CaseRandom { CaseRandom(seed: random.next(), stream: 0) }
  }

  /// The law as a sentence.
  public let description: String
  private let body: @Sendable (inout Context) throws(Interruption) -> [String]

  init(
    _ description: String,
    _ body: @escaping @Sendable (inout Context) throws(Interruption) -> [String]
  ) {
    self.description = description
    self.body = body
  }

  /// Tries the law once; the same (seed, repetition) tries the same data.
  public func check(
    on backend: any Backend, model: ArithmeticModel? = nil, seed: UInt64,
    repetition: Int, size: CaseSize = .full
  ) -> CaseOutcome {
    // Streams of their own, far from those of cases.
    let stream = UInt64(1) << 40 &+ UInt64(bitPattern: Int64(repetition))
    var context = Context(
      check: AttentionCheck(backend: backend, model: model ?? .declared(by: backend)), size: size,
      random: CaseRandom(seed: seed, stream: stream))
    return Interruption.outcome { () throws(Interruption) in (try body(&context), 0) }
  }

  /// Every law of the contract.
  public static let all: [ConformanceProperty] =
    determinism + independence + splitting + propagation + merging

  /// First difference of two bit patterns, as a failure.
  static func same(_ found: [UInt32], _ expected: [UInt32], _ source: AttentionCase) -> [String] {
    guard found.count == expected.count else {
      return ["\(found.count) outputs instead of \(expected.count): \(source)"]
    }
    guard let first = found.indices.first(where: { found[$0] != expected[$0] }) else { return [] }
    let count = found.indices.count { found[$0] != expected[$0] }
    return [
      "output \(first): bits \(String(found[first], radix: 16)) instead of "
        + "\(String(expected[first], radix: 16)), \(count) of \(found.count) differ: \(source)"
    ]
  }

  /// What a property says when no case suits it: a defect of the suite, never a pass.
  static let noCase = Interruption.failed("no case was drawn that tries this property")
}

internal import Apus
internal import ApusCore
internal import ApusNumerics

extension AttentionCase {
  /// One step towards what specialised kernels do: takes one feature away.
  struct Simplification: Sendable {
    /// The feature.
    let name: String
    fileprivate let body: @Sendable (inout AttentionCase, inout CaseRandom) -> Void
  }

  /// Steps that change the problem. In any order, all of them leave dense attention of one 16-bit
  /// type with a head dimension of 64 or 128.
  static let simplifications: [Simplification] = [
    Simplification(name: "types") { value, random in
      let type = random.pick([ElementType.bf16, .f16])
      value.types = AttentionTypes(q: type)
      value.saturates = value.saturates && type == .f16
    },
    Simplification(name: "o type") { value, _ in
      value.types.o = value.types.q
      value.saturates = value.saturates && value.types.o != .bf16 && value.types.o != .f32
    },
    Simplification(name: "kv type") { value, _ in value.types.kv = value.types.q },
    Simplification(name: "dimensions") { value, random in
      guard value.latent == nil else { return }
      value.setDimensions(random.pick([64, 128]))
    },
    Simplification(name: "latent") { value, _ in
      guard value.latent != nil else { return }
      value.latent = LatentShape()
      value.shape = AttentionShape(
        qoHeadCount: value.shape.qoHeadCount, kvHeadCount: value.shape.kvHeadCount,
        headDimQK: 576, headDimVO: 512)
    },
    Simplification(name: "one latent head") { value, _ in
      guard value.latent != nil else { return }
      value.shape = AttentionShape(
        qoHeadCount: value.shape.groupSize, kvHeadCount: 1, headDimQK: value.shape.headDimQK,
        headDimVO: value.shape.headDimVO)
    },
    Simplification(name: "pages") { value, _ in
      value.form = .ragged
      value.isCombined = value.isCombined && value.latent != nil
      value.sharesPages = false
    },
    Simplification(name: "page size") { value, random in
      switch value.form {
      case .csr: value.form = .csr(pageSize: random.pick([16, 64]))
      case .blockTable: value.form = .blockTable(pageSize: random.pick([16, 64]))
      case .ragged, .padded: break
      }
    },
    Simplification(name: "block table") { value, _ in
      if case .blockTable(let size) = value.form { value.form = .csr(pageSize: size) }
    },
    Simplification(name: "layout") { value, _ in value.layout = .nhd },
    Simplification(name: "group size") { value, random in
      let group = random.pick([1, 2, 4, 8].filter { $0 <= value.shape.groupSize })
      value.shape = AttentionShape(
        qoHeadCount: value.shape.kvHeadCount * group, kvHeadCount: value.shape.kvHeadCount,
        headDimQK: value.shape.headDimQK, headDimVO: value.shape.headDimVO)
    },
    Simplification(name: "one query row") { value, _ in
      let isDecode = value.use == .speculative || value.use == .mla
      if isDecode { value.qoLengths = value.qoLengths.map { _ in 1 } }
    },
    Simplification(name: "one request") { value, _ in
      value.qoLengths = Array(value.qoLengths.prefix(1))
      value.kvLengths = Array(value.kvLengths.prefix(1))
      value.sharesPages = false
    },
    Simplification(name: "equal lengths") { value, _ in
      guard let qo = value.qoLengths.first, let kv = value.kvLengths.first else { return }
      value.qoLengths = value.qoLengths.map { _ in qo }
      value.kvLengths = value.kvLengths.map { _ in kv }
    },
    Simplification(name: "queries within keys") { value, _ in
      value.kvLengths = zip(value.qoLengths, value.kvLengths).map(Swift.max)
    },
    Simplification(name: "window") { value, _ in value.windowLeft = nil },
    Simplification(name: "custom mask") { value, _ in value.customMask = nil },
    Simplification(name: "softmax scale") { value, _ in value.softmaxScale = nil },
    Simplification(name: "soft cap") { value, _ in value.softCap = nil },
    Simplification(name: "alibi") { value, _ in value.hasAlibi = false },
    Simplification(name: "rope") { value, _ in value.rope = nil },
    Simplification(name: "options") { value, _ in value.options = ExecutionOptions() },
    Simplification(name: "unowned rows") { value, _ in value.hasUnownedRows = false },
  ]

  /// Steps that change tensors and leave the problem as it is.
  static let tensorSimplifications: [Simplification] = [
    Simplification(name: "gaps") { value, _ in value.hasGaps = false },
    Simplification(name: "shift") { value, _ in value.isShifted = false },
    Simplification(name: "combined") { value, _ in value.isCombined = false },
    Simplification(name: "split queries") { value, _ in value.hasSplitQueries = false },
    Simplification(name: "sinks") { value, _ in value.hasSinks = false },
    Simplification(name: "q scale") { value, _ in value.qScale = .one },
    Simplification(name: "k scale") { value, _ in value.kScale = .one },
    Simplification(name: "v scale") { value, _ in value.vScale = .one },
    Simplification(name: "o scale") { value, _ in
      value.oScale = .one
      value.saturates = false
    },
  ]

  private mutating func setDimensions(_ dim: Int) {
    shape = AttentionShape(
      qoHeadCount: shape.qoHeadCount, kvHeadCount: shape.kvHeadCount, headDimQK: dim,
      headDimVO: dim)
  }

  /// The case without one feature.
  fileprivate func taking(_ step: Simplification) -> AttentionCase {
    applying([step], CaseRandom(seed: 0, stream: 7))
  }

  private func applying(_ steps: [Simplification], _ initial: CaseRandom) -> AttentionCase {
    // The same choices whatever other steps are taken.
    var value = self
    for step in steps {
      var random = initial
      step.body(&value, &random)
    }
    return value
  }

  /// The case with as few features taken away as a predicate demands: steps are taken in a random
  /// order until it holds, and then each is taken back where it holds without.
  ///
  /// Sampling by rejection alone would not do: of the general cases one in a million is dense
  /// attention of one type without any modification.
  ///
  /// - Returns: nil when it does not hold even with all steps taken.
  func simplified(
    by steps: [Simplification], _ random: inout CaseRandom, until holds: (AttentionCase) -> Bool
  ) -> AttentionCase? {
    if holds(self) { return self }
    let choices = CaseRandom(seed: random.next(), stream: 7)
    var taken: [Simplification] = []
    var rest = steps.shuffled(using: &random)
    while let next = rest.popLast() {
      taken.append(next)
      guard holds(applying(taken, choices)) else { continue }
      for index in taken.indices.reversed() {
        var fewer = taken
        fewer.remove(at: index)
        if holds(applying(fewer, choices)) { taken = fewer }
      }
      return applying(taken, choices)
    }
    return nil
  }
}

extension ConformanceCase {
  /// What came of a case that may first have been simplified.
  struct Sought {
    /// The case that ran last.
    var value: ConformanceCase
    /// What came of it.
    var outcome: CaseOutcome
    /// The kernels that it launched.
    var symbols: Set<String>

    /// Whether nothing needs to be simplified further: it failed, or the wanted kernels ran.
    func isFinal(_ wanted: AttentionRoute.FamilyName?) -> Bool {
      switch outcome {
      case .failed: true
      case .skipped: false
      case .passed:
        wanted.map { name in symbols.contains { $0.contains("_\(name.rawValue)_") } } ?? true
      }
    }
  }

  private func tried(on backend: any Backend, _ model: ArithmeticModel) -> Sought {
    let (outcome, symbols) = KernelCounter.recording { check(on: backend, model: model) }
    return Sought(value: self, outcome: outcome, symbols: symbols)
  }

  /// Checks the case, or the nearest simpler one that the back end supports.
  ///
  /// - Parameter wanted: the family of kernels that shall run it; nil for any.
  func checkSeekingSupport(
    on backend: any Backend, model: ArithmeticModel, wanted: AttentionRoute.FamilyName?
  ) -> Sought {
    seekingSupport(on: backend, wanted: wanted) { $0.tried(on: backend, model) }
  }

  /// Tries the case, or the nearest simpler one that the back end supports.
  ///
  /// - Parameters:
  ///   - wanted: the family of kernels that shall run it; nil for any.
  ///   - attempt: runs a case, or finds out what running it would launch.
  func seekingSupport(
    on backend: any Backend, wanted: AttentionRoute.FamilyName?,
    attempt: (ConformanceCase) -> Sought
  ) -> Sought {
    guard case .attention(let source) = content else { return attempt(self) }
    var random = CaseRandom(
      seed: seed, stream: UInt64(1) << 41 &+ UInt64(bitPattern: Int64(index)))
    let nearest = source.simplified(by: AttentionCase.simplifications, &random) { candidate in
      var data = dataRandom
      let problem = candidate.problem(&data)
      if let wanted, let routed = backend as? any RoutedBackend {
        return routed.families(for: problem).first == wanted
      }
      return backend.support(for: problem).isSupported
    }
    guard let nearest else { return attempt(self) }
    var steps = AttentionCase.tensorSimplifications.shuffled(using: &random)
    var value = nearest
    while true {
      let next = ConformanceCase(seed: seed, index: index, size: size, content: .attention(value))
      let found = attempt(next)
      if found.isFinal(wanted) { return found }
      var simpler = value
      while simpler == value {
        guard let step = steps.popLast() else { return found }
        simpler = value.taking(step)
      }
      value = simpler
    }
  }
}

internal import Apus
internal import ApusCore

/// Cases that run the same compiled kernels.
///
/// Compiling a kernel for a GPU takes longer than running a case on it, and most cases that are drawn
/// one by one need a kernel of their own. So the first case of a group, its leader, is drawn and made
/// supported like any other; each further one is drawn afresh and takes over the types and dimensions
/// of the leader, and as few more of its features as it needs to run the same kernels.
struct CaseGroup: Sendable {
  /// The cases by index, as they will run.
  var members: [ConformanceCase]
  /// What they launch; empty if the leader is not supported.
  var launched: Set<KernelKey>
  /// What must be compiled for them, kernels that plans make ready included.
  var compiled: Set<KernelKey>

  /// Members of a group that may launch nothing, as batches without work do: the last of each six.
  private static func mayLaunchNothing(_ index: Int) -> Bool { index % 6 == 5 }

  /// The group whose first case has an index.
  ///
  /// - Parameter members: the indices of the group that are wanted; the leader is drawn in any case.
  init(
    leader first: Int, members: Range<Int>, options: Suite.Options, on backend: any CompilingBackend
  ) {
    let leader = Self.leader(first, options, backend)
    launched = leader.trial.launched
    compiled = leader.trial.compiled
    self.members = []
    for index in members {
      guard index != first, !launched.isEmpty else {
        // A leader that is not supported stands alone: its fellows are drawn as they are.
        let value = index == first ? leader.value : ConformanceCase.drawn(index, options)
        self.members.append(value)
        continue
      }
      let fellow = Self.fellow(index, of: leader.value, launched, options, backend)
      compiled.formUnion(fellow.trial.compiled)
      self.members.append(fellow.value)
    }
  }

  /// A case and what it would launch.
  private struct Tried {
    var value: ConformanceCase
    var trial: ProbeBackend
  }

  /// The first case: drawn, simplified until it is supported and, in every other group of attention,
  /// until the kernels made for its use run it, and drawn again if it launches nothing.
  private static func leader(
    _ first: Int, _ options: Suite.Options, _ backend: any CompilingBackend
  ) -> Tried {
    var last: Tried?
    for attempt in 0..<8 {
      let drawn = ConformanceCase.drawn(first, options, attempt: attempt)
      let wanted = first / max(1, options.casesPerConfiguration) % 2 == 1 ? drawn.meantKernels : nil
      let sought = drawn.seekingSupport(on: backend, wanted: wanted) { candidate in
        let probe = candidate.probed(on: backend)
        return ConformanceCase.Sought(
          value: candidate,
          outcome: probe.reachedLaunch ? .passed(margin: 0) : .skipped(reason: "probe"),
          symbols: Set(probe.launched.map(\.symbol)))
      }
      let tried = Tried(value: sought.value, trial: sought.value.probed(on: backend))
      if !tried.trial.launched.isEmpty { return tried }
      last = last ?? tried
    }
    return last
      ?? Tried(value: ConformanceCase.drawn(first, options), trial: backend.probe())
  }

  /// A further case.
  private static func fellow(
    _ index: Int, of leader: ConformanceCase, _ launched: Set<KernelKey>,
    _ options: Suite.Options, _ backend: any CompilingBackend
  ) -> Tried {
    func tried(_ content: ConformanceCase.Content) -> Tried {
      let value = ConformanceCase(
        seed: options.seed, index: index, size: options.size, content: content)
      return Tried(value: value, trial: value.probed(on: backend))
    }
    func fits(_ tried: Tried) -> Bool {
      guard tried.trial.reachedLaunch else { return false }
      return tried.trial.launched == launched
        || mayLaunchNothing(index) && tried.trial.launched.isEmpty
    }
    var random = CaseRandom(
      seed: options.seed, stream: UInt64(1) << 42 &+ UInt64(bitPattern: Int64(index)))
    let content: ConformanceCase.Content
    switch leader.content {
    case .attention(let first):
      var own = AttentionCase.generate(&random, index: index, size: options.size, use: first.use)
      if CaseFamily.prefill.uses.contains(first.use), options.size == .full, random.chance(0.5) {
        own.stretch(&random)
      }
      let adopted = own.adopting(first, &random) { fits(tried(.attention($0))) }
      content = .attention(adopted ?? first)
    case .append(let first):
      content = .append(AppendCase.generate(&random, size: options.size).adopting(first))
    case .merge(let first):
      content = .merge(MergeCase.generate(&random, size: options.size).adopting(first))
    case .rotary(let first):
      content = .rotary(RotaryCase.generate(&random, size: options.size).adopting(first))
    case .packBits(let first):
      content = .packBits(PackBitsCase.generate(&random, size: options.size).adopting(first))
    }
    let found = tried(content)
    // The leader's own shape with other data runs the leader's kernels.
    return fits(found) ? found : tried(leader.content)
  }
}

extension ConformanceCase {
  /// The case of an index as the options draw it.
  ///
  /// - Parameter attempt: another number draws another case.
  static func drawn(_ index: Int, _ options: Suite.Options, attempt: Int = 0) -> ConformanceCase {
    let number = index + attempt << 32
    var value =
      options.family.map {
        ConformanceCase(seed: options.seed, index: number, size: options.size, family: $0)
      } ?? ConformanceCase(seed: options.seed, index: number, size: options.size)
    if attempt > 0 {
      value = ConformanceCase(
        seed: options.seed, index: index, size: options.size, content: value.content)
    }
    return value
  }

  /// The family of kernels that the use of a case of attention is meant for; nil for other cases.
  var meantKernels: AttentionRoute.FamilyName? {
    guard case .attention(let attention) = content, attention.latent == nil else { return nil }
    return CaseFamily.prefill.uses.contains(attention.use) ? .prefill : .decode
  }

  /// What the case would launch.
  func probed(on backend: any CompilingBackend) -> ProbeBackend {
    let probe = backend.probe()
    guard case .attention(let value) = content else {
      _ = check(on: probe)
      return probe
    }
    // Data decides nothing, and takes longer to draw than kernels to choose.
    let tensors = AttentionTensors(value, random: dataRandom, isFilled: false)
    withExtendedLifetime(tensors) {
      try? AttentionCheck(backend: probe, model: .tensorCores)
        .run(tensors, givesWorkspace: value.givesWorkspace)
    }
    return probe
  }
}

/// How far the accesses of one agent are known to have happened before.
///
/// An agent is a warp, whose accesses carry its epoch and their lane: a release by some lanes
/// covers the accesses of those alone, one by all lanes, or after the lanes met, those of all.
struct Knowledge {
  /// All accesses of earlier epochs are covered.
  var before: UInt32 = 0
  /// Those of `lanes` are also covered up to this epoch, included.
  var epoch: UInt32 = 0
  var lanes: UInt32 = 0

  /// Accesses of all lanes before epoch `before`.
  init(before: UInt32 = 0) { self.before = before }

  /// Accesses of `lanes` up to `epoch`.
  init(lanes: UInt32, through epoch: UInt32) {
    if lanes == .max {
      before = epoch + 1
    } else {
      self.lanes = lanes
      self.epoch = epoch
    }
  }

  /// Lane number of an access of the warp as a whole.
  static let wholeWarp: UInt32 = 32
  /// Lane number of accesses of several lanes.
  static let several: UInt32 = 33

  @inline(__always)
  func covers(_ access: UInt32, lane: UInt32) -> Bool {
    if access < before { return true }
    guard access <= epoch else { return false }
    return lane < 32 ? lanes >> lane & 1 == 1 : lane == Self.wholeWarp && lanes != 0
  }

  /// Both; where lanes differ, the union up to the later epoch: more than is known, never less, so
  /// that no correct kernel is accused.
  @inline(__always)
  mutating func merge(_ other: Knowledge) {
    before = max(before, other.before)
    let mine = epoch >= before ? lanes : 0
    let theirs = other.epoch >= before ? other.lanes : 0
    epoch = max(mine != 0 ? epoch : 0, theirs != 0 ? other.epoch : 0)
    lanes = mine | theirs
    if lanes == .max { self = Knowledge(before: epoch + 1) }
  }
}

/// What is known of every agent of the own cluster, and of those other clusters that something was
/// heard of through atomics and ordered accesses of global memory.
struct VectorClock {
  private(set) var agents: [Knowledge]
  private(set) var others: [Int: [Knowledge]] = [:]

  init(count: Int) { agents = Array(repeating: Knowledge(), count: count) }

  subscript(agent: Int) -> Knowledge { agents[agent] }

  mutating func merge(_ knowledge: Knowledge, of agent: Int) { agents[agent].merge(knowledge) }

  mutating func merge(_ other: VectorClock) {
    for agent in agents.indices { agents[agent].merge(other.agents[agent]) }
    Self.merge(other.others, into: &others)
  }

  mutating func merge(_ other: ClockView) {
    for agent in agents.indices { agents[agent].merge(other.agents[agent]) }
    Self.merge(other.others.pointee, into: &others)
  }

  static func merge(_ source: [Int: [Knowledge]], into target: inout [Int: [Knowledge]]) {
    if source.isEmpty { return }
    for (cluster, agents) in source {
      if var old = target[cluster] {
        for agent in old.indices { old[agent].merge(agents[agent]) }
        target[cluster] = old
      } else {
        target[cluster] = agents
      }
    }
  }
}

/// The clock of a warp, in place.
struct ClockView {
  let agents: UnsafeMutableBufferPointer<Knowledge>
  let others: UnsafeMutablePointer<[Int: [Knowledge]]>

  init(count: Int) {
    agents = .allocate(capacity: count)
    agents.initialize(repeating: Knowledge())
    others = .allocate(capacity: 1)
    others.initialize(to: [:])
  }

  func deallocate() {
    agents.deallocate()
    others.deinitialize(count: 1)
    others.deallocate()
  }

  @inline(__always)
  subscript(agent: Int) -> Knowledge {
    get { agents[agent] }
    nonmutating set { agents[agent] = newValue }
  }

  func merge(_ other: VectorClock) {
    for agent in agents.indices { agents[agent].merge(other[agent]) }
    VectorClock.merge(other.others, into: &others.pointee)
  }

  func merge(_ knowledge: Knowledge, of agent: Int) { agents[agent].merge(knowledge) }
}

/// What a release at a global or shared address hands to those who acquire there.
struct Publication {
  /// The clock of each cluster that released here, each as that cluster counts its agents.
  private var clusters: [Int: VectorClock] = [:]

  /// A clock of one cluster.
  init(_ clock: VectorClock, cluster: Int) { clusters[cluster] = clock }

  /// What a cluster itself published.
  func own(_ cluster: Int) -> VectorClock? { clusters[cluster] }

  mutating func merge(_ other: Publication) {
    for (cluster, clock) in other.clusters {
      if clusters[cluster] == nil {
        clusters[cluster] = clock
      } else {
        clusters[cluster]?.merge(clock)
      }
    }
  }

  /// Merges what is published into what a warp knows.
  func acquire(_ clock: ClockView, cluster own: Int) {
    for (cluster, published) in clusters {
      if cluster == own {
        clock.merge(published)
        continue
      }
      VectorClock.merge([cluster: published.agents], into: &clock.others.pointee)
      for (third, agents) in published.others {
        if third == own {
          for agent in clock.agents.indices { clock.agents[agent].merge(agents[agent]) }
        } else {
          VectorClock.merge([third: agents], into: &clock.others.pointee)
        }
      }
    }
  }
}

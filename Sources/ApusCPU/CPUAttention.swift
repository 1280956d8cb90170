public import ApusCore
public import ApusPlanner

/// A planned attention of the CPU back end.
public struct CPUAttentionPlan: AttentionPlan, Hashable {
  /// What was planned.
  public let problem: AttentionProblem
  /// The same problem with its page table in compressed rows, the form that execution reads.
  let compressed: AttentionProblem
  /// The work list.
  public let schedule: AttentionSchedule

  /// `cpu`.
  public var backendName: String { "cpu" }
  /// Bytes of the partial states, f32.
  public var workspaceByteCount: Int { schedule.workspaceFloatCount * 4 }
  /// One line.
  public var description: String { "cpu plan(\(schedule)) of \(problem)" }
}

/// Attention on the CPU: planning and execution of work tiles.
public enum CPUAttention {
  /// How problems are cut. The values depend on nothing but the problem, so neither do results.
  public static let tiling = TilingPolicy()

  /// Plans a validated problem.
  package static func plan(
    _ problem: AttentionProblem, operation: String
  ) throws(ArgumentError) -> CPUAttentionPlan {
    var compressed = problem
    if case .paged(let table) = problem.geometry {
      compressed.geometry = .paged(table.compressed)
    }
    let schedule = try AttentionSchedule(compressed, policy: tiling, operation: operation)
    return CPUAttentionPlan(problem: problem, compressed: compressed, schedule: schedule)
  }
}

extension CPUEngine {
  /// Runs a plan over validated host tensors.
  ///
  /// - Parameter workspace: at least `plan.workspaceByteCount` bytes aligned to 4, or nil when the
  ///   plan needs none.
  package func run(
    _ plan: CPUAttentionPlan, _ arguments: AttentionArguments,
    workspace: UnsafeMutableRawPointer?
  ) {
    let context = AttentionContext(
      plan.compressed, arguments, kernels: kernels, schedule: plan.schedule,
      workspace: workspace?.assumingMemoryBound(to: Float.self))
    let tiles = plan.schedule.tiles
    let merges = plan.schedule.merges
    let isParallel = isWorthThreads(plan)
    let scratches = WorkerScratches(
      pool: scratchPool, shape: context.scratchShape, isParallel ? threads.threadCount : 1)
    threads.forEach(tiles.count, parallel: isParallel) { iteration, worker in
      context.process(tiles[iteration], scratches[worker])
    }
    if !merges.isEmpty {
      threads.forEach(merges.count, parallel: isParallel) { iteration, worker in
        context.merge(merges[iteration], scratches[worker])
      }
    }
    scratches.giveBack()
  }

  /// Waking a thread costs microseconds; a loop shorter than that runs alone.
  private func isWorthThreads(_ plan: CPUAttentionPlan) -> Bool {
    let shape = plan.problem.shape
    var work = 0.0
    for tile in plan.schedule.tiles {
      work += Double(tile.rows.count + 2) * Double(tile.keys.count + 8)
      if work * Double(shape.headDimQK + shape.headDimVO) > 200_000 { return true }
    }
    return false
  }
}

/// One scratch per worker of a loop, taken on first use.
///
/// `@unchecked Sendable`: slot `worker` is touched by that worker alone; `ThreadPool.forEach` orders
/// the loop before `giveBack`.
final class WorkerScratches: @unchecked Sendable {
  private let pool: ScratchPool
  private let shape: ScratchShape
  private var slots: [Scratch?]

  init(pool: ScratchPool, shape: ScratchShape, _ count: Int) {
    self.pool = pool
    self.shape = shape
    slots = [Scratch?](repeating: nil, count: count)
    for worker in 0..<count { slots[worker] = pool.take(shape) }
  }

  subscript(worker: Int) -> Scratch { slots[worker] ?? Scratch(shape) }

  func giveBack() {
    for case let scratch? in slots { pool.give(scratch) }
    slots.removeAll()
  }
}

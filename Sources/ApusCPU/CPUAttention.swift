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
  ///
  /// A tile's rows pass over each packed panel of K and V: the more, the less packing weighs. Their
  /// queries and sums stay in the L2 cache.
  public static func tiling(_ shape: AttentionShape) -> TilingPolicy {
    TilingPolicy(tileRows: max(shape.headDimQK, shape.headDimVO) > 256 ? 144 : 192)
  }

  /// Plans a validated problem.
  package static func plan(
    _ problem: AttentionProblem, operation: String
  ) throws(ArgumentError) -> CPUAttentionPlan {
    var compressed = problem
    if case .paged(let table) = problem.geometry {
      compressed.geometry = .paged(table.compressed)
    }
    let schedule = try AttentionSchedule(
      compressed, policy: tiling(problem.shape), operation: operation)
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
    let workers = isParallel ? threads.threadCount : 1
    let units = context.units(of: tiles, atLeast: workers == 1 ? 1 : 4 * workers)
    // Units that follow each other in memory go to one thread, which requests the next one early.
    let run = max(min(units.count / (16 * workers), 8), 1)
    threads.forEach((units.count + run - 1) / run, parallel: isParallel) { iteration, worker in
      let last = min((iteration + 1) * run, units.count)
      for unit in iteration * run..<last {
        context.process(
          tiles[units[unit]], next: unit + 1 < last ? tiles[units[unit + 1]] : tiles.prefix(0),
          scratches[worker])
      }
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

extension AttentionContext {
  /// Tiles to be processed together: neighbours that differ in their KV head alone and have few
  /// rows. How many are joined changes the order of memory accesses and no result.
  func units(of tiles: [WorkTile], atLeast least: Int) -> [Range<Int>] {
    let share = max(tiles.count / least, 1)
    var units: [Range<Int>] = []
    units.reserveCapacity(tiles.count / min(share, blocking.streamHeads) + 1)
    var start = 0
    for index in tiles.indices.dropFirst() {
      let (first, tile) = (tiles[start], tiles[index])
      let fits =
        index - start < min(share, blocking.joinedHeads(rows: first.rows.count))
        && tile.request == first.request
        && tile.keyStart == first.keyStart && tile.keyEnd == first.keyEnd
        && tile.rowStart == first.rowStart && tile.rowEnd == first.rowEnd
        && Int(tile.kvHead) == Int(first.kvHead) + index - start
        && !usesPanels(rows: first.rows.count) && problem.modification.rope == nil
      if !fits {
        units.append(start..<index)
        start = index
      }
    }
    if start < tiles.count { units.append(start..<tiles.count) }
    return units
  }
}

/// One scratch per worker of a loop, taken on first use: a loop that runs alone, because another one
/// has the threads, takes one.
///
/// `@unchecked Sendable`: slot `worker` is touched by that worker alone; `ThreadPool.forEach` orders
/// the loop before `giveBack`.
final class WorkerScratches: @unchecked Sendable {
  private let pool: ScratchPool
  private let shape: ScratchShape
  private let slots: UnsafeMutableBufferPointer<Scratch?>

  init(pool: ScratchPool, shape: ScratchShape, _ count: Int) {
    self.pool = pool
    self.shape = shape
    slots = .allocate(capacity: count)
    slots.initialize(repeating: nil)
  }

  deinit {
    slots.deinitialize()
    slots.deallocate()
  }

  subscript(worker: Int) -> Scratch {
    if let scratch = slots[worker] { return scratch }
    let scratch = pool.take(shape)
    slots[worker] = scratch
    return scratch
  }

  func giveBack() {
    for case let scratch? in slots { pool.give(scratch) }
    slots.update(repeating: nil)
  }
}

import ApusDSL
import ApusIR
import ApusSimulator
import Testing

@Suite struct ClusterTests {
  /// Runs a cluster of two blocks of 32 threads that send 32 words to each other by `send`, and
  /// gives what each block received: its peer's rank · 100 + lane.
  private func exchange(
    _ send:
      @escaping @Sendable (
        _ block: Block, _ value: Value<U32>, _ remote: SharedPointer<U32>, _ signal: MBarrier
      ) -> Void
  ) throws -> (words: [UInt32], report: SimulationReport) {
    let kernel = try Sketch(
      launch: LaunchBounds(threads: 32, clusterSize: 2), target: .sm90a,
      emit: { block in
        let y = block.pointer("y", to: U32.self)
        let inbox = block.shared("inbox", U32.self, count: 32)
        let ready = block.mbarriers("ready", arrivals: 1)
        block.initialise([ready])
        block.when(block.threadIndex == 0) { block.arrive(ready[0], expecting: 128) }
        block.syncCluster()
        let peer = block.clusterRank ^ 1
        let lane = block.laneIndex
        send(
          block, block.clusterRank * 100 + lane, inbox[lane].mapped(toRank: peer),
          ready[0].mapped(toRank: peer))
        block.wait(ready[0], parity: block.constant(0, as: U32.self), scope: .cluster)
        block.store(block.load(inbox[lane]), to: y[(block.clusterRank << 5) + lane])
        block.syncCluster()
      }
    ).build()
    var memory = GlobalMemory()
    let ys = memory.bindOutput("y", byteCount: 256)
    let report = Simulator(kernel, options: SimulationOptions(instructionLimit: 1 << 16)).run(
      grid: GridSize(2), arguments: [.pointer(ys)], memory: &memory)
    return (memory.elements(at: ys, as: UInt32.self), report)
  }

  private let expected = [1, 0].flatMap { peer in (0..<32).map { UInt32(peer * 100 + $0) } }

  @Test func `asynchronous stores reach the peer and its barrier`() throws {
    let (words, report) = try exchange { block, value, remote, signal in
      block.storeAsync([value], to: remote, signalling: signal)
    }
    #expect(report.errors == [])
    #expect(words == expected)
  }

  @Test func `a bulk copy reaches the peer and its barrier`() throws {
    let (words, report) = try exchange { block, value, remote, signal in
      let outbox = block.shared("outbox", U32.self, count: 32)
      block.store(value, to: outbox[block.laneIndex])
      block.fence(.proxyAsync(.shared))
      block.syncWarp()
      block.when(block.laneIndex == 0) {
        block.copyBulk(from: outbox[0], toCluster: remote, bytes: 128, signalling: signal)
      }
    }
    #expect(report.errors == [])
    #expect(words == expected)
  }

  @Test func `plain stores reach the peer before a barrier of the cluster`() throws {
    let kernel = try Sketch(
      launch: LaunchBounds(threads: 32, clusterSize: 2), target: .sm90a,
      emit: { block in
        let y = block.pointer("y", to: U32.self)
        let inbox = block.shared("inbox", U32.self, count: 33)
        let lane = block.laneIndex
        let remote = inbox.pointer.mapped(toRank: block.clusterRank ^ 1)
        block.when(lane == 0) {
          block.store(block.constant(0, as: U32.self), to: inbox[32])
        }
        block.syncCluster()
        block.store(block.clusterRank * 100 + lane, to: remote[lane])
        block.reduce(.add, into: remote[32], lane, scope: .cluster)
        block.syncCluster()
        block.store(block.load(inbox[lane]), to: y[(block.clusterRank << 5) + lane])
        block.when(lane == 0) { block.store(block.load(inbox[32]), to: y[64]) }
      }
    ).build()
    var memory = GlobalMemory()
    let ys = memory.bindOutput("y", byteCount: 260)
    let report = Simulator(kernel).run(
      grid: GridSize(2), arguments: [.pointer(ys)], memory: &memory)
    #expect(report.errors == [])
    #expect(memory.elements(at: ys, as: UInt32.self) == expected + [(0..<32).reduce(0, +)])
  }
}

import ApusIR

/// The state of one launch and the scheduler of its warps.
final class Machine {
  /// What executing an instruction did.
  enum Outcome { case next, wait, jumped }

  /// What nearly every instruction touches: behind a pointer, free of exclusivity checks.
  private struct Counters {
    var instructionCount = 0
    var progress = 0
    var isAborted = false
  }

  let kernel: KernelIR
  let program: Program
  let code: Code
  let options: SimulationOptions
  let overlapsPredecessor: Bool
  let grid: GridSize
  let arguments: [KernelArgument]
  let memory: DeviceMemory
  var errors: [SimulationError] = []
  var random: Generator
  let scratch = MatrixScratch()
  private let counters: UnsafeMutablePointer<Counters>
  private var lastReport = -1
  /// What atomics and ordered stores released, by global address or `key`.
  var released: [UInt64: Publication] = [:]
  /// Copies that were issued and may arrive at any time.
  var inFlight: [InFlightCopy] = []
  private var clusters: [Cluster] = []
  private var nextCluster = 0
  private var live: [Warp] = []

  init(
    kernel: KernelIR, program: Program, options: SimulationOptions, grid: GridSize,
    arguments: [KernelArgument], memory: DeviceMemory
  ) {
    self.kernel = kernel
    self.program = program
    code = Code(program)
    counters = .allocate(capacity: 1)
    counters.initialize(to: Counters())
    self.options = options
    overlapsPredecessor = options.overlapsPredecessor
    self.grid = grid
    self.arguments = arguments
    self.memory = memory
    random = Generator(state: options.seed)
  }

  deinit {
    counters.deallocate()
    scratch.deallocate()
  }

  var instructionCount: Int {
    @inline(__always) get { counters.pointee.instructionCount }
    @inline(__always) set { counters.pointee.instructionCount = newValue }
  }
  /// Counts events that may end a wait.
  var progress: Int {
    @inline(__always) get { counters.pointee.progress }
    @inline(__always) set { counters.pointee.progress = newValue }
  }
  var isAborted: Bool {
    @inline(__always) get { counters.pointee.isAborted }
    @inline(__always) set { counters.pointee.isAborted = newValue }
  }

  var warpCount: Int { kernel.launch.warpCount }
  var clusterSize: Int { kernel.launch.clusterSize }
  /// Warps of a cluster and one for asynchronous copies.
  var agentCount: Int { warpCount * clusterSize + 1 }
  var asyncAgent: Int { agentCount - 1 }

  // MARK: - Scheduling

  func run() {
    guard validate() else { return }
    let clusterCount = grid.blockCount / clusterSize
    let resident = max(1, options.residentBlocks / clusterSize)
    while !isAborted {
      while clusters.count < resident, nextCluster < clusterCount { startCluster() }
      if live.isEmpty {
        while !inFlight.isEmpty { completeRandomCopy() }
        return
      }
      step()
    }
  }

  /// Runs one warp for a random number of instructions, from a random position round robin.
  private func step() {
    let first = Int(random.next() % UInt64(live.count))
    // Copies are late: some arrive while warps run, the others when nothing else can happen.
    if !inFlight.isEmpty, random.next() % 8 == 0 { completeRandomCopy() }
    for distance in 0..<live.count {
      let warp = live[(first + distance) % live.count]
      if warp.waitingSince == progress { continue }
      runSlice(warp, length: 1 + Int(random.next() % 64))
      if warp.isFinished { retire(warp) }
      return
    }
    if !inFlight.isEmpty { return completeRandomCopy() }
    report(
      .deadlock(
        live.map { warp in
          let instruction = program.instructions[warp.pc]
          return SimulationError.WaitingWarp(
            block: warp.block.index, warp: warp.index, operation: instruction.op.mnemonic,
            location: instruction.location)
        }), live[0], lanes: live[0].mask)
    isAborted = true
  }

  private func runSlice(_ warp: Warp, length: Int) {
    warp.waitingSince = -1
    for _ in 0..<length {
      if warp.mask == 0 { warp.pc = warp.stack.last?.skip ?? program.instructions.count - 1 }
      instructionCount += 1
      if instructionCount > options.instructionLimit {
        report(.instructionLimit(options.instructionLimit), warp, lanes: warp.mask)
        isAborted = true
      }
      if isAborted { return }
      switch execute(code.instructions[warp.pc], warp) {
      case .next: warp.pc += 1
      case .jumped: break
      case .wait:
        warp.waitingSince = progress
        return
      }
      if warp.isFinished { return }
    }
  }

  private func retire(_ warp: Warp) {
    live.removeAll { $0 === warp }
    progress += 1
    completeClusterBarrier(warp.block.cluster)
    let cluster = warp.block.cluster
    if cluster.blocks.allSatisfy({ $0.warps.allSatisfy(\.isFinished) }) {
      clusters.removeAll { $0 === cluster }
    }
  }

  private func startCluster() {
    let cluster = Cluster(index: nextCluster, agentCount: agentCount)
    let perThread = kernel.launch.registersAtEntry
    for rank in 0..<clusterSize {
      let block = Block(
        cluster: cluster, index: nextCluster * clusterSize + rank, rank: rank, kernel: kernel,
        agentCount: agentCount)
      for index in 0..<warpCount {
        let warp = Warp(
          block: block, index: index, agent: rank * warpCount + index, agentCount: agentCount,
          program: program, registers: perThread)
        block.warps.append(warp)
        live.append(warp)
      }
      cluster.blocks.append(block)
    }
    clusters.append(cluster)
    nextCluster += 1
  }

  // MARK: - Validation and reports

  private func validate() -> Bool {
    func reject(_ text: String) -> Bool {
      errors.append(
        SimulationError(
          kind: .invalidLaunch(text), operation: "launch \(kernel.symbol)", block: 0, warp: 0,
          lanes: 0, location: SourceLocation(fileID: kernel.symbol, line: 0), phase: ""))
      return false
    }
    let launch = kernel.launch
    guard launch.threads > 0, launch.threads <= 1024, launch.threads % warpSize == 0 else {
      return reject("threads must be a multiple of 32 up to 1024; found \(launch.threads)")
    }
    guard launch.clusterSize > 0, grid.x > 0, grid.y > 0, grid.z > 0,
      grid.x % launch.clusterSize == 0
    else {
      return reject(
        "grid must be positive and its x a multiple of the cluster size \(launch.clusterSize); "
          + "found \(grid.x) × \(grid.y) × \(grid.z)")
    }
    guard arguments.count == kernel.parameters.count else {
      return reject(
        "arguments must match the \(kernel.parameters.count) parameters; found \(arguments.count)")
    }
    for (parameter, argument) in zip(kernel.parameters, arguments) {
      let fits =
        switch (parameter.kind, argument) {
        case (.scalar(let type), .scalar(let constant)): constant.type == type
        case (.pointer(let alignment), .pointer(let address)):
          address % UInt64(max(1, alignment)) == 0
        case (.tensorMap, .tensorMap): true
        case (.bytes(let count, _), .bytes(let bytes)): bytes.count == count
        default: false
        }
      guard fits else {
        return reject("argument \(parameter.name) must be \(parameter.kind); found \(argument)")
      }
    }
    return true
  }

  /// Records an error at the warp's current instruction.
  ///
  /// The first violation of an instruction is the one to read: later ones are not recorded.
  func report(_ kind: SimulationError.Kind, _ warp: Warp, lanes: UInt32) {
    if lastReport == instructionCount { return }
    lastReport = instructionCount
    let instruction = program.instructions[warp.pc]
    errors.append(
      SimulationError(
        kind: kind, operation: instruction.op.mnemonic, block: warp.block.index, warp: warp.index,
        lanes: lanes, location: instruction.location, phase: instruction.phase))
    if errors.count >= options.errorLimit { isAborted = true }
  }

  func location(_ instruction: Int) -> SourceLocation {
    program.instructions[min(instruction, program.instructions.count - 1)].location
  }

  // MARK: - Dispatch

  @inline(__always)
  private func execute(_ i: Code.Instruction, _ warp: Warp) -> Outcome {
    if i.isLockable { checkLocks(i, warp) }
    for slot in i.inputs {
      let missing = warp.mask & ~warp.defined[slot.value]
      if missing != 0 { reportUndefined(slot, i, warp, lanes: missing) }
    }
    let outcome: Outcome
    switch i.action {
    case .movement(let op): outcome = execute(op, i, warp)
    case .arithmetic(let op): outcome = execute(op, i, warp)
    case .bits(let op): outcome = execute(op, i, warp)
    case .conversion(let op): outcome = execute(op, i, warp)
    case .special(let register): outcome = execute(register, i, warp)
    case .memory(let op): outcome = execute(op, i, warp)
    case .warp(let op): outcome = execute(op, i, warp)
    case .synchronisation(let op): outcome = execute(op, i, warp)
    case .copy(let op): outcome = execute(op, i, warp)
    case .tensorCore(let op): outcome = execute(op, i, warp)
    default: return executeControl(i, warp)
    }
    if case .next = outcome {
      for slot in i.outputs {
        warp.defined[slot.value] |= warp.mask
      }
      if warp.undefinedLanes != 0 {
        for slot in i.outputs { warp.defined[slot.value] &= ~warp.undefinedLanes }
        warp.undefinedLanes = 0
      }
    }
    return outcome
  }

  private func reportUndefined(
    _ slot: Code.Slot, _ i: Code.Instruction, _ warp: Warp, lanes: UInt32
  ) {
    if case .tensorCore(.wgmma) = i.action { return }  // `issue` knows which it reads
    let hint = kernel.values[slot.value].nameHint
    report(
      .undefinedRegister("%" + (hint.isEmpty ? String(slot.value) : hint)), warp, lanes: lanes)
    warp.defined[slot.value] |= lanes
  }

  /// Ends the run: the op is not executed rather than guessed.
  func unsupported(_ warp: Warp) -> Outcome {
    report(.unsupported(program.instructions[warp.pc].op), warp, lanes: warp.mask)
    isAborted = true
    return .next
  }

  /// Reports unless exactly the active lanes are `members`.
  func checkCollective(_ members: UInt32, _ warp: Warp) -> Bool {
    if warp.mask == members { return true }
    report(.divergent(members: members), warp, lanes: warp.mask)
    return false
  }

  /// The content of a uniform operand.
  func uniform(_ slot: Code.Slot, _ warp: Warp) -> UInt64 {
    let first = warp.get(slot, warp.mask.trailingZeroBitCount & 31)
    var differing: UInt32 = 0
    warp.forEachLane { lane in
      if warp.get(slot, lane) != first { differing |= 1 << UInt32(lane) }
    }
    if differing != 0 { report(.notUniform, warp, lanes: differing) }
    return first
  }

  /// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): the schedule depends on the seed alone.
  struct Generator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var bits = state
      bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
      bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
      return bits ^ (bits >> 31)
    }
  }
}

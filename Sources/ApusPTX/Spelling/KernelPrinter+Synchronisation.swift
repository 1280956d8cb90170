import ApusIR

extension KernelPrinter {
  /// Barriers, fences, clusters, dependent launches. The block's own shared memory is `.shared`,
  /// the older word for `.shared::cta`, except where only the new one exists.
  mutating func print(_ op: Op.Synchronisation) throws(PTXError) {
    switch op {
    case .barrierSync(let id): try namedBarrier("bar.sync", id)
    case .barrierArrive(let id): try namedBarrier("bar.arrive", id)
    case .mbarrierInit(let offset):
      line("mbarrier.init.shared.b64 \(try address(0, offset)), \(try operand(1))")
    case .mbarrierInvalidate(let offset):
      line("mbarrier.inval.shared.b64 \(try address(0, offset))")
    case .mbarrierArrive(let arrive):
      let count = arrive.count == 1 ? "" : ", \(arrive.count)"
      line(
        "mbarrier.arrive\(arrive.suffix).b64 _, \(try address(0, arrive.offset))\(count)")
    case .mbarrierArriveExpect(let arrive):
      line(
        "mbarrier.arrive.expect_tx\(arrive.suffix).b64 _, \(try address(0, arrive.offset)), "
          + (try operand(1)))
    case .mbarrierExpect(let arrive):
      line(
        "mbarrier.expect_tx\(arrive.expectSuffix).b64 "
          + "\(try address(0, arrive.offset)), \(try operand(1))")
    case .mbarrierWait(let wait):
      let retry = freshLabel("wait")
      let isComplete = fresh(.pred)
      let address = try address(0, wait.offset)
      let parity = try operand(1)
      let verb = target < .sm90a ? "test_wait" : "try_wait"
      label(retry)
      line("mbarrier.\(verb).parity\(wait.suffix).shared.b64 \(isComplete), \(address), \(parity)")
      line(when: "!\(isComplete)", "bra \(retry)")
    case .mbarrierTest(let wait):
      line(
        "mbarrier.test_wait.parity\(wait.suffix).shared.b64 \(try result(0)), "
          + "\(try address(0, wait.offset)), \(try operand(1))")
    case .fence(.acquireRelease(let scope)): line("fence.acq_rel.\(scope)")
    case .fence(.sequential(let scope)): line("fence.sc.\(scope)")
    case .fence(.proxyAsync(let space)):
      switch space {
      case .shared: line("fence.proxy.async.shared::cta")
      case .global: line("fence.proxy.async.global")
      case .all: line("fence.proxy.async")
      }
    case .fence(.mbarrierInit): line("fence.mbarrier_init.release.cluster")
    case .clusterArrive(let ordering): line("barrier.cluster.arrive.\(ordering).aligned")
    case .clusterWait: line("barrier.cluster.wait.acquire.aligned")
    case .gridDependencyWait: line("griddepcontrol.wait")
    case .gridDependencyLaunch: line("griddepcontrol.launch_dependents")
    }
  }

  private mutating func namedBarrier(
    _ opcode: String, _ id: NamedBarrierID
  ) throws(PTXError) {
    guard kernel.barriers.indices.contains(id.index) else {
      throw malformed("must name a barrier of the kernel", found: "barrier \(id.index)")
    }
    let barrier = kernel.barriers[id.index]
    var number = "\(barrier.firstID)"
    if !node.operands.isEmpty {
      if let constant = try rawOperand(0).constant {
        number = "\(constant.bits &+ UInt64(max(0, barrier.firstID)))"
      } else if barrier.firstID == 0 {
        number = try register(0)
      } else {
        number = fresh(.u32)
        line("add.u32 \(number), \(try register(0)), \(barrier.firstID)")
      }
    }
    line("\(opcode) \(number), \(barrier.threads)")
  }
}

extension Op.MBarrierArrive {
  /// Order, scope and space; a release at block scope is the default and stays unsaid, which older
  /// versions need.
  fileprivate var suffix: String {
    let order = ordering == .release && scope == .block ? "" : ".\(ordering).\(scope)"
    return "\(order).\(space)"
  }
}

extension Op.MBarrierArrive {
  /// An announcement orders nothing; relaxed at block scope is its default.
  fileprivate var expectSuffix: String {
    (scope == .block ? "" : ".relaxed.\(scope)") + ".\(space)"
  }
}

extension Op.MBarrierWait {
  /// An acquire at block scope is the default and stays unsaid.
  fileprivate var suffix: String { scope == .block ? "" : ".acquire.\(scope)" }
}

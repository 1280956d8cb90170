import ApusIR

extension KernelPrinter {
  /// Exchange between lanes.
  mutating func print(_ op: Op.Warp) throws(PTXError) {
    switch op {
    case .shfl(let mode, let width, let members):
      // Segment mask in bits 8…12, clamp in bits 0…4 (PTX § shfl.sync): `up` clamps at the
      // segment's first lane, the others at its last.
      let segment = (warpSize - width) << 8 | (mode == .up ? 0 : warpSize - 1)
      var destination = try result(0)
      if node.results.count > 1 { destination += "|" + (try result(1)) }
      line(
        "shfl.sync.\(mode).b32 \(destination), \(try register(0)), \(try operand(1)), \(segment), "
          + laneMask(members))
    case .vote(let mode, let members):
      let type = mode == .ballot ? "b32" : "pred"
      line(
        "vote.sync.\(mode).\(type) \(try result(0)), \(try register(0)), \(laneMask(members))")
    case .redux(let op, let members):
      let type = op == .and || op == .or || op == .xor ? "b32" : "\(try type(0))"
      line("redux.sync.\(op).\(type) \(try result(0)), \(try register(0)), \(laneMask(members))")
    case .elect(let members): line("elect.sync _|\(try result(0)), \(laneMask(members))")
    case .matchAny(let members):
      line(
        "match.any.sync.\(try type(0).bits) \(try result(0)), \(try register(0)), "
          + laneMask(members))
    case .matchAll(let members):
      line(
        "match.all.sync.\(try type(0).bits) \(try result(0))|\(try result(1)), \(try register(0)), "
          + laneMask(members))
    case .syncWarp(let members): line("bar.warp.sync \(laneMask(members))")
    case .movmatrix:
      line("movmatrix.sync.aligned.m8n8.trans.b16 \(try result(0)), \(try register(0))")
    }
  }
}

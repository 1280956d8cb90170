extension Op {
  /// Group 11: structured control flow and markers. Regions nest; there are no labels.
  public enum Control: Sendable, Hashable {
    /// `(p: pred)`, regions [then] or [then, else]. Lanes with p execute the first region, the
    /// others the second, if any; they reconverge after it. PTX § bra, guard predicates.
    case `if`(BranchForm)
    /// `()`, regions [body]. Executes the body again and again until every lane has left it by
    /// `breakIf` or `exit`; lanes reconverge after the loop. PTX § bra.
    case loop(LoopForm)
    /// `(p: pred)`. Lanes with p leave the innermost loop. May stand in an `if` of the body.
    case breakIf
    /// `(p: pred)`. Lanes with p skip to the next round of the innermost loop.
    case continueIf
    /// `(warpIndex: u32 uniform)`, one region per role. A warp runs the region of the role whose
    /// range holds its index within the block, and none if no range does; all meet after it, in
    /// no particular order (this is no barrier). Role ranges are disjoint. On entry to its
    /// region a role with `registers` changes its budget as `setMaxRegisters` does: up or down from
    /// `LaunchBounds.registersAtEntry`. Stands at the top level of the body, at most once.
    case roles([Role])
    /// `()`. The thread ends. PTX § exit.
    case exit
    /// `()`. Aborts the launch with an error. PTX § trap.
    case trap
    /// `(nanoseconds: u32)`. Pauses for 0 to twice that time; at most 10^6. PTX § nanosleep.
    case sleep
    /// `()`. Sets each thread's register budget to `count`, a multiple of 8 in 24…256. Decreasing
    /// gives registers back; increasing blocks until they are free. Collective over the warpgroup.
    /// PTX § setmaxnreg.
    case setMaxRegisters(RegisterChange, count: Int)
    /// `()`. A line of text that printers keep; no effect.
    case comment(String)
    /// `()`. A heading: the phase of the kernel that begins here; no effect. Simulator reports and
    /// printed code name it.
    case phase(String)
  }

  /// How a branch is printed, and what its author promises.
  public enum BranchForm: UInt8, Sendable, Hashable, CaseIterable {
    /// A branch; lanes may disagree.
    case divergent
    /// A branch in which all active lanes of each warp agree; the simulator checks it.
    case uniform
    /// No branch: every instruction of the only region is guarded by the predicate. The region
    /// holds no nested region, no collective op and no blocking op.
    case predicated
  }

  /// How a loop is printed.
  public enum LoopForm: UInt8, Sendable, Hashable, CaseIterable {
    /// The compiler may unroll.
    case automatic
    /// The compiler must not unroll (`nounroll`).
    case rolled
  }

  /// Direction of a change of the register budget.
  public enum RegisterChange: UInt8, Sendable, Hashable, CaseIterable {
    /// Fewer than before.
    case decrease
    /// More than before.
    case increase
  }
}

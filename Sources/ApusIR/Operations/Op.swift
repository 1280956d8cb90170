/// What a node does. The documentation of the cases is the normative meaning of the language: the
/// PTX printer emits an instruction that does it, the simulator does it, and where one of them
/// differs, it or the text is wrong.
///
/// The op set is one enum in eleven numbered groups, each group an enum of its own file, so every
/// reader has one exhaustive switch per group and no switch of a hundred cases.
///
/// # Notation
/// `(a: T, b: T) → T` lists operands, then results; `T` stands for any type the case admits and
/// is the same everywhere in the line. `[n]` is a run of n operands or results. *PTX §* names the
/// section of the PTX ISA manual that describes the instruction.
///
/// # Lanes
/// An op executes in the active lanes of a warp: those that reached its region, did not leave the
/// loop and did not exit. Each lane reads its own operands and writes its own results.
/// *Collective* ops involve several lanes at once: all lanes named by `members` (or all of the
/// warp, or of the warpgroup) must be active and execute the same node; anything else is undefined
/// and reported by the simulator. `uniform` operands have the same content in all those lanes.
///
/// # Numbers
/// Integers are two's complement and wrap. Floating-point results are rounded once to nearest
/// even and keep subnormals, unless the case says otherwise; `-0` is kept. A NaN result is a quiet
/// NaN of unspecified payload. Packed types compute both elements independently as their scalar
/// type.
///
/// # Memory
/// Shared addresses are `u32` bytes in the block's shared window (`sharedCluster`: in the
/// cluster's, whose top bits hold the block's rank). Global addresses are `u64` bytes. Immediate
/// offsets are added in the address's width and wrap. Every access is aligned to its full size.
/// Reading a byte nothing wrote is undefined and reported by the simulator. Memory order is that
/// of the PTX memory model; plain accesses are *weak*: they order nothing between threads.
///
/// # Asynchronous ops
/// An op marked *asynchronous* takes effect at an unspecified time between its issue and the end
/// of the wait that covers it. Until then its sources must not be written and its destinations
/// neither read nor written. Those of the *async proxy* additionally need a proxy fence between
/// ordinary accesses and theirs.
public enum Op: Sendable, Hashable {
  /// 1. Variables, copies, bit casts.
  case movement(Movement)
  /// 2. Integer and floating-point arithmetic, scalar and packed.
  case arithmetic(Arithmetic)
  /// 3. Bit patterns, comparisons and predicates.
  case bits(Bits)
  /// 4. Conversions between number formats.
  case conversion(Conversion)
  /// 5. Where am I: special registers.
  case special(SpecialRegister)
  /// 6. Parameters, loads, stores, atomics.
  case memory(Memory)
  /// 7. Exchange between the lanes of a warp.
  case warp(Warp)
  /// 8. Barriers, fences, clusters, dependent launches.
  case synchronisation(Synchronisation)
  /// 9. Asynchronous and bulk copies.
  case copy(Copy)
  /// 10. Matrix fragments and products.
  case tensorCore(TensorCore)
  /// 11. Structured control flow and markers.
  case control(Control)
}

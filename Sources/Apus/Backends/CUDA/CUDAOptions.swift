public import Logging

/// How a CUDA back end turns kernels into machine code, and whom it tells.
///
/// Kernels are PTX that the driver compiles when a plan first needs them. Three caches stand before
/// the compiler: that of the back end object, a bundle of compiled kernels (`bundles`), and the
/// driver's own on disk, which the driver's environment steers: `CUDA_CACHE_PATH` (its folder,
/// usually `~/.nv/ComputeCache`), `CUDA_CACHE_MAXSIZE` (bytes) and `CUDA_CACHE_DISABLE=1`.
public struct CUDAOptions: Sendable {
  /// Hears of spills, serialised instructions, failed self-tests (warnings), handles that could not
  /// be given back (errors) and compilations (debug).
  public var logger: Logger
  /// Kernels that compile at the same time during a warm-up.
  public var compilerThreadCount: Int
  /// Whether a warm-up runs each kernel once on a small problem whose result is known, and replaces
  /// or refuses one that the driver compiled wrongly.
  public var runsSelfTests: Bool
  /// Contents of files that `apus kernels pack` wrote: compiled kernels, preferred to compilation where
  /// the PTX that they were made from is this version's; the first pack that has a kernel wins.
  public var packs: [[UInt8]]
  /// Whether appends check what `AppendLists` hold before they use it as an index: a mode for finding
  /// mistakes. Positions of rotations are not checked. A call with such lists then waits for its work
  /// and throws `ApusError.index`, which names the first bad index; nothing beside the operands is read
  /// or written. During a capture it cannot wait: `CUDABackend.checkIndices` tells after replays. The
  /// default is what the environment says: true with `APUS_CHECK_INDICES=1`.
  public var checksIndices: Bool

  /// Options; the defaults suit servers.
  public init(
    logger: Logger = Logger(label: "apus.cuda"), compilerThreadCount: Int = 8,
    runsSelfTests: Bool = true, packs: [[UInt8]] = [], checksIndices: Bool? = nil
  ) {
    self.logger = logger
    self.compilerThreadCount = max(compilerThreadCount, 1)
    self.runsSelfTests = runsSelfTests
    self.packs = packs
    self.checksIndices = checksIndices ?? (environmentVariable("APUS_CHECK_INDICES") == "1")
  }
}

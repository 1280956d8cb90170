/// Shared memory fits one block of the target, and `minBlocksPerMultiprocessor` blocks fit one
/// multiprocessor, each with the 1 KiB the system takes.
enum SharedMemoryRule: VerifierRule {
  static let rule = Diagnostic.Rule.sharedMemory

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    let bytes = kernel.sharedByteCount
    let target = report.target
    if bytes > target.maxSharedBytesPerBlock {
      report.add(
        rule, "shared memory of a block on \(target) must be ≤ \(target.maxSharedBytesPerBlock)",
        found: "\(bytes) bytes", remedy: "Use fewer stages or smaller tiles.")
      return
    }
    let blocks = kernel.launch.minBlocksPerMultiprocessor
    if bytes > 0, blocks * (bytes + 1024) > target.sharedBytesPerMultiprocessor {
      report.add(
        rule,
        "\(blocks) blocks must fit \(target.sharedBytesPerMultiprocessor) bytes of a \(target)"
          + " multiprocessor", found: "\(blocks) × (\(bytes) + 1024) bytes",
        remedy: "Lower minBlocksPerMultiprocessor or the shared memory.")
    }
  }
}

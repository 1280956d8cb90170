import ApusDSL
import ApusIR
import ApusKernels
import ApusPTX
import Foundation

/// A row on one target, in the forms it has before an assembler sees it, with what they cost.
struct PrintedKernel: Sendable {
  /// The row.
  let kernel: any ShippedKernel
  /// The GPU it is printed for.
  let target: Target
  /// The verified IR, legalised for the target.
  let ir: KernelIR
  /// The PTX text without locations: what a driver receives.
  let ptx: String
  /// Processor seconds of construction, passes and verifier.
  let buildSeconds: Double
  /// Processor seconds of printing.
  let printSeconds: Double

  /// Builds and prints a row.
  ///
  /// - Throws: `ElaborationError` or `PTXError` for a row that should not be in the catalogue.
  init(_ kernel: any ShippedKernel, target: Target) throws {
    let start = Self.threadSeconds
    // Construction legalises for the target: nothing is left to do for the printer.
    ir = try kernel.build(for: target)
    let middle = Self.threadSeconds
    ptx = try PTXPrinter().print(ModuleIR(kernels: [ir]), target: target)
    let end = Self.threadSeconds
    self.kernel = kernel
    self.target = target
    buildSeconds = middle - start
    printSeconds = end - middle
  }

  /// Processor time of this thread: other work of the machine does not count.
  private static var threadSeconds: Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  /// `SYMBOL.sm_90a`: the stem of files about it.
  var name: String { "\(kernel.symbol).\(target)" }

  /// The first 16 digits of the SHA-256 of the PTX: enough to tell kernels apart by eye.
  var shortDigest: String { String(SHA256Digest(of: ptx).description.prefix(16)) }
}

extension Duration {
  /// Seconds as a number.
  var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}

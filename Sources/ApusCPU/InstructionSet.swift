internal import ApusCore
internal import CApusSIMD

/// An instruction set of the CPU back end's micro-kernels.
public enum InstructionSet: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  /// Plain C, any CPU.
  case portable
  /// AArch64 Advanced SIMD.
  case neon
  /// x86-64 AVX2 with FMA and F16C.
  case avx2
  /// x86-64 AVX-512 F, BW, VL and DQ.
  case avx512
  /// x86-64 AVX-512 as above with BF16 and VBMI.
  case avx512bf16

  /// `portable`, `neon`, `avx2`, `avx512` or `avx512bf16`, as `APUS_CPU` spells it.
  public var description: String { rawValue }

  var code: capus_isa {
    switch self {
    case .portable: CAPUS_ISA_PORTABLE
    case .neon: CAPUS_ISA_NEON
    case .avx2: CAPUS_ISA_AVX2
    case .avx512: CAPUS_ISA_AVX512
    case .avx512bf16: CAPUS_ISA_AVX512BF16
    }
  }

  /// Whether the binary holds it and this CPU can run it.
  public var isAvailable: Bool { capus_kernels_for(code) != nil }

  /// All that this CPU can run, least capable first.
  public static var available: [InstructionSet] { allCases.filter(\.isAvailable) }

  /// The most capable one of this CPU.
  public static var best: InstructionSet {
    let name = String(cString: capus_kernels_best().pointee.name)
    return InstructionSet(rawValue: name) ?? .portable
  }
}

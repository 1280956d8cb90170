public import ApusDSL
public import ApusIR

/// What a kernel is for; the first word of `apus kernels list`.
public enum KernelFamily: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  /// Reads memory and does nothing else: the bridge that bandwidth figures are compared with.
  case stream
  /// Merge of attention states.
  case merge
  /// Writes of new tokens into caches.
  case append
  /// Rotary position embedding.
  case rope
  /// Packing of booleans into bits.
  case packBits = "packbits"
  /// Attention of many query tokens.
  case prefill
  /// Attention of one or few query tokens.
  case decode
  /// Attention of any shape, type and option, in f32 on ordinary cores.
  case general

  /// The family's name.
  public var description: String { rawValue }
}

/// A kernel of this library: its stored properties are its whole configuration, so that equal values
/// are the same machine code and the value itself keys caches.
///
/// `symbol` derives from the configuration: arch, operation, types, shape, features
/// (`sm90_prefill_bf16_d128_causal_m128_n128_s2_c2`).
public protocol ShippedKernel: Kernel, Hashable {
  /// What it is for.
  var family: KernelFamily { get }
  /// GPUs that the configuration is assembled and tested for, the oldest first.
  var targets: [Target] { get }
}

extension ShippedKernel {
  /// From the kernel's oldest GPU up to sm_90a.
  public var targets: [Target] { Target.allCases.filter { $0 >= target } }
}

import ApusNumerics
import CApusSIMD

/// An instruction set as a test argument; its table is looked up when the test runs.
struct KernelTable: Sendable, CustomStringConvertible {
  let isa: UInt32

  static let all: [KernelTable] = [
    CAPUS_ISA_PORTABLE, CAPUS_ISA_NEON, CAPUS_ISA_AVX2, CAPUS_ISA_AVX512, CAPUS_ISA_AVX512BF16,
  ].map { KernelTable(isa: $0.rawValue) }

  var description: String { String(cString: capus_isa_name(capus_isa(isa))) }

  /// The kernels, or nil after printing why there are none.
  var kernels: capus_kernels? {
    guard let table = capus_kernels_for(capus_isa(isa)) else {
      print("SKIP \(description): not in this binary or not on this CPU")
      return nil
    }
    return table.pointee
  }
}

extension ElementType {
  /// This type's entry of a per-type row of the table.
  func entry<Function>(
    of list: (Function?, Function?, Function?, Function?, Function?)
  ) -> Function {
    let entries = [list.0, list.1, list.2, list.3, list.4]
    guard let entry = entries[Int(rawValue)] else {
      preconditionFailure("the table has no kernel for \(self)")
    }
    return entry
  }
}

/// Unit roundoff of f32.
let roundoff = 0x1p-24

/// The error factor gamma_n = n u / (1 - n u) of a sum of n products in any order (Higham,
/// "Accuracy and Stability of Numerical Algorithms", section 3.1), with the float64 oracle's share.
func gamma(_ count: Int) -> Double {
  let share = Double(count) * roundoff
  return share / (1 - share) + Double(count) * 0x1p-52
}

/// The largest unit in the last place at `value`, a normal f32 number.
func ulp(_ value: Double) -> Double {
  Double(sign: .plus, exponent: value.exponent - 23, significand: 1)
}

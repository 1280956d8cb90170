import ApusIR
import ApusPTX

/// A kernel `k` of 128 threads.
func makeKernel(_ body: (inout IRBuilder) -> Void) -> KernelIR {
  var builder = IRBuilder(symbol: "k", launch: LaunchBounds(threads: 128))
  body(&builder)
  return builder.finish()
}

/// The lines of a kernel's body, without indentation, declarations and the final `ret`.
func body(_ kernel: KernelIR, _ target: Target = .sm90a) throws -> [String] {
  let text = try PTXPrinter().print(ModuleIR(kernels: [kernel]), target: target)
  let lines = text.split(separator: "\n").map(String.init)
  guard let start = lines.firstIndex(of: "{") else { return [] }
  return lines[(start + 1)...].dropLast(2).map { String($0.drop { $0 == " " }) }
    .filter { !$0.hasPrefix(".reg") }
}

/// The instructions of one op on fresh variables of the given types.
func spell(
  _ op: Op, _ operands: [ValueType] = [], _ results: [ValueType] = [], target: Target = .sm90a
) throws -> [String] {
  let variant = Variant(op: op, operands: operands, results: results)
  return try body(Variant.kernel([(index: 1, variant: variant)]), target)
}

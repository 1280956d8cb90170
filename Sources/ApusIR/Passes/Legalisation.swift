/// Replaces ops that a target lacks by sequences with bit-identical results.
///
/// Kernels are written once; Ampere and Ada lack some packed bf16 arithmetic, Ampere the FP8
/// conversions. Printing a legalised kernel needs no knowledge of targets beyond spelling.
///
/// Why it is right:
/// - bf16 sums and products become one fused multiply-add each, which rounds once: a + b is
///   a · 1 + b, a − b is b · (−1) + a, a · b is a · b + (−0); the sign of zero results is that of
///   the original, since adding −0 changes nothing.
/// - An e5m2 code is the upper byte of the binary16 of the same value.
/// - An e4m3 code's exponent and mantissa, shifted to binary16's place, read as the value times
///   2^−8, subnormals included; the product with 256 is exact. Code 0x7F (NaN) would read as 480:
///   adding 1 to the magnitude sets the top bit for it alone, and from that a mask ORs in a NaN.
/// - To FP8: the magnitude, clamped to the largest finite one, is rounded to nearest even by adding
///   half a step less one, plus the last kept bit, to its pattern, whose upper bits are then the
///   code but for the exponent's bias. Below the least normal value steps are equal: adding the
///   power of two whose binary32 neighbours lie that step apart rounds, and leaves the code in the
///   low bits.
///
/// Ops without a replacement stay and are reported by the verifier's target rule.
public enum Legalisation {
  /// The kernel in ops that `target` has, as far as replacements exist.
  public static func run(_ kernel: KernelIR, target: Target) -> KernelIR {
    guard target < .sm90a, !kernel.isLegal(for: target) else { return kernel }
    var rewriter = Rewriter(kernel: kernel, target: target)
    let body = rewriter.rewrite(kernel.body)
    var result = rewriter.kernel
    result.body = body
    return result
  }

  fileprivate static func lacks(_ target: Target, _ node: Node, _ values: [ValueInfo]) -> Bool {
    node.requirements(values: values).target > target
  }

  struct Rewriter {
    var kernel: KernelIR
    let target: Target

    mutating func rewrite(_ region: Region) -> Region {
      var nodes: [Node] = []
      nodes.reserveCapacity(region.nodes.count)
      for var node in region.nodes {
        if Legalisation.lacks(target, node, kernel.values) {
          let type = node.operands.first.map { kernel.type(of: $0) }
          if replace(node, type: type, into: &nodes) { continue }
        }
        if node.hasRegions { node.regions = node.regions.map { rewrite($0) } }
        nodes.append(node)
      }
      return Region(nodes)
    }

    /// Appends the replacement, or returns false if there is none.
    private mutating func replace(
      _ node: Node, type: ValueType?, into nodes: inout [Node]
    ) -> Bool {
      switch node.op {
      case .arithmetic(let op):
        guard let type, let operands = fusedOperands(op, node.operands, type) else { return false }
        var fused = node
        fused.op = .arithmetic(.fma)
        fused.operands = operands
        nodes.append(fused)
        return true
      case .conversion(.widenFP8(let format)):
        widen(format, node, into: &nodes)
        return true
      case .conversion(.narrowFP8(let format)):
        narrow(format, node, type: type, into: &nodes)
        return true
      default: return false
      }
    }

    private func fusedOperands(
      _ op: Op.Arithmetic, _ operands: [Operand], _ type: ValueType
    ) -> [Operand]? {
      guard type == .bf16 || type == .bf16x2 else { return nil }
      func constant(_ pattern: UInt64) -> Operand {
        let bits = type == .bf16x2 ? pattern << 16 | pattern : pattern
        return .constant(Constant(type: type, bits: bits))
      }
      return switch op {
      case .add: [operands[0], constant(0x3F80), operands[1]]
      case .sub: [operands[1], constant(0xBF80), operands[0]]
      case .mul: [operands[0], operands[1], constant(0x8000)]
      default: nil
      }
    }
  }
}

extension KernelIR {
  /// Whether the target has every instruction.
  fileprivate func isLegal(for target: Target) -> Bool {
    !body.contains { Legalisation.lacks(target, $0, values) }
  }
}

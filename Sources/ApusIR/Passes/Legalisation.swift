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
///
/// Ops without a replacement stay and are reported by the verifier's target rule.
public enum Legalisation {
  /// The kernel in ops that `target` has, as far as replacements exist.
  public static func run(_ kernel: KernelIR, target: Target) -> KernelIR {
    guard target < .sm90a else { return kernel }
    var rewriter = Rewriter(kernel: kernel, target: target)
    let body = rewriter.rewrite(kernel.body)
    var result = rewriter.kernel
    result.body = body
    return result
  }

  private struct Rewriter {
    var kernel: KernelIR
    let target: Target

    mutating func rewrite(_ region: Region) -> Region {
      var nodes: [Node] = []
      nodes.reserveCapacity(region.nodes.count)
      for var node in region.nodes {
        let types = node.operands.map { kernel.type(of: $0) }
        if node.requirements(operandTypes: types).target > target {
          if replace(node, type: types.first, into: &nodes) { continue }
        }
        node.regions = node.regions.map { rewrite($0) }
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

    private mutating func widen(
      _ format: Op.FP8Format, _ node: Node, into nodes: inout [Node]
    ) {
      func emit(
        _ rewriter: inout Rewriter, _ op: Op, _ operands: [Operand], _ type: ValueType = .u32
      ) -> Operand {
        rewriter.kernel.values.append(
          ValueInfo(type: type, nameHint: "fp8_", location: node.location))
        let id = ValueID(rewriter.kernel.values.count - 1)
        nodes.append(Node(op, operands: operands, results: [id], location: node.location))
        return .value(id)
      }
      func constant(_ bits: UInt32) -> Operand { .constant(.u32(bits)) }
      let codes = emit(&self, .conversion(.integer), [node.operands[0]])
      // Code 0 to byte 1, code 1 to byte 3, zeros between.
      let spread = emit(&self, .bits(.prmt), [codes, constant(0), constant(0x1404)])
      guard format == .e4m3 else {
        nodes.append(
          Node(
            .movement(.bitcast), operands: [spread], results: node.results,
            location: node.location))
        return
      }
      let magnitude = emit(&self, .bits(.and), [spread, constant(0x7F00_7F00)])
      let shifted = emit(&self, .bits(.shr), [magnitude, constant(1)])
      // (spread & signs) | shifted
      let scaled = emit(
        &self, .bits(.lop3(table: 0xEA)), [spread, constant(0x8000_8000), shifted])
      let half = emit(&self, .movement(.bitcast), [scaled], .f16x2)
      let factor = Constant(type: .f16x2, bits: 0x5C00_5C00)  // 256
      let product = emit(&self, .arithmetic(.mul), [half, .constant(factor)], .f16x2)
      let bits = emit(&self, .movement(.bitcast), [product])
      let carried = emit(&self, .arithmetic(.add), [magnitude, constant(0x0100_0100)])
      let isNaN = emit(&self, .bits(.and), [carried, constant(0x8000_8000)])
      let ones = emit(&self, .bits(.shr), [isNaN, constant(15)])
      let mask = emit(&self, .arithmetic(.sub), [isNaN, ones])
      let value = emit(&self, .bits(.or), [bits, mask])
      nodes.append(
        Node(
          .movement(.bitcast), operands: [value], results: node.results, location: node.location))
    }
  }
}

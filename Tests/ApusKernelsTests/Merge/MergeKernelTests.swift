import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

@MainActor @Suite struct MergeKernelTests {
  /// A merge and its tensors, in the definition's memory and on the device.
  private struct Case {
    enum Kind: CaseIterable { case two, inPlace, masked, many }
    var kind: Kind
    var rows = 3
    var states = 2
    var heads = 2
    var dim = 64
    var input = ElementType.bf16
    var output = ElementType.bf16
    var convention = LSEConvention.base2
    var isPadded = false
    var seed: UInt64 = 1
  }

  private struct Outcome {
    let expected: MergeResult
    let v: TestTensor
    let s: TestTensor
    let before: TestTensor
    let mask: TestTensor?
    /// `[cell][state]`: v and s of each state.
    let operands: [[(v: [Double], s: Double)]]
    let plan: LaunchPlan
  }

  private func run(_ c: Case, swapped: Bool = false, target: Target = .sm90a) throws -> Outcome {
    var random = SplitMix64(seed: c.seed)
    let pad = c.isPadded ? Int.random(in: 1...3, using: &random) : 0
    let input = ScalarType(c.input)
    let output = c.kind == .two || c.kind == .many ? ScalarType(c.output) : input
    let shape = [c.rows] + (c.kind == .many ? [c.states] : []) + [c.heads]
    func states() -> (TestTensor, TestTensor) {
      let padding = shape.map { _ in 0 } + [pad]
      let v = TestTensor(input, shape + [c.dim], padding: padding, lead: pad, random: &random)
      let s = TestTensor(
        .f32, shape, order: Array(shape.indices.reversed()), random: &random)
      v.fill { _ in Float.random(in: -2...2, using: &random) }
      s.fill { _ in
        switch UInt8.random(in: 0...15, using: &random) {
        case 0: -.infinity
        case 1: c.convention.emptyRow == .positiveInfinity ? .infinity : -.infinity
        case 2: .nan
        case 3: 1e5
        case 4: -1e5
        default: Float.random(in: -8...8, using: &random)
        }
      }
      return (v, s)
    }
    let a = states()
    let b = states()
    let v =
      c.kind == .inPlace || c.kind == .masked
      ? a.0
      : TestTensor(
        output, [c.rows, c.heads, c.dim], padding: [0, pad, pad], lead: pad, random: &random)
    let s =
      c.kind == .inPlace || c.kind == .masked
      ? a.1 : TestTensor(.f32, [c.rows, c.heads], random: &random)
    let mask = c.kind == .masked ? TestTensor(.u8, [c.rows], random: &random) : nil
    mask?.fillIntegers { _ in Int.random(in: 0...2, using: &random) }
    var device = TestDevice()
    device.bind("av", a.0, isWritable: v === a.0)
    device.bind("as", a.1, isWritable: s === a.1)
    device.bind("bv", b.0)
    device.bind("bs", b.1)
    if v !== a.0 { device.bind("v", v, isWritable: true) }
    if s !== a.1 { device.bind("s", s, isWritable: true) }
    if let mask { device.bind("mask", mask) }
    func arguments(_ view: (TestTensor) -> TensorView) -> MergeArguments {
      let (x, y) = swapped ? (b, a) : (a, b)
      switch c.kind {
      case .two:
        return MergeArguments(
          .two(
            aV: view(x.0), aS: view(x.1), bV: view(y.0), bS: view(y.1), v: view(v), s: view(s)),
          convention: c.convention)
      case .inPlace, .masked:
        return MergeArguments(
          .inPlace(
            v: view(v), s: view(s), otherV: view(b.0), otherS: view(b.1), mask: mask.map(view)),
          convention: c.convention)
      case .many:
        return MergeArguments(
          .many(states: view(a.0), logits: view(a.1), v: view(v), s: view(s)),
          convention: c.convention)
      }
    }
    let expected = try Reference.merge(arguments(\.host))
    var operands: [[(v: [Double], s: Double)]] = []
    for row in 0..<c.rows {
      for head in 0..<c.heads {
        let pairs =
          c.kind == .many
          ? (0..<c.states).map { (a, [row, $0, head]) } : [(a, [row, head]), (b, [row, head])]
        operands.append(
          pairs.map { tensors, index in
            (
              (0..<c.dim).map { Double(tensors.0.float(index + [$0])) },
              Double(tensors.1.float(index))
            )
          })
      }
    }
    try arguments(\.device).validate(memory: .cuda(device: 0), operation: "merge")
    let plan = MergeKernel.launches(for: arguments(\.device), target: target)
    let before = v.copy()
    try simulate(plan, on: &device, target: target)
    device.readBack()
    return Outcome(
      expected: expected, v: v, s: s, before: before, mask: mask, operands: operands, plan: plan)
  }

  /// Compares with the definition. Per element, with u = 2^−24: weights err by ex2 (4u), by the
  /// rounded difference (|s − m| u of a weight 2^(s − m): at most u) and its change of base (2u), by
  /// the reciprocal (2u) and the product with it (u); sums of n terms by n u; both sums alike.
  private func compare(_ c: Case, _ outcome: Outcome) {
    let u = 0x1p-24
    var failures = Mismatches()
    let type = c.kind == .two || c.kind == .many ? c.output : c.input
    let limit = Double(type.greatestFiniteMagnitude)
    for row in 0..<c.rows {
      for head in 0..<c.heads {
        let cell = row * c.heads + head
        if let mask = outcome.mask, mask.bits([row]) == 0 {
          for e in 0..<c.dim {
            failures.check(
              outcome.v.bits([row, head, e]) == outcome.before.bits([row, head, e]),
              "masked row \(row) keeps its bits")
          }
          continue
        }
        let states = outcome.operands[cell]
        let relative = 2 * u * Double(2 * states.count + 12)
        for e in 0..<c.dim {
          let wanted = outcome.expected.v[cell * c.dim + e]
          let found = Double(outcome.v.float([row, head, e]))
          let magnitude = states.map { $0.v[e].magnitude }.max() ?? 0
          let error = relative * magnitude
          let allowed =
            error + 0.5 * type.ulp(of: min(wanted.magnitude + error, limit))
          failures.check(
            wanted.isNaN ? found.isNaN : (found - wanted).magnitude <= allowed,
            "v[\(row), \(head), \(e)]: \(found), not \(wanted); \(c)")
        }
        let wanted = outcome.expected.s[cell]
        let found = Double(outcome.s.float([row, head]))
        // The sum's relative error, lg2 (4u), and the roundings of s and of the difference.
        let allowed = relative + 4 * u * wanted.magnitude
        failures.check(
          wanted.isNaN ? found.isNaN : found == wanted || (found - wanted).magnitude <= allowed,
          "s[\(row), \(head)]: \(found), not \(wanted); \(c)")
      }
    }
    if c.rows * c.heads > 0 && c.dim > 0 { failures.expectNone() }
  }

  @Test(arguments: [
    LSEConvention.base2, .natural, .flashMLA,
    LSEConvention(base: .two, emptyRow: .positiveInfinity),
  ])
  func `every form agrees with the definition in each convention`(_ convention: LSEConvention)
    throws
  {
    for (index, kind) in Case.Kind.allCases.enumerated() {
      for states in kind == .many ? [0, 1, 2, 5] : [2] {
        let c = Case(
          kind: kind, rows: 7, states: states, heads: 3, dim: 64, convention: convention,
          seed: UInt64(index + 10 * states))
        compare(c, try run(c))
      }
    }
  }

  @Test(arguments: [0, 1, 3, 7, 8, 9, 15, 16, 17, 128, 192, 520])
  func `every head dimension is merged completely`(_ dim: Int) throws {
    for kind in [Case.Kind.two, .many] {
      for isPadded in [false, true] {
        let c = Case(
          kind: kind, rows: 2, states: 3, heads: 2, dim: dim, isPadded: isPadded,
          seed: UInt64(dim))
        compare(c, try run(c))
      }
    }
  }

  @Test(arguments: ElementType.allCases)
  func `every type is merged into every type`(_ input: ElementType) throws {
    // Each pair of types meets both forms, and by turns both targets and widths.
    for (index, output) in ElementType.allCases.enumerated() {
      for (turn, kind) in [Case.Kind.two, .many].enumerated() {
        let c = Case(
          kind: kind, rows: 3, states: 2, heads: 1, dim: 32, input: input, output: output,
          isPadded: (index + turn) % 2 == 0, seed: 77)
        compare(c, try run(c, target: index % 2 == 0 ? .sm80 : .sm90a))
      }
    }
  }

  /// A merge whose output is an input, of several heads in a warp, for tests of mutants.
  static func runInPlace(target: Target) throws {
    let c = Case(kind: .inPlace, rows: 3, heads: 4, dim: 64, seed: 3)
    let tests = MergeKernelTests()
    tests.compare(c, try tests.run(c, target: target))
  }

  /// A merge of several states, for tests of mutants.
  static func runMany(target: Target) throws {
    let c = Case(kind: .many, rows: 3, states: 3, heads: 2, dim: 64, seed: 3)
    let tests = MergeKernelTests()
    tests.compare(c, try tests.run(c, target: target))
  }

  @Test func `swapping two states changes no bit`() throws {
    for convention in [LSEConvention.base2, .natural] {
      let c = Case(kind: .two, rows: 40, heads: 3, dim: 16, convention: convention, seed: 5)
      let one = try run(c)
      let other = try run(c, swapped: true)
      #expect(one.v.indices.allSatisfy { one.v.bits($0) == other.v.bits($0) })
      #expect(one.s.indices.allSatisfy { one.s.bits($0) == other.s.bits($0) })
    }
  }

  @Test func `aligned rows get wide accesses, others one reason for narrow ones`() throws {
    let wide = try run(Case(kind: .two))
    #expect(wide.plan.launches.map(\.kernel.symbol) == ["sm80_merge_pair_bf16_bf16_base2_v8_l4"])
    let narrow = try run(Case(kind: .two, isPadded: true))
    #expect(narrow.plan.launches.map(\.kernel.symbol) == ["sm80_merge_pair_bf16_bf16_base2_v1_l32"])
    #expect(try run(Case(kind: .two, rows: 0)).plan.launches.isEmpty)
  }
}

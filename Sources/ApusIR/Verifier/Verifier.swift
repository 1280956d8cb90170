/// Checks a kernel against the rules of the language and of a target.
///
/// Rules run in three stages; a stage that finds something ends the run, since later rules rely on
/// what earlier ones establish: well-formed tables and nesting, then types and definitions, then
/// the analyses of asynchronous work and resources.
public enum Verifier {
  /// Every violation found, empty for a valid kernel; each place is reported once per rule.
  public static func verify(_ kernel: KernelIR, target: Target) -> [Diagnostic] {
    var report = Report(kernel: kernel, target: target)
    for stage in stages {
      for rule in stage { rule.check(kernel, &report) }
      if !report.diagnostics.isEmpty { return report.diagnostics }
    }
    return []
  }

  /// Throws unless every kernel of the module verifies.
  public static func check(_ module: ModuleIR, target: Target) throws(VerificationError) {
    var diagnostics: [Diagnostic] = []
    for kernel in module.kernels { diagnostics += verify(kernel, target: target) }
    if !diagnostics.isEmpty { throw VerificationError(diagnostics: diagnostics) }
  }

  private static let stages: [[any VerifierRule.Type]] = [
    [StructureRule.self],
    [NodeRules.self, DefinitionRule.self, SharedMemoryRule.self],
    [
      AccumulatorRule.self, RegisterRule.self, NamedBarrierRule.self, MBarrierRule.self,
      RingRule.self,
      AsyncGroupRule.self,
    ],
  ]
}

/// A rule; its file says what it establishes.
protocol VerifierRule: Sendable {
  static func check(_ kernel: KernelIR, _ report: inout Report)
}

/// A rule about each node by itself.
protocol NodeRule: Sendable {
  static var rule: Diagnostic.Rule { get }
  /// Checks tables, before any node.
  func begin(_ kernel: KernelIR, _ report: inout Report)
  /// Checks a node.
  mutating func check(_ node: Node, in kernel: KernelIR, _ report: inout Report)
  /// Checks what all nodes together show.
  func finish(_ kernel: KernelIR, _ report: inout Report)
}

extension NodeRule {
  func begin(_ kernel: KernelIR, _ report: inout Report) {}
  func finish(_ kernel: KernelIR, _ report: inout Report) {}
}

/// The rules about each node by itself, in one walk: finding the nodes costs more than most of their
/// questions.
enum NodeRules: VerifierRule {
  static func check(_ kernel: KernelIR, _ report: inout Report) {
    var types = TypeRule()
    var variables = VariableRule()
    let immediates = ImmediateRule()
    let targets = TargetRule()
    immediates.begin(kernel, &report)
    targets.begin(kernel, &report)
    var census = NodeCensus()
    kernel.body.forEachNode { node, _ in
      census.count(node)
      types.check(node, in: kernel, &report)
      variables.check(node, in: kernel, &report)
      immediates.check(node, in: kernel, &report)
      targets.check(node, in: kernel, &report)
    }
    variables.finish(kernel, &report)
    report.census = census
  }
}

/// What kinds of nodes a kernel has: rules about kinds that it lacks need not look for them.
struct NodeCensus {
  /// Whether there are asynchronous products, in-place products, named barriers, groups of copies.
  private(set) var hasAsyncProducts = false
  private(set) var hasAccumulators = false
  private(set) var hasNamedBarriers = false
  private(set) var hasCopyGroups = false

  /// Notes a node.
  mutating func count(_ node: Node) {
    switch node.op {
    case .tensorCore(let op):
      switch op {
      case .mma: hasAccumulators = true
      case .wgmma:
        hasAccumulators = true
        hasAsyncProducts = true
      case .wgmmaCommit, .wgmmaWait: hasAsyncProducts = true
      default: break
      }
    case .synchronisation(.barrierSync), .synchronisation(.barrierArrive): hasNamedBarriers = true
    case .copy: hasCopyGroups = true
    default: break
    }
  }
}

/// Collects diagnostics of one kernel and target.
struct Report {
  let kernel: KernelIR
  let target: Target
  private(set) var diagnostics: [Diagnostic] = []
  /// Where addresses point, found once for all rules that ask.
  private(set) lazy var addressRoots = AddressRoots(kernel)
  /// Known from the third stage on.
  var census = NodeCensus()

  init(kernel: KernelIR, target: Target) {
    self.kernel = kernel
    self.target = target
  }

  mutating func add(
    _ rule: Diagnostic.Rule, at location: SourceLocation? = nil, _ requirement: String,
    found: String, remedy: String? = nil
  ) {
    let place =
      location ?? kernel.body.nodes.first?.location ?? SourceLocation(fileID: "", line: 0)
    let diagnostic = Diagnostic(
      kernel: kernel.symbol, rule: rule, location: place, requirement: requirement, found: found,
      remedy: remedy)
    if !diagnostics.contains(diagnostic) { diagnostics.append(diagnostic) }
  }

  /// `%name12` of a value.
  func name(_ value: ValueID) -> String { TextPrinter.name(of: value, in: kernel) }
}

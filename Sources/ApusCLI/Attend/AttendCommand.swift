import Apus
import ApusCore
import ApusNumerics
import ArgumentParser
import Foundation

/// `apus attend`: attention over a user's own tensors.
struct AttendCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "attend",
    abstract: "Attention over tensors of your own file.",
    discussion: """
      FILE is a safetensors file; q, k and v are names in it, or paths of .npy files. Tensors are \
      [token, head, dim] or [batch, token, head, dim]; query heads share KV heads in groups.

        apus attend model.safetensors --q q --k k --v v --causal --output o.safetensors
        apus attend --q q.npy --k k.npy --v v.npy --kv-type e4m3 --page-size 16 --output o.npy
      """)

  /// Base of the log-sum-exp.
  enum Base: String, CaseIterable, ExpressibleByArgument {
    case two = "2"
    case e
  }

  @Argument(help: "Safetensors file with the named tensors.")
  var file: String?

  @Option(help: "Queries.")
  var q: String

  @Option(help: "Keys.")
  var k: String

  @Option(help: "Values.")
  var v: String

  @Option(help: "Write the result here: .safetensors (o and lse) or .npy (o alone).")
  var output: String?

  @Option(help: "Name of the output tensor.")
  var oName = "o"

  @Option(help: "Name of the log-sum-exp tensor.")
  var lseName = "lse"

  @Flag(inversion: .prefixedNo, help: "Each query sees keys up to its own position alone.")
  var causal = false

  @Option(help: "Each query sees at most this many keys before its own position.")
  var windowLeft: Int?

  @Option(help: "Cap scores at this value: cap · tanh(score / cap).")
  var softCap: Float?

  @Option(help: "Factor on q·k (default: 1/√dim).")
  var scale: Float?

  @Flag(help: "Add ALiBi's linear bias.")
  var alibi = false

  @Option(help: "Rotate q and k by their positions (RoPE) with this theta.")
  var ropeTheta: Double?

  @Option(help: "Divide RoPE's frequencies by this.")
  var ropeScale: Double = 1

  @Flag(help: "RoPE pairs neighbours (2i, 2i + 1) instead of halves.")
  var ropeInterleaved = false

  @Option(help: "Convert q to this type.")
  var qType: ElementType?

  @Option(help: "Keep k and v in a cache of this type.")
  var kvType: ElementType?

  @Option(help: "Type of the output (default: that of q).")
  var oType: ElementType?

  @Option(
    help: "Scales beside the cache: none, head, token-head (default: head where FP8 is made).")
  var kvScales: CacheScales?

  @Option(help: "Tokens per page of the cache; 0 keeps it in one piece.")
  var pageSize = 0

  @Option(help: "Order of tokens and heads in the cache.")
  var layout: KVLayout = .nhd

  @Option(help: "Base of the log-sum-exp.")
  var lseBase: Base = .two

  @Option(help: "Print the relative L2 error of o against this tensor.")
  var compare: String?

  @Option(help: "Print the relative L2 error of the log-sum-exp against this tensor.")
  var compareLse: String?

  @Option(help: "Fail when a relative L2 error exceeds this.")
  var tolerance: Double?

  @OptionGroup var backendOptions: BackendOptions

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    guard output != nil || compare != nil || compareLse != nil else {
      throw ValidationError("Pass --output, or a tensor to --compare with.")
    }
    if let output, !output.hasSuffix(".safetensors"), !output.hasSuffix(".npy") {
      throw ValidationError("--output must end in .safetensors or .npy; found \(output).")
    }
    if let output {
      let target = URL(fileURLWithPath: output).resolvingSymlinksInPath().path
      for input in [file, q, k, v].compactMap({ $0 })
      where URL(fileURLWithPath: input).resolvingSymlinksInPath().path == target {
        throw ValidationError("--output must not be an input file; found \(output) twice.")
      }
    }
    guard oName != lseName else {
      throw ValidationError("--o-name and --lse-name must differ; found \(oName) twice.")
    }
    guard pageSize >= 0 else {
      throw ValidationError("--page-size must be at least 0; found \(pageSize).")
    }
    if ropeTheta == nil, ropeInterleaved || ropeScale != 1 {
      throw ValidationError("--rope-scale and --rope-interleaved need --rope-theta.")
    }
    if let tolerance {
      guard compare != nil || compareLse != nil else {
        throw ValidationError("--tolerance needs --compare or --compare-lse.")
      }
      guard tolerance >= 0 else {
        throw ValidationError("--tolerance must be at least 0; found \(tolerance).")
      }
    }
  }

  func run() throws {
    let report = try report()
    if json { try Output.json(report) } else { print(report.text) }
    if !report.isWithinTolerance { throw ExitCode.failure }
  }

  /// Score function of the options.
  func modification(qoHeadCount: Int) -> ScoreModification {
    ScoreModification(
      softmaxScale: scale, logitsSoftCap: softCap,
      alibiSlopes: alibi ? ScoreModification.alibiSlopes(headCount: qoHeadCount) : nil,
      rope: ropeTheta.map {
        RotaryEmbedding(
          pairing: ropeInterleaved ? .interleaved : .half, scale: ropeScale, theta: $0)
      })
  }
}

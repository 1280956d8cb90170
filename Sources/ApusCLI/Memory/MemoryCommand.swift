import ApusCore
import ArgumentParser

extension CacheScales: ExpressibleByArgument {}

/// `apus memory`: what a KV cache costs.
struct MemoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "memory",
    abstract: "Cache bytes per token and tokens per GiB for MHA, GQA and MLA in every type.",
    discussion: """
      Sizes come from a Hugging Face config.json or from numbers:

        apus memory --config config.json
        apus memory --layers 80 --qo-heads 64 --kv-heads 8 --head-dim 128

      The 93.3 % that DeepSeek-V2's paper saves (arXiv 2405.04434: a latent cache at 6 bits a \
      value on average, against the 95 layers of 8 KV heads of 128 of DeepSeek 67B):

        apus memory --layers 60 --qo-heads 128 --head-dim 192 --head-dim-v 128 \\
          --latent-ckv 512 --latent-kpe 64 --bits 6 --against 95:8:128
      """)

  @Option(help: "A model's config.json, instead of the numbers below.")
  var config: String?

  @Option(help: "Layers.")
  var layers: Int?

  @Option(help: "Query heads.")
  var qoHeads: Int?

  @Option(help: "KV heads (default: the query heads).")
  var kvHeads: Int?

  @Option(help: "Width of a key.")
  var headDim: Int?

  @Option(help: "Width of a value (default: that of a key).")
  var headDimV: Int?

  @Option(help: "Compressed part of an MLA latent row.")
  var latentCkv: Int?

  @Option(help: "Rotary part of an MLA latent row (default: 0).")
  var latentKpe: Int?

  @Option(help: "f32 scales beside an FP8 cache: \(CacheScales.names).")
  var scales: CacheScales = .none

  @Option(help: "Add a row of this many bits per value on average.")
  var bits: Double?

  @Option(
    help: ArgumentHelp(
      "Compare with the bf16 cache of another model.", valueName: "layers:kv-heads:head-dim"))
  var against: String?

  @Flag(help: "Print JSON.")
  var json = false

  mutating func validate() throws {
    let numbers = [layers, qoHeads, kvHeads, headDim, headDimV, latentCkv, latentKpe]
    if config != nil {
      guard numbers.allSatisfy({ $0 == nil }) else {
        throw ValidationError("Pass --config or the numbers of a model, not both.")
      }
    } else if layers == nil || qoHeads == nil || headDim == nil {
      throw ValidationError("Pass --config, or at least --layers, --qo-heads and --head-dim.")
    }
    if latentKpe != nil, latentCkv == nil {
      throw ValidationError("--latent-kpe needs --latent-ckv.")
    }
    if let bits, !(bits > 0 && bits <= 32) {
      throw ValidationError("--bits must be above 0 and at most 32; found \(bits).")
    }
  }

  func run() throws {
    let report = try report()
    if json { try Output.json(report) } else { print(report.text) }
  }

  /// The report that the options ask for.
  func report() throws(ArgumentError) -> MemoryReport {
    let model = try model()
    try model.validate()
    var other: CacheModel?
    if let against {
      other = try Self.model(against)
      try other?.validate()
    }
    return MemoryReport(model, scales: scales, bits: bits, against: other)
  }

  private func model() throws(ArgumentError) -> CacheModel {
    if let config { return try ModelConfiguration.load(path: config) }
    let heads = qoHeads ?? 0
    let dim = headDim ?? 0
    return CacheModel(
      layerCount: layers ?? 0, qoHeadCount: heads, kvHeadCount: kvHeads ?? heads, headDimK: dim,
      headDimV: headDimV ?? dim,
      latent: latentCkv.map { CacheModel.Latent(ckv: $0, kpe: latentKpe ?? 0) })
  }

  /// `layers:kv-heads:head-dim`.
  static func model(_ text: String) throws(ArgumentError) -> CacheModel {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 3, let layers = parts[0], let heads = parts[1], let dim = parts[2] else {
      throw ArgumentError(
        operation: "apus memory", "against must be three integers layers:kv-heads:head-dim",
        found: text, remedy: "For example 80:8:128.")
    }
    return CacheModel(
      layerCount: layers, qoHeadCount: heads, kvHeadCount: heads, headDimK: dim, headDimV: dim)
  }
}

extension CacheScales {
  fileprivate static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }
}

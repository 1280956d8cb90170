import ApusNumerics

/// Cache sizes of one model in every kind and type, with the ratios that are quoted of them.
struct MemoryReport: Codable, Sendable {
  /// The model.
  var model: CacheModel
  /// Scales counted in.
  var scales: CacheScales
  /// One entry per kind and type.
  var sizes: [CacheSize]
  /// Statements with the numbers they follow from.
  var findings: [Finding]

  /// A ratio of two sizes.
  struct Finding: Codable, Sendable, Hashable {
    /// What is compared.
    var text: String
    /// Bytes per token before and after.
    var from: Double
    /// Bytes per token after.
    var to: Double
    /// `to / from − 1`.
    var change: Double

    init(_ text: String, from: CacheSize, to: CacheSize) {
      self.text = text
      self.from = from.bytesPerToken
      self.to = to.bytesPerToken
      change = to.change(against: from)
    }
  }

  /// A report; the model has been validated.
  ///
  /// - Parameters:
  ///   - bits: a further row of this many bits per value on average.
  ///   - other: a model whose own cache in bf16 is the baseline of one more comparison.
  init(
    _ model: CacheModel, scales: CacheScales, bits: Double? = nil, against other: CacheModel? = nil
  ) {
    self.model = model
    self.scales = scales
    func size(_ kind: CacheKind, _ type: ElementType) -> CacheSize {
      CacheSize(
        model, kind: kind, type: type.description, bits: Double(8 * type.byteCount), scales: scales)
    }
    func custom(_ kind: CacheKind, _ bits: Double) -> CacheSize {
      CacheSize(
        model, kind: kind, type: "\(Format.shortest(bits)) bits", bits: bits,
        scales: scales)
    }
    sizes = model.kinds.flatMap { kind in
      ElementType.allCases.map { size(kind, $0) } + (bits.map { [custom(kind, $0)] } ?? [])
    }
    let own = model.ownKind
    findings = [
      Finding("\(own.rawValue): bf16 to FP8", from: size(own, .bf16), to: size(own, .e4m3))
    ]
    if own != .mha {
      findings.append(
        Finding("MHA to \(own.rawValue), bf16", from: size(.mha, .bf16), to: size(own, .bf16)))
    }
    if own == .mla, model.kinds.contains(.gqa) {
      findings.append(Finding("GQA to MLA, bf16", from: size(.gqa, .bf16), to: size(.mla, .bf16)))
    }
    guard let other else { return }
    let baseline = CacheSize(other, kind: other.ownKind, type: "bf16", bits: 16, scales: .none)
    let shape =
      "\(other.layerCount) layers of \(other.kvHeadCount) KV heads of \(other.headDimK)"
    let target = bits.map { custom(own, $0) } ?? size(own, .bf16)
    findings.append(
      Finding("\(shape), bf16, to \(own.rawValue), \(target.type)", from: baseline, to: target))
  }

  /// The report for people.
  var text: String {
    var heading =
      "\(model.name.map { "\($0): " } ?? "")\(model.layerCount) layers, heads "
      + "\(model.qoHeadCount)/\(model.kvHeadCount), head dimension \(model.headDimK)"
    if model.headDimV != model.headDimK { heading += "/\(model.headDimV)" }
    if let latent = model.latent { heading += ", latent \(latent.ckv)+\(latent.kpe)" }
    if scales != .none { heading += "; FP8 with one f32 scale per \(scales.rawValue)" }
    var table = TextTable([
      ("cache", .left), ("type", .left), ("values/token", .right), ("bytes/token", .right),
      ("tokens/GiB", .right), ("against MHA bf16", .right),
    ])
    let base = sizes.first { $0.kind == .mha && $0.type == ElementType.bf16.description }
    for size in sizes {
      table.add([
        size.kind.rawValue, size.type, Format.grouped(size.valuesPerToken),
        Format.grouped(Int(size.bytesPerToken.rounded(.up))), Format.grouped(size.tokensPerGiB),
        base.map { Self.signed(size.change(against: $0)) } ?? "",
      ])
    }
    var lines = [heading, "", table.text(), ""]
    if let fixed = sizes.map(\.fixedBytes).max(), fixed > 0 {
      lines += ["Per-head scales: at most \(Format.grouped(fixed)) bytes in all.", ""]
    }
    for finding in findings {
      lines.append(
        "\(finding.text): \(Format.grouped(Int(finding.from.rounded(.up)))) → "
          + "\(Format.grouped(Int(finding.to.rounded(.up)))) bytes a token, "
          + "\(Self.signed(finding.change))")
    }
    return lines.joined(separator: "\n")
  }

  private static func signed(_ change: Double) -> String {
    let percent = change * 100
    return (percent < 0 ? "−" : "+") + Format.fixed(percent.magnitude, 1) + " %"
  }
}

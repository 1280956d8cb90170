import ApusCore
import Foundation

/// Reads what decides the cache size from a Hugging Face `config.json`.
enum ModelConfiguration {
  /// The model of a configuration file.
  ///
  /// - Throws: `ArgumentError` when the file cannot be read, is no JSON object, or lacks a field.
  static func load(path: String) throws(ArgumentError) -> CacheModel {
    let data: Data
    do {
      data = try Data(contentsOf: URL(fileURLWithPath: path))
    } catch {
      throw ArgumentError(
        operation: operation(path), "the file must be readable",
        found: "\(reason(error))", remedy: "Pass the config.json of a model.")
    }
    return try parse(data, path: path)
  }

  /// The model of a configuration's bytes; `path` is for messages.
  ///
  /// Llama-style names (`num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`,
  /// `hidden_size`, `head_dim`), GPT-2's (`n_layer`, `n_head`, `n_embd`) and DeepSeek's
  /// (`kv_lora_rank`, `qk_nope_head_dim`, `qk_rope_head_dim`, `v_head_dim`) are known. A multimodal
  /// configuration's `text_config` is looked into.
  static func parse(_ data: Data, path: String) throws(ArgumentError) -> CacheModel {
    let object: Any
    do {
      object = try JSONSerialization.jsonObject(with: data)
    } catch {
      throw ArgumentError(
        operation: operation(path), "the file must be JSON", found: "\(reason(error))",
        remedy: "Pass the config.json of a model.")
    }
    guard let outer = object as? [String: Any] else {
      throw ArgumentError(
        operation: operation(path), "the file must hold a JSON object", found: kind(of: object),
        remedy: "Pass the config.json of a model.")
    }
    let inner = outer["text_config"] as? [String: Any]
    let isNested = inner?["num_hidden_layers"] != nil
    var fields = Fields(
      values: isNested ? inner ?? outer : outer, validator: Validator(operation(path)))
    let model = model(&fields)
    try fields.validator.finish()
    return model
  }

  private static func model(_ fields: inout Fields) -> CacheModel {
    let layers = fields.required(["num_hidden_layers", "n_layer", "num_layers"])
    let heads = fields.required(["num_attention_heads", "n_head"])
    let kvHeads = fields.optional(["num_key_value_heads"]) ?? heads
    let name = fields.values["model_type"] as? String
    if let rank = fields.optional(["kv_lora_rank"]) {
      let rope = fields.required(["qk_rope_head_dim"])
      let nope = fields.required(["qk_nope_head_dim"])
      let value = fields.required(["v_head_dim"])
      return CacheModel(
        name: name, layerCount: layers, qoHeadCount: heads, kvHeadCount: kvHeads,
        headDimK: nope.addingClamped(rope), headDimV: value,
        latent: CacheModel.Latent(ckv: rank, kpe: rope))
    }
    let dim = headDim(&fields, heads: heads)
    return CacheModel(
      name: name, layerCount: layers, qoHeadCount: heads, kvHeadCount: kvHeads, headDimK: dim,
      headDimV: dim)
  }

  /// `head_dim`, or `hidden_size / num_attention_heads`.
  private static func headDim(_ fields: inout Fields, heads: Int) -> Int {
    if let dim = fields.optional(["head_dim"]) { return dim }
    let hidden = fields.required(["hidden_size", "n_embd"])
    let divides = fields.validator.require(
      hidden.isMultiple(of: heads),
      "hidden_size must be a multiple of num_attention_heads where head_dim is missing",
      found: "\(hidden) and \(heads)")
    return divides ? hidden / heads : 1
  }

  private static func operation(_ path: String) -> String { "apus memory --config \(path)" }

  /// The system's words for an error of Foundation's, without its wrapping.
  private static func reason(_ error: any Error) -> String {
    let error = error as NSError
    if error.domain == NSCocoaErrorDomain, error.code == CocoaError.fileReadNoSuchFile.rawValue {
      return "no such file"
    }
    let text = error.userInfo[NSDebugDescriptionErrorKey] as? String ?? error.localizedDescription
    return text.hasSuffix(".") ? String(text.dropLast()) : text
  }

  fileprivate static func kind(of value: Any) -> String {
    switch value {
    case is String: "a string"
    case is [Any]: "an array"
    case is [String: Any]: "an object"
    case is NSNull: "null"
    case let number as NSNumber where number.isBoolean: number.boolValue ? "true" : "false"
    case let number as NSNumber: "\(number)"
    default: "another kind of value"
    }
  }
}

/// Fields of a configuration, read one by one; every problem is collected.
private struct Fields {
  let values: [String: Any]
  var validator: Validator

  /// The first of `names` that is present, or 1 and a violation.
  mutating func required(_ names: [String]) -> Int {
    if let value = optional(names) { return value }
    let spelled = names.joined(separator: " or ")
    validator.require(
      false, "\(spelled) must be present", found: "none",
      remedy: "Pass the sizes as options instead.")
    return 1
  }

  /// The first of `names` that is present and not null: a positive integer below 2³¹, or 1 and a
  /// violation.
  mutating func optional(_ names: [String]) -> Int? {
    for name in names {
      guard let value = values[name], !(value is NSNull) else { continue }
      // JSON's true and false are numbers to Foundation too, of one character.
      if let number = value as? NSNumber, !number.isBoolean, let integer = Int("\(number)"),
        (1...Int(Int32.max)).contains(integer)
      {
        return integer
      }
      validator.require(
        false, "\(name) must be a positive integer below 2^31",
        found: ModelConfiguration.kind(of: value))
      return 1
    }
    return nil
  }
}

extension Int {
  fileprivate func addingClamped(_ other: Int) -> Int {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}

extension NSNumber {
  fileprivate var isBoolean: Bool {
    let type = String(cString: objCType)
    return type == "c" || type == "B"
  }
}

import ApusCore
import Foundation
import Testing

@testable import ApusCLI

@Suite struct ModelConfigurationTests {
  private func parse(_ text: String) throws(ArgumentError) -> CacheModel {
    try ModelConfiguration.parse(Data(text.utf8), path: "config.json")
  }

  @Test func `a Llama configuration`() throws {
    let model = try parse(
      """
      {"model_type": "llama", "num_hidden_layers": 80, "num_attention_heads": 64,
       "num_key_value_heads": 8, "hidden_size": 8192, "head_dim": null}
      """)
    #expect(
      model
        == CacheModel(
          name: "llama", layerCount: 80, qoHeadCount: 64, kvHeadCount: 8, headDimK: 128,
          headDimV: 128))
  }

  @Test func `head_dim wins over hidden_size`() throws {
    let model = try parse(
      #"{"num_hidden_layers": 2, "num_attention_heads": 3, "hidden_size": 10, "head_dim": 16}"#)
    #expect(model.headDimK == 16)
    #expect(model.kvHeadCount == 3)
  }

  @Test func `a DeepSeek configuration has a latent`() throws {
    let model = try parse(
      """
      {"model_type": "deepseek_v3", "num_hidden_layers": 61, "num_attention_heads": 128,
       "num_key_value_heads": 128, "hidden_size": 7168, "kv_lora_rank": 512,
       "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
      """)
    #expect(model.latent == CacheModel.Latent(ckv: 512, kpe: 64))
    #expect(model.headDimK == 192)
    #expect(model.headDimV == 128)
    #expect(model.ownKind == .mla)
  }

  @Test func `GPT-2's names and a nested text configuration`() throws {
    #expect(try parse(#"{"n_layer": 12, "n_head": 12, "n_embd": 768}"#).headDimK == 64)
    let nested = try parse(
      """
      {"model_type": "outer", "text_config": {"model_type": "inner", "num_hidden_layers": 4,
       "num_attention_heads": 8, "hidden_size": 512}}
      """)
    #expect(nested.name == "inner")
    #expect(nested.layerCount == 4)
  }

  @Test(arguments: [
    (
      "{}",
      """
      3 requirements do not hold:
        - num_hidden_layers or n_layer or num_layers must be present; found none. Pass the sizes \
      as options instead.
        - num_attention_heads or n_head must be present; found none. Pass the sizes as options \
      instead.
        - hidden_size or n_embd must be present; found none. Pass the sizes as options instead.
      """
    ),
    ("[1]", "the file must hold a JSON object; found an array. Pass the config.json of a model."),
    (
      #"{"num_hidden_layers": true, "num_attention_heads": "8", "head_dim": 2.5}"#,
      """
      3 requirements do not hold:
        - num_hidden_layers must be a positive integer below 2^31; found true.
        - num_attention_heads must be a positive integer below 2^31; found a string.
        - head_dim must be a positive integer below 2^31; found 2.5.
      """
    ),
    (
      #"{"num_hidden_layers": 1, "num_attention_heads": 3, "hidden_size": 10}"#,
      "hidden_size must be a multiple of num_attention_heads where head_dim is missing; "
        + "found 10 and 3."
    ),
    (
      #"{"num_hidden_layers": -1, "num_attention_heads": 4294967296, "head_dim": 8}"#,
      """
      2 requirements do not hold:
        - num_hidden_layers must be a positive integer below 2^31; found -1.
        - num_attention_heads must be a positive integer below 2^31; found 4294967296.
      """
    ),
  ])
  func `a configuration that says too little is refused`(_ text: String, _ message: String) {
    let error = #expect(throws: ArgumentError.self) { try parse(text) }
    #expect(error?.description == "apus memory --config config.json: \(message)")
  }

  @Test func `text that is no JSON, and a file that is not there`() throws {
    let malformed = #expect(throws: ArgumentError.self) { try parse("{\"a\":") }
    #expect(
      malformed?.description.hasPrefix(
        "apus memory --config config.json: the file must be JSON; found ") == true)
    let folder = try TemporaryFolder()
    let path = folder.path("none.json")
    let missing = #expect(throws: ArgumentError.self) { try ModelConfiguration.load(path: path) }
    #expect(
      missing?.description
        == "apus memory --config \(path): the file must be readable; found no such file. "
        + "Pass the config.json of a model.")
  }

  @Test func `widths too large for a product stay an error`() throws {
    let model = try parse(
      """
      {"num_hidden_layers": 2147483647, "num_attention_heads": 2147483647,
       "kv_lora_rank": 2147483647, "qk_nope_head_dim": 2147483647,
       "qk_rope_head_dim": 2147483647, "v_head_dim": 2147483647}
      """)
    #expect(throws: ArgumentError.self) { try model.validate() }
  }
}

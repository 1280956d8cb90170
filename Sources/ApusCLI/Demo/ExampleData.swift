import ApusCore
import ApusIO
import Foundation

/// Queries, keys and values of a real model, and attention over them in float64.
struct ExampleData: Sendable {
  /// One layer; every tensor `[token, head, dim]` row-major.
  struct Layer: Sendable {
    /// Prefix of its tensors' names, such as `layer0`.
    let name: String
    let q: [Float]
    let k: [Float]
    let v: [Float]
    /// Attention without a mask, computed in float64 and rounded to f32.
    let o: [Float]
    /// Attention with a causal mask, likewise.
    let oCausal: [Float]
    /// Log-sum-exp of the rows of `o`, natural logarithm, `[token, head]`.
    let lse: [Float]
  }

  /// File that it came from.
  let path: String
  /// What the file says about itself.
  let metadata: [String: String]
  let tokenCount: Int
  let headCount: Int
  let headDim: Int
  let layers: [Layer]

  /// Path of the example inside the package.
  static let relativePath = "Examples/data/minilm-attention.safetensors"

  /// Where the example is: the given path, or the first folder of the search that holds it.
  ///
  /// - Throws: `ArgumentError` when no folder does.
  static func locate(
    _ path: String?, folders: [URL] = ProcessLocation.searchFolders
  ) throws -> String {
    if let path { return path }
    for folder in folders {
      let candidate = folder.appendingPathComponent(relativePath).path
      if FileManager.default.fileExists(atPath: candidate) { return candidate }
    }
    throw ArgumentError(
      operation: "apus demo",
      "\(relativePath) must lie in the working folder, the executable's, or a folder that holds "
        + "one of them", found: "none",
      remedy: "Run it in the package's checkout, or pass --data PATH.")
  }
}

extension ExampleData {
  /// Reads every layer of a file.
  ///
  /// - Throws: `FileError` for a damaged file or missing tensor, `ArgumentError` for other shapes.
  init(path: String) throws {
    let file = try SafetensorsFile(path: path)
    self.path = path
    metadata = file.metadata
    let names = file.names.filter { $0.hasSuffix(".q") }.map { String($0.dropLast(2)) }.sorted()
    guard let first = names.first else {
      throw ArgumentError(
        operation: "apus demo", "the data must hold tensors named LAYER.q, LAYER.k and LAYER.v",
        found: "\(file.names.prefix(8).joined(separator: ", "))", remedy: "See Examples/data.")
    }
    let shape = try file.tensor(named: "\(first).q").shape
    guard shape.count == 3, shape.allSatisfy({ $0 > 0 }), shape[2].isMultiple(of: 8) else {
      throw ArgumentError(
        operation: "apus demo", "\(first).q must have shape [token, head, multiple of 8]",
        found: "\(shape)")
    }
    (tokenCount, headCount, headDim) = (shape[0], shape[1], shape[2])
    layers = try names.map { name in
      func read(_ part: String, _ expected: [Int]) throws -> [Float] {
        let tensor = try file.tensor(named: "\(name).\(part)")
        guard tensor.shape == expected, tensor.scalarType == .f32 else {
          throw ArgumentError(
            operation: "apus demo", "\(tensor.name) must be F32 \(expected)",
            found: "\(tensor)")
        }
        return try tensor.elements(as: Float.self)
      }
      return Layer(
        name: name, q: try read("q", shape), k: try read("k", shape), v: try read("v", shape),
        o: try read("o", shape), oCausal: try read("o_causal", shape),
        lse: try read("lse_natural", Array(shape.dropLast())))
    }
  }
}

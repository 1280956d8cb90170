import Apus
import ApusCore
import ApusIO
import ApusNumerics

/// Where `apus attend` reads tensors: names in a safetensors file, or paths of .npy files.
struct TensorSource {
  private let file: SafetensorsFile?

  /// - Parameter path: the safetensors file; nil when every tensor is an .npy file.
  init(path: String?) throws {
    file = try path.map { try SafetensorsFile(path: $0) }
  }

  /// The tensor that an option names.
  ///
  /// - Parameter type: the type to read bit patterns of NumPy's integers as: NumPy lacks bf16 and
  ///   FP8.
  /// - Throws: `FileError`, for an unknown name with the nearest known one.
  func tensor(_ name: String, option: String, as type: ElementType? = nil) throws -> FileTensor {
    if name.hasSuffix(".npy") {
      let stored = try NPYFile(path: name).tensor
      guard stored.scalarType.isBitPattern, let type, type.byteCount == stored.scalarType.byteCount
      else { return stored }
      return try NPYFile(path: name, reinterpretedAs: FileScalarType(type)).tensor
    }
    guard let file else {
      throw ArgumentError(
        operation: "apus attend", "--\(option) must be an .npy path where no FILE is given",
        found: name, remedy: "Pass the safetensors file that holds it.")
    }
    return try file.tensor(named: name)
  }
}

extension FileScalarType {
  fileprivate var isBitPattern: Bool { self == .u8 || self == .u16 }
}

/// A tensor `[batch, token, head, dim]` in memory.
struct AttendOperand {
  /// Extents as stored, 3 or 4 of them.
  let storedShape: [Int]
  let batch: Int
  let tokens: Int
  let heads: Int
  let dim: Int
  /// `[batch · token, head, dim]`.
  let tensor: Tensor
  let type: ElementType

  /// Reads a tensor, converting where a type is asked for.
  ///
  /// - Parameter type: nil keeps the stored type; float64, which operators lack, becomes f32.
  init(_ stored: FileTensor, option: String, type requested: ElementType?) throws {
    let shape = stored.shape
    guard shape.count == 3 || shape.count == 4 else {
      throw ArgumentError(
        operation: "apus attend",
        "--\(option) must name a tensor [token, head, dim] or [batch, token, head, dim]",
        found: "\(stored)")
    }
    guard let type = requested ?? stored.scalarType.operandType else {
      throw ArgumentError(
        operation: "apus attend", "--\(option) must name a tensor of a floating type",
        found: "\(stored)",
        remedy: "For bit patterns in an .npy file, state the type with --q-type or --kv-type.")
    }
    storedShape = shape
    let full = shape.count == 4 ? shape : [1] + shape
    (batch, tokens, heads, dim) = (full[0], full[1], full[2], full[3])
    self.type = type
    let flat = [batch * tokens, heads, dim]
    if stored.scalarType.elementType == type {
      tensor = try Tensor(zeros: type, shape: flat)
      tensor.withMutableBytes { destination in
        stored.withBytes { destination.copyMemory(from: $0) }
      }
    } else {
      tensor = try Tensor(
        try stored.floats(operation: "--\(option)"), type, shape: flat)
    }
  }
}

extension FileTensor {
  /// All elements as f32; only float64 is rounded.
  func floats(operation: String) throws -> [Float] {
    if scalarType == .f64 { return try elements(as: Double.self).map { Float($0) } }
    guard let type = scalarType.elementType else {
      throw ArgumentError(
        operation: "apus attend", "\(operation) must name a tensor of a floating type",
        found: "\(self)")
    }
    return withBytes { bytes in
      guard let base = bytes.baseAddress else { return [] }
      return (0..<elementCount).map { type.load(base, at: $0) }
    }
  }

  /// All elements as float64, exactly.
  func doubles(operation: String) throws -> [Double] {
    scalarType == .f64
      ? try elements(as: Double.self) : try floats(operation: operation).map(Double.init)
  }
}

extension FileScalarType {
  /// The type in which operators take it: f64 as f32, integers never.
  fileprivate var operandType: ElementType? { self == .f64 ? .f32 : elementType }
}

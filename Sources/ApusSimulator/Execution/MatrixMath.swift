import ApusIR
import ApusNumerics

/// Decoding and multiplication of small matrices in buffers of the machine.
package enum MatrixMath {
  private static let e4m3 = (0..<256).map { Float8E4M3(bitPattern: UInt8($0)).float }
  private static let e5m2 = (0..<256).map { Float8E5M2(bitPattern: UInt8($0)).float }

  /// Values of consecutive elements, `step` apart in the result.
  static func decode(
    _ source: UnsafePointer<UInt8>, _ count: Int, _ element: Op.MatrixElement,
    into target: UnsafeMutablePointer<Float>, step: Int
  ) {
    let raw = UnsafeRawPointer(source)
    switch element {
    case .f16:
      for index in 0..<count {
        target[index * step] = half(
          UInt32(raw.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self)))
      }
    case .bf16:
      for index in 0..<count {
        let bits = UInt32(raw.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self)) << 16
        target[index * step] = Float(bitPattern: bits)
      }
    case .tf32:
      for index in 0..<count {
        let bits = raw.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self) & ~0x1FFF
        target[index * step] = Float(bitPattern: bits)
      }
    case .e4m3, .e5m2:
      (element == .e4m3 ? e4m3 : e5m2).withUnsafeBufferPointer { table in
        for index in 0..<count { target[index * step] = table[Int(source[index])] }
      }
    }
  }

  /// Exact value of a binary16 pattern: its exponent and fraction as binary32, rescaled by the
  /// difference 127 − 15 of the biases, which also normalises subnormals.
  @inline(__always)
  package static func half(_ code: UInt32) -> Float {
    let magnitude = (code & 0x7FFF) << 13
    let scaled = (Float(bitPattern: magnitude) * 0x1p112).bitPattern
    let special = (code & 0x7C00) == 0x7C00 ? magnitude | 0x7F80_0000 : scaled
    return Float(bitPattern: special | (code & 0x8000) << 16)
  }

  /// d += a · b of binary32 sums: d 16 × n, a 16 × k, b k × n, by row; n a multiple of 8.
  static func multiply(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, into d: UnsafeMutablePointer<Float>,
    n: Int, k: Int
  ) {
    let bytes = UnsafeRawPointer(b)
    let out = UnsafeMutableRawPointer(d)
    var row = 0
    while row < 16 {
      let (a0, a1) = (a + row * k, a + (row + 1) * k)
      let (a2, a3) = (a + (row + 2) * k, a + (row + 3) * k)
      var column = 0
      while column < n {
        let start = 4 * (row * n + column)
        var d0 = out.load(fromByteOffset: start, as: SIMD8<Float>.self)
        var d1 = out.load(fromByteOffset: start + 4 * n, as: SIMD8<Float>.self)
        var d2 = out.load(fromByteOffset: start + 8 * n, as: SIMD8<Float>.self)
        var d3 = out.load(fromByteOffset: start + 12 * n, as: SIMD8<Float>.self)
        for inner in 0..<k {
          let x = bytes.load(fromByteOffset: 4 * (inner * n + column), as: SIMD8<Float>.self)
          d0 += x * a0[inner]
          d1 += x * a1[inner]
          d2 += x * a2[inner]
          d3 += x * a3[inner]
        }
        out.storeBytes(of: d0, toByteOffset: start, as: SIMD8<Float>.self)
        out.storeBytes(of: d1, toByteOffset: start + 4 * n, as: SIMD8<Float>.self)
        out.storeBytes(of: d2, toByteOffset: start + 8 * n, as: SIMD8<Float>.self)
        out.storeBytes(of: d3, toByteOffset: start + 12 * n, as: SIMD8<Float>.self)
        column += 8
      }
      row += 4
    }
  }
}

/// Buffers for the operands of one product: the largest is 256 × 32.
struct MatrixScratch {
  let a: UnsafeMutablePointer<Float>
  let b: UnsafeMutablePointer<Float>
  let d: UnsafeMutablePointer<Float>

  init() {
    func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
      UnsafeMutableRawPointer.allocate(byteCount: 4 * count, alignment: 64)
        .bindMemory(to: Float.self, capacity: count)
    }
    a = floats(16 * 32)
    b = floats(256 * 32)
    d = floats(16 * 256)
  }

  func deallocate() {
    for pointer in [a, b, d] { UnsafeMutableRawPointer(pointer).deallocate() }
  }
}

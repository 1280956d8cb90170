import ApusIR
import ApusNumerics

extension Machine {
  func execute(_ op: Op.Conversion, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    let (source, result) = (i.inputs[0].type, i.outputs[0].type)
    func value(_ lane: Int) -> Float { Float(bitPattern: warp.get32(i.inputs[0], lane)) }
    @inline(__always)
    func put(_ f: (Int) -> UInt64) -> Outcome {
      warp.forEachLane { warp.set(i.outputs[0], $0, f($0)) }
      return .next
    }
    switch op {
    case .integer:
      return put { lane in
        let bits = warp.get(i.inputs[0], lane)
        return source == .s32 ? UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: bits))) : bits
      }
    case .integerToFloat:
      return put { lane in
        let bits = warp.get(i.inputs[0], lane)
        let float: Float =
          switch source {
          case .s32: Float(Int32(truncatingIfNeeded: bits))
          case .s64: Float(Int64(bitPattern: bits))
          default: Float(bits)
          }
        return UInt64(float.bitPattern)
      }
    case .floatToInteger(let rounding):
      return put { lane in
        let x = value(lane)
        switch result {
        case .u32: return UInt64(FloatMath.toInteger(x, rounding) as UInt32)
        case .s32: return UInt64(UInt32(bitPattern: FloatMath.toInteger(x, rounding)))
        case .s64: return UInt64(bitPattern: FloatMath.toInteger(x, rounding))
        default: return FloatMath.toInteger(x, rounding)
        }
      }
    case .roundToInteger(let rounding):
      return put { UInt64(FloatMath.integral(value($0), rounding).bitPattern) }
    case .widen:
      let isBrain = source == .bf16
      return put { lane in
        let code = warp.get32(i.inputs[0], lane) & 0xFFFF
        return UInt64(isBrain ? code << 16 : MatrixMath.half(code).bitPattern)
      }
    case .narrow:
      let isBrain = result == .bf16
      return put { UInt64(FloatMath.narrow(value($0), isBrain: isBrain)) }
    case .narrowPair:
      let isBrain = result == .bf16x2
      return put { lane in
        let high = Float(bitPattern: warp.get32(i.inputs[1], lane))
        return UInt64(
          FloatMath.narrow(value(lane), isBrain: isBrain)
            | FloatMath.narrow(high, isBrain: isBrain) << 16)
      }
    case .narrowFP8(let format):
      return put { lane in
        let low: Float
        let high: Float
        if source == .f32 {
          low = value(lane)
          high = Float(bitPattern: warp.get32(i.inputs[1], lane))
        } else {
          let bits = warp.get32(i.inputs[0], lane)
          low = FloatMath.widen(bits, .f16)
          high = FloatMath.widen(bits >> 16, .f16)
        }
        return UInt64(encode(low, format)) | UInt64(encode(high, format)) << 8
      }
    case .widenFP8(let format):
      return put { lane in
        let codes = warp.get32(i.inputs[0], lane)
        return UInt64(decode(codes, format) | decode(codes >> 8, format) << 16)
      }
    case .tf32:
      return put { lane in
        let x = value(lane)
        // Half of the last kept bit added to the magnitude: ties away; a NaN must not carry out.
        if x.isNaN { return 0x7FFF_E000 }
        if x.isInfinite { return UInt64(x.bitPattern) }
        return UInt64((x.bitPattern &+ 0x1000) & ~0x1FFF)
      }
    }
  }

  private func encode(_ value: Float, _ format: Op.FP8Format) -> UInt8 {
    switch format {
    case .e4m3: Float8E4M3(value, overflow: .saturate).bitPattern
    case .e5m2: Float8E5M2(value, overflow: .saturate).bitPattern
    }
  }

  private func decode(_ code: UInt32, _ format: Op.FP8Format) -> UInt32 {
    let code = UInt8(truncatingIfNeeded: code)
    let value =
      switch format {
      case .e4m3: Float8E4M3(bitPattern: code).float
      case .e5m2: Float8E5M2(bitPattern: code).float
      }
    return FloatMath.narrow(Double(value), .f16)
  }
}

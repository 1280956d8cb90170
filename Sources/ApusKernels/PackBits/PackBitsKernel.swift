public import ApusCore
public import ApusDSL
public import ApusIR

/// Packs booleans into bits (`PackBitsArguments`): a thread makes one byte from eight flags, by one
/// load where they are aligned, and finds its segment by bisection.
public struct PackBitsKernel: ShippedKernel {
  /// Which bit of a byte is the first flag's.
  public let bitOrder: BitOrder

  static let threads = 256

  /// The configuration for a bit order.
  public init(bitOrder: BitOrder) { self.bitOrder = bitOrder }

  /// What it is for.
  public var family: KernelFamily { .packBits }

  /// `sm80_packbits_little`.
  public var symbol: String { "sm80_packbits_\(bitOrder)" }

  /// 256 threads.
  public var launch: LaunchBounds { LaunchBounds(threads: Self.threads) }

  /// Packs.
  public func body(_ block: Block) {
    block.startDependents()
    let flags = block.pointer("flags", to: U32.self, alignment: 1)
    let packed = block.pointer("packed", to: U8.self, alignment: 1)
    let elements = block.pointer("elementOffsets", to: U64.self, alignment: 8)
    let bytes = block.pointer("byteOffsets", to: U64.self, alignment: 8)
    let segments = block.parameter("segments", U32.self)
    let firstByte = block.parameter("firstByte", U64.self)
    let endByte = block.parameter("endByte", U64.self)
    let byte = firstByte + block.globalThreadIndex.converted(to: U64.self)

    block.when(byte < endByte) {
      block.phase("the last segment that starts at or before the byte")
      let low = block.variable(0, as: U32.self, "low")
      let high = block.variable(segments, "high")
      block.loop(while: { high.value - low.value > 1 }, form: .rolled) {
        let middle = (low.value + high.value) >> 1
        let isBefore = block.load(bytes[middle]) <= byte
        block.assign(low, select(isBefore, middle, low.value))
        block.assign(high, select(isBefore, high.value, middle))
      }
      let segment = low.value
      let index = (byte - block.load(bytes[segment])) << 3
      let start = block.load(elements[segment]) + index
      let end = block.load(elements[segment + 1])
      let source = flags.advanced(bytes: start)

      block.phase("eight flags")
      let result = block.variable(0, as: U32.self, "bits")
      let isWide = (start + 8 <= end) & ((source.address & 7) == 0)
      block.when(isWide) {
        let words = block.load(source, count: 2)
        block.assign(result, gather(words[0]) | (gather(words[1]) << 4))
      } otherwise: {
        for bit in 0..<8 {
          block.when(start + bit < end) {
            let flag = block.load(source.cast(to: U8.self)[bit]).word
            let zero = block.constant(0, as: U32.self)
            let mask = block.constant(1 << bit, as: U32.self)
            block.assign(result, result.value | select(flag != 0, mask, zero))
          }
        }
      }
      let bits = bitOrder == .little ? result.value : result.value.bitsReversed >> 24
      block.store(bits.byte, to: packed[byte])
    }
  }

  /// Bit i: whether byte i of a word is not 0.
  private func gather(_ word: Value<U32>) -> Value<U32> {
    // The sum carries into a byte's top bit unless its low bits are 0; no carry leaves the byte.
    let top = (((word & 0x7F7F_7F7F) + 0x7F7F_7F7F) | word) & 0x8080_8080
    // Bits 0, 8, 16, 24 meet at 24…27; all other products lie elsewhere, each alone.
    return ((top >> 7) * 0x0102_0408) >> 24 & 0xF
  }
}

extension PackBitsKernel {
  /// The launches of validated arguments; none without bytes.
  ///
  /// - Parameter target: the GPU; from sm_90a on, launches overlap their predecessors.
  public static func launches(for arguments: PackBitsArguments, target: Target) -> LaunchPlan {
    let offsets = PackBitsArguments.byteIndptr(arguments.indptr)
    guard offsets.end > 0 else { return LaunchPlan() }
    var plan = LaunchPlan()
    let elements = plan.place(arguments.indptr.offsets.map { UInt64($0) })
    let bytes = plan.place(offsets.offsets.map { UInt64($0) })
    let step = 1 << 31
    for first in stride(from: 0, to: offsets.end, by: step) {
      let count = min(step, offsets.end - first)
      plan.launches.append(
        KernelLaunch(
          PackBitsKernel(bitOrder: arguments.bitOrder),
          grid: LaunchGrid((count + threads - 1) / threads),
          values: [
            .pointer(arguments.flags.launchAddress), .pointer(arguments.packed.launchAddress),
            elements, bytes, .u32(UInt32(arguments.indptr.batch)), .u64(UInt64(first)),
            .u64(UInt64(first + count)),
          ], overlapsPredecessor: target >= .sm90a))
    }
    return plan
  }
}

public import ApusDSL
public import ApusIR

/// Reads `reads` arrays and writes one, or none: what memory gives a kernel that does nothing else.
/// Bandwidth figures of other kernels are compared with the one of their read-to-write ratio.
///
/// Everything read enters a sum of words, so that nothing is optimised away; with an output each word
/// written is the sum of those read at its place, without one a block adds its sum to `total`.
public struct StreamKernel: ShippedKernel {
  /// Arrays read: 1 or more.
  public let reads: Int
  /// Whether an array is written.
  public let writes: Bool
  /// 16-byte accesses that a thread has in flight for each array.
  public let depth: Int

  static let threads = 256

  /// A configuration; few arrays get more accesses each, so that each thread has at least four in
  /// flight.
  public init(reads: Int, writes: Bool, depth: Int? = nil) {
    self.reads = reads
    self.writes = writes
    self.depth = depth ?? max(1, 8 / max(1, reads))
  }

  /// What it is for.
  public var family: KernelFamily { .stream }

  /// `sm80_stream_r2w1_d4`.
  public var symbol: String { "sm80_stream_r\(reads)w\(writes ? 1 : 0)_d\(depth)" }

  /// 256 threads.
  public var launch: LaunchBounds { LaunchBounds(threads: Self.threads) }

  /// Streams.
  public func body(_ block: Block) {
    let inputs = (0..<reads).map { block.pointer("input\($0)", to: U32.self) }
    let output = block.pointer("output", to: U32.self)
    let accesses = block.parameter("accesses", U64.self)
    let own = block.variable(0, as: U32.self, "sum")
    let start = block.blockIndex().multipliedWide(by: Self.threads * depth)
    let first = start + block.threadIndex.converted(to: U64.self)
    let step = block.gridSize().multipliedWide(by: Self.threads * depth)
    block.loop(from: first, to: accesses, step: step, form: .rolled) { index in
      let places = (0..<depth).map { index + $0 * Self.threads }
      let words = places.map { place in
        inputs.flatMap { input -> [Value<U32>] in
          // Accesses behind the end repeat the last one and count for nothing.
          let safe = min(place, accesses - 1)
          return block.loadWords(
            input.advanced(bytes: safe * 16), bytes: 16, .streamed)
        }
      }
      for (place, words) in zip(places, words) {
        let sums = (0..<4).map { lane in
          stride(from: lane + 4, to: words.count, by: 4).reduce(words[lane]) { $0 + words[$1] }
        }
        block.when(place < accesses) {
          if writes {
            block.store(sums, to: output.advanced(bytes: place * 16))
          } else {
            block.assign(own, own.value + sums.dropFirst().reduce(sums[0]) { $0 + $1 })
          }
        }
      }
    }
    if !writes {
      let total = block.warpSum(own.value)
      block.when(block.laneIndex == 0) { block.reduce(.add, into: output, total) }
    }
  }
}

extension StreamKernel {
  /// One launch over arrays of `byteCount` bytes, a multiple of 16, all 16-byte aligned.
  ///
  /// - Parameters:
  ///   - output: the array written, or the u32 that receives the sum of all words: the caller sets it
  ///     to 0 before.
  ///   - multiprocessorCount: for the grid: eight blocks each.
  public func launch(
    inputs: [UInt64], output: UInt64, byteCount: Int, multiprocessorCount: Int
  ) -> KernelLaunch {
    let perBlock = 16 * Self.threads * depth
    let blocks = (byteCount + perBlock - 1) / perBlock
    return KernelLaunch(
      self, grid: LaunchGrid(writes ? blocks : min(blocks, 8 * multiprocessorCount)),
      values: inputs.prefix(reads).map(LaunchValue.pointer) + [
        .pointer(output), .u64(UInt64(byteCount / 16)),
      ])
  }
}

import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusReference
import ApusSimulator
import ApusTestSupport
import Foundation
import Testing

/// The dense prefill on the simulator: every structure at shapes that touch its edges.
@Suite struct PrefillKernelTests {
  /// Runs a case and compares it with the definition.
  ///
  /// - Returns: warp instructions executed.
  @discardableResult
  func check(
    _ c: PrefillCase, sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) throws -> Int {
    let expected = try c.expectation()
    let found = try c.simulate()
    let name =
      "\(c.configuration) qo \(c.qoLength) kv \(c.kvLength) batch \(c.batch) heads "
      + "\(c.qoHeads)/\(c.kvHeads) seed \(c.seed)"
    #expect(found.errors == [], "\(name)", sourceLocation: sourceLocation)
    #expect(
      c.deviations(of: found, from: expected) == [], "\(name)", sourceLocation: sourceLocation)
    return found.instructionCount
  }

  // MARK: - Lengths

  @Test(arguments: [1, 63, 64, 65, 127, 128, 129, 200])
  func `any number of queries`(_ length: Int) throws {
    for isCausal in [false, true] {
      try check(
        PrefillCase(
          configuration: DensePrefillConfiguration(
            .bf16, headDim: 64, isCausal: isCausal, tileKV: 64),
          qoLength: length, kvLength: 70, seed: UInt64(length)))
    }
  }

  @Test(arguments: [1, 2, 31, 63, 64, 65, 127, 128, 129, 193])
  func `any number of keys`(_ length: Int) throws {
    for isCausal in [false, true] {
      try check(
        PrefillCase(
          configuration: DensePrefillConfiguration(
            .bf16, headDim: 64, isCausal: isCausal, tileQ: 64, tileKV: 64),
          qoLength: 40, kvLength: length, seed: UInt64(length)))
    }
  }

  @Test(arguments: [1, 2, 3])
  func `more tiles than blocks, GQA, several requests`(_ seed: UInt64) throws {
    for (isCausal, cluster) in [(false, 1), (true, 1), (true, 2)] {
      try check(
        PrefillCase(
          configuration: DensePrefillConfiguration(
            .bf16, headDim: 64, isCausal: isCausal, tileQ: 64, tileKV: 32, clusterSize: cluster),
          qoLength: 150, kvLength: 161, batch: 2, qoHeads: 4, kvHeads: 2,
          isRagged: seed % 2 == 0, multiprocessors: 2 * cluster, seed: seed))
    }
  }

  @Test func `rows without keys are 0 with an lse of the convention's empty value`() throws {
    for convention in [LSEConvention.base2, .natural, .flashMLA] {
      try check(
        PrefillCase(
          configuration: DensePrefillConfiguration(
            .bf16, headDim: 64, isCausal: true, tileQ: 64, tileKV: 32),
          qoLength: 130, kvLength: 35, convention: convention))
    }
  }

  // MARK: - Variants

  static let variants: [DensePrefillConfiguration] = [
    .init(.bf16, headDim: 128),
    .init(.bf16, headDim: 128, isCausal: true),
    .init(.f16, headDim: 128, clusterSize: 2),
    .init(.bf16, headDim: 128, isCausal: true, clusterSize: 2),
    .init(.bf16, headDim: 128, queriesInRegisters: false, pingPong: true, lazyRescale: false),
    .init(.bf16, headDim: 128, isCausal: true, pingPong: true, pinnedSoftmax: .weights),
    .init(.bf16, headDim: 128, tileKV: 176, queriesInRegisters: false, output: .direct),
    .init(.bf16, headDim: 128, stages: 3, output: .direct, schedule: .fixed),
    .init(.f16, headDim: 64, isCausal: true, clusterSize: 2, schedule: .fixed),
    .init(
      .bf16, headDim: 64, isCausal: true, writesLSE: false, tileQ: 192, queriesInRegisters: false,
      pingPong: true, overlapsPredecessor: true),
    .init(.bf16, headDim: 64, tileKV: 48, stages: 5, clusterSize: 2, pingPong: true),
  ]

  @Test(arguments: variants.indices)
  func `every variant computes the same attention`(_ index: Int) throws {
    let configuration = Self.variants[index]
    let rows = configuration.tileQ * configuration.clusterSize
    try check(
      PrefillCase(
        configuration: configuration, qoLength: rows + 17, kvLength: 2 * configuration.tileKV + 9,
        qoHeads: 2, layout: index % 2 == 0 ? .nhd : .hnd, isRagged: index % 3 == 0,
        multiprocessors: configuration.clusterSize, seed: UInt64(index + 1)))
  }

  @Test(arguments: [
    DensePrefillConfiguration(.bf16, headDim: 128, isCausal: true, clusterSize: 2),
    DensePrefillConfiguration(.f16, headDim: 64, writesLSE: false, pingPong: true),
  ])
  func `the kernel's own sample is right, and its check finds a wrong element`(
    _ configuration: DensePrefillConfiguration
  ) throws {
    let sample = PrefillKernel(configuration).sample(seed: 3)
    var memory = GlobalMemory()
    let addresses = sample.buffers.map {
      memory.bind($0.name, bytes: $0.bytes, isWritable: $0.isWritable, isWritten: $0.isWritten)
    }
    for launch in sample.launches(addresses) {
      let report = Simulator(try launch.kernel.build()).run(
        grid: GridSize(launch.grid.x), arguments: launch.values.map(\.simulated), memory: &memory)
      #expect(report.errors == [])
    }
    var contents = addresses.map { memory.elements(at: $0, as: UInt8.self) }
    #expect(sample.check(contents) == [])
    contents[3][1] ^= 0x80
    #expect(sample.check(contents).count == 1)
  }

  // MARK: - Values

  /// Scores grow by far more than 2^8 from the last key tile, which comes first, to the first one;
  /// falling ones leave the output alone, which the lazy form notices and skips.
  @Test(arguments: [true, false])
  func `growing maxima rescale what was summed before`(_ isLazy: Bool) throws {
    for isCausal in [false, true] {
      let counts = try [true, false].map { isGrowing in
        try check(
          PrefillCase(
            configuration: DensePrefillConfiguration(
              .bf16, headDim: 64, isCausal: isCausal, tileQ: 64, tileKV: 32, lazyRescale: isLazy),
            qoLength: 60, kvLength: 190, scale: 1,
            values: { operand, row, _, column, value in
              switch operand {
              case .q: column == 0 ? 4 : value / 8
              // From one key tile to the next the maximum moves by 64, 92 in powers of 2.
              case .k: column == 0 ? Float(isGrowing ? 190 - row : row) / 2 : value
              case .v: value
              }
            }))
      }
      // 6 key tiles: each of 4 warps rescales 64 / 2 registers behind 5 of them, or never.
      let difference = counts[0] - counts[1]
      if isLazy {
        #expect(difference >= 5 * 4 * 32)
      } else {
        #expect(difference == 0)
      }
    }
  }

  /// Only the rows of the second half of a warpgroup grow: the lazy branch is one for a warp.
  @Test func `rows with growing maxima leave their neighbours as they are`() throws {
    try check(
      PrefillCase(
        configuration: DensePrefillConfiguration(.bf16, headDim: 64, tileQ: 64, tileKV: 32),
        qoLength: 64, kvLength: 96, scale: 1,
        values: { operand, row, _, column, value in
          switch operand {
          case .q: column == 0 ? (row % 16 == 3 ? 8 : 0) : value / 8
          case .k: column == 0 ? Float(96 - row) / 4 : value
          case .v: value
          }
        }))
  }

  @Test func `NaN and infinities of used inputs reach exactly the rows that use them`() throws {
    for isCausal in [false, true] {
      try check(
        PrefillCase(
          configuration: DensePrefillConfiguration(
            .bf16, headDim: 64, isCausal: isCausal, tileQ: 64, tileKV: 32),
          qoLength: 64, kvLength: 100, qoHeads: 2, kvHeads: 1,
          values: { operand, row, head, column, value in
            switch (operand, row, head, column) {
            case (.q, 5, 0, 3): .nan
            case (.q, 9, 1, 0): .infinity
            // The last key: under the causal mask only the last row sees it.
            case (.k, 99, 0, 7): .nan
            default: value
            }
          }))
    }
  }

  @Test(arguments: [1, 2], DensePrefillConfiguration.Output.allCases)
  func `NaN and infinities of values reach the rows that see them and no others`(
    _ cluster: Int, _ output: DensePrefillConfiguration.Output
  ) throws {
    for headDim in [64, 128] {
      try check(
        PrefillCase(
          configuration: DensePrefillConfiguration(
            headDim == 64 ? .bf16 : .f16, headDim: headDim, isCausal: true, tileQ: 64, tileKV: 32,
            clusterSize: cluster, output: output),
          qoLength: 100, kvLength: 91, qoHeads: 2, kvHeads: 1,
          values: { operand, row, head, column, value in
            switch (operand, row, head, column) {
            // Rows 0…8 see nothing; keys 5 and 40 hide from the first rows of their tiles.
            case (.v, 5, 0, 3): .nan
            case (.v, 40, 0, 20): .infinity
            case (.v, 90, 0, 1): -.infinity
            case (.q, 30, 1, 7): .nan
            default: value
            }
          }, seed: UInt64(cluster)))
    }
  }

  @Test func `an infinite value is stored as the largest finite one`() throws {
    for element in [ElementType.bf16, .f16] {
      for output in DensePrefillConfiguration.Output.allCases {
        try check(
          PrefillCase(
            configuration: DensePrefillConfiguration(
              element, headDim: 64, tileQ: 64, tileKV: 32, output: output),
            qoLength: 20, kvLength: 40,
            values: { operand, row, _, column, value in
              operand == .v && row == 7 && column % 9 == 2
                ? (column % 2 == 0 ? .infinity : -.infinity) : value
            }))
      }
    }
  }

  @Test func `scores of −∞ have no weight, and rows of them alone are empty`() throws {
    try check(
      PrefillCase(
        configuration: DensePrefillConfiguration(.bf16, headDim: 64, tileQ: 64, tileKV: 32),
        qoLength: 20, kvLength: 70, qoHeads: 2, kvHeads: 2,
        values: { operand, row, head, column, value in
          switch operand {
          case .q: column == 0 ? 1 : value
          // Every third key of head 0, every key of head 1.
          case .k: column == 0 && (head == 1 || row % 3 == 0) ? -.infinity : value
          case .v: value
          }
        }))
  }
}

import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import Testing

@MainActor @Suite struct AppendKernelTests {
  @Test(arguments: AppendTestCase.Cache.allCases)
  func `every cache, layout and list form stores the definition's bytes`(
    _ cache: AppendTestCase.Cache
  ) throws {
    for layout in KVLayout.allCases {
      for lists in AppendTestCase.Lists.allCases {
        let c = AppendTestCase(
          cache: cache, lists: lists, layout: layout, dimK: 48,
          dimV: cache == .combined ? 48 : 16, isPadded: layout == .hnd, seed: 3)
        _ = try c.check()
      }
    }
  }

  @Test(arguments: AppendTestCase.Scaling.allCases)
  func `every scale of every part stores the definition's bytes`(
    _ scaling: AppendTestCase.Scaling
  ) throws {
    for cache in [AppendTestCase.Cache.separate, .latent] {
      for values in AppendTestCase.Scaling.allCases {
        // A latent's dynamic scale covers both parts.
        if cache == .latent && (values == .dynamic || scaling == .dynamic && values != .one) {
          continue
        }
        var c = AppendTestCase(
          cache: cache, stored: cache == .separate ? .e4m3 : .bf16, dimK: 40, dimV: 24,
          lengths: [3, 4], appended: [3, 2], seed: 8)
        c.keyScaling = scaling
        c.valueScaling = values
        _ = try c.check()
      }
    }
  }

  @Test(arguments: ElementType.allCases)
  func `every type is stored as every type`(_ source: ElementType) throws {
    // Each pair of types meets every scaling, and by turns both targets and widths.
    for (index, stored) in ElementType.allCases.enumerated() {
      for (turn, scaling) in [AppendTestCase.Scaling.one, .tensor, .dynamic].enumerated() {
        let isPadded = (index + turn) % 2 == 0
        var c = AppendTestCase(
          source: source, stored: stored, heads: 1, dimK: isPadded ? 33 : 64, dimV: 32,
          lengths: [4], appended: [4], isPadded: isPadded, seed: 21)
        c.keyScaling = scaling
        c.valueScaling = scaling
        _ = try c.check(target: (index + turn) % 4 < 2 ? .sm80 : .sm90a)
      }
    }
  }

  @Test(arguments: [1, 2, 7, 8, 9, 64, 128, 192, 256, 512, 576])
  func `every width is stored completely`(_ width: Int) throws {
    for source in [ElementType.bf16, .f32] {
      var c = AppendTestCase(
        source: source, stored: .e4m3, heads: 1, dimK: width, dimV: 64, lengths: [3],
        appended: [3], seed: UInt64(width))
      c.keyScaling = source == .f32 ? .one : .dynamic
      _ = try c.check()
    }
    // A latent without kpe.
    _ = try AppendTestCase(
      cache: .latent, heads: 1, dimK: width, dimV: 0, lengths: [2], appended: [2]
    ).check()
  }

  @Test func `page sizes and empty appends are handled`() throws {
    for pageSize in [1, 3, 16, 64] {
      _ = try AppendTestCase(pageSize: pageSize, lengths: [70, 1], appended: [17, 1]).check()
    }
    var empty = AppendTestCase(lengths: [3, 0], appended: [0, 0])
    #expect(try empty.check().launches.isEmpty)
    empty.appended = [1, 0]
    #expect(try empty.check().launches.count == 1)
  }

  @Test func `one small launch appends a token to each of 128 requests`() throws {
    let c = AppendTestCase(
      heads: 8, dimK: 128, dimV: 128, pageSize: 2,
      lengths: [Int](repeating: 3, count: 128), appended: [Int](repeating: 1, count: 128))
    let plan = try c.plan()
    #expect(
      plan.launches.map(\.kernel.symbol) == ["sm80_append_bf16_bf16_copy_copy_resolved_v8_l8_r2x2"])
    #expect(plan.launches.map(\.grid) == [LaunchGrid(64)])
    #expect(plan.metadata.count == 8 * 128)
  }
}

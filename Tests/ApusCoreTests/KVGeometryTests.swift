import ApusCore
import ApusTestSupport
import Testing

@Suite struct KVGeometryTests {
  @Test func `batch and lengths of every kind`() {
    let geometries: [KVGeometry] = [
      .ragged(RaggedIndptr([0, 4, 9])), .padded(maxLength: 6, lengths: [4, 5]),
      .paged(.sample),
    ]
    withEvery("geometry", in: geometries) { geometry in
      expectEqual(geometry.batch, 2)
      expectEqual((0..<2).map(geometry.length), [4, 5])
      expectEqual(verdict { $0.requireGeometry(geometry) }, [])
    }
    #expect(
      geometries.map(\.description) == [
        "ragged(batch 2, 9 tokens)", "padded(batch 2, max 6)", "pages(size 4, batch 2, 3 indices)",
      ])
  }

  @Test func `outer shapes follow the layout`() {
    func outer(_ geometry: KVGeometry) -> [[Int?]] {
      KVLayout.allCases.map { geometry.outerShape(layout: $0, heads: 2) }
    }
    #expect(outer(.ragged(RaggedIndptr([0, 9]))) == [[nil, 2], [2, nil]])
    #expect(outer(.padded(maxLength: 6, lengths: [4])) == [[1, 6, 2], [1, 2, 6]])
    #expect(outer(.paged(.sample)) == [[nil, 4, 2], [nil, 2, 4]])
  }

  @Test func `a left-out head dimension is inserted where the layout wants it`() {
    let view = TensorView.sample(.bf16, [3, 4, 64])
    func inserted(_ layout: KVLayout, heads: Int = 1, _ view: TensorView) -> TensorView {
      KVGeometry.paged(.sample).insertingHead(view, layout: layout, heads: heads)
    }
    #expect(inserted(.nhd, view).shape == [3, 4, 1, 64])
    #expect(inserted(.nhd, view).strides == [256, 64, 0, 1])
    #expect(inserted(.hnd, view).shape == [3, 1, 4, 64])
    #expect(inserted(.hnd, view).strides == [256, 0, 64, 1])
    #expect(inserted(.nhd, heads: 2, view) == view)
    for odd in [
      TensorView.sample(.bf16, []), .sample(.bf16, [3, 4, 1, 64]),
      .sample(.bf16, [3, 4, 64], strides: [1]),
    ] {
      #expect(inserted(.hnd, odd) == odd)
    }
    let ragged = KVGeometry.ragged(RaggedIndptr([0, 3])).insertingHead(
      .sample(.bf16, [3, 64]), layout: .hnd, heads: 1)
    #expect(ragged.shape == [1, 3, 64])
  }

  @Test func `each rule has its message`() {
    #expect(
      verdict { $0.requireGeometry(.ragged(RaggedIndptr([3, 1]))) } == [
        "kvIndptr must not decrease; found 3 then 1 at index 1."
      ])
    for bad in [Int.min, -1, 1 << 31, .max] {
      #expect(
        verdict { $0.requireGeometry(.padded(maxLength: bad, lengths: [.max])) } == [
          "maxLength must be in 0…2147483647; found \(bad)."
        ])
    }
    for bad in [Int.min, -1, 7, .max] {
      #expect(
        verdict { $0.requireGeometry(.padded(maxLength: 6, lengths: [6, bad])) } == [
          "kv lengths must be in 0…6 (maxLength); found \(bad) at request 1."
        ])
    }
    #expect(
      verdict {
        $0.requireGeometry(
          .paged(PageTable(pageSize: 0, blocks: [], pagesPerRequest: 0, lengths: [])))
      } == ["pageSize must be at least 1; found 0."])
  }
}

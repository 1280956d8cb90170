import ApusCore
import ApusTestSupport
import Testing

@testable import ApusCPU

struct KeyOrderTests {
  static let counts = [0, 1, 3, 4, 5, 31, 32, 33, 63, 255, 256]

  @Test func `every key is read once, one of each part in turn, and the rest at the end`() {
    for lanes in [1, 4] {
      for count in Self.counts {
        let order = KeyOrder(100..<100 + count, lanes: lanes)
        let places = (0..<count).map { order.index(at: $0) }
        #expect(places.sorted() == Array(0..<count))
        for lane in 0..<lanes {
          let part = stride(from: lane, to: lanes * order.length, by: lanes).map {
            100 + places[$0]
          }
          #expect(part == Array(order.keys(lane: lane)))
        }
        #expect(Array(places.dropFirst(lanes * order.length)) == order.rest.map { $0 - 100 })
      }
    }
  }

  @Test func `sorted values are in the order of keys, and shuffle undoes it`() {
    for lanes in [1, 4] {
      for count in Self.counts {
        let order = KeyOrder(7..<7 + count, lanes: lanes)
        let read = (0..<count).map { Float(order.index(at: $0)) }
        var values = read
        var buffer = [Float](repeating: -1, count: count)
        values.withUnsafeMutableBufferPointer { values in
          buffer.withUnsafeMutableBufferPointer { buffer in
            guard let values = values.baseAddress, let buffer = buffer.baseAddress else { return }
            order.sort(values, buffer)
          }
        }
        #expect(values == (0..<count).map(Float.init))
        values.withUnsafeMutableBufferPointer { values in
          buffer.withUnsafeMutableBufferPointer { buffer in
            guard let values = values.baseAddress, let buffer = buffer.baseAddress else { return }
            order.shuffle(values, buffer)
          }
        }
        #expect(values == read)
      }
    }
  }

  @Test func `pages in both forms lie at the same places`() {
    let compressed = PageTable(
      pageSize: 4, indptr: RaggedIndptr([0, 3, 5]), indices: [7, 2, 9, 4, 0],
      lastPageLength: [2, 4])
    let dense = PageTable(
      pageSize: 4, blocks: [7, 2, 9, 4, 0, -1], pagesPerRequest: 3, lengths: [10, 8])
    for request in 0..<2 {
      for key in 0..<[10, 8][request] {
        let places = [compressed, dense].map { table in
          let map = KeyMap(.paged(table))
          return Int(map.pages[map.starts[request] + key / map.pageSize]) * 4 + key % 4
        }
        let page = compressed.page(request, key / 4)
        #expect(places == [page * 4 + key % 4, page * 4 + key % 4])
      }
    }
  }
}

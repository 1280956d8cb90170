import ApusCore
import ApusTestSupport
import Testing

@Suite struct TensorViewTests {
  @Test func `dense strides are row major and saturate`() {
    #expect(TensorView.denseStrides([]) == [])
    #expect(TensorView.denseStrides([5]) == [1])
    #expect(TensorView.denseStrides([2, 3, 4]) == [12, 4, 1])
    #expect(TensorView.denseStrides([2, 0, 4]) == [4, 4, 1])
    #expect(TensorView.denseStrides([2, -3, 4]) == [4, 4, 1])
    #expect(TensorView.denseStrides([2, .max, .max, 2]) == [.max, .max, 2, 1])
    #expect(TensorView.denseStrides([.min, .min]) == [1, 1])
  }

  @Test func `element count is the product, nil when it overflows or an extent is negative`() {
    func count(_ shape: [Int]) -> Int? { TensorView.sample(.u8, shape).elementCount }
    #expect(count([]) == 1)
    #expect(count([2, 3, 4]) == 24)
    #expect(count([.max]) == .max)
    #expect(count([.max, 2]) == nil)
    #expect(count([-1]) == nil)
    // A zero extent empties the tensor whatever the others are, unless one is negative.
    #expect(count([0, .max, .max]) == 0)
    #expect(count([.max, .max, 0]) == 0)
    #expect(count([0, -1]) == nil)
    #expect(count([-1, 0]) == nil)
    #expect(count([.max, .max, 0, -1]) == nil)
  }

  @Test func `required bytes reach the end of the last element`() {
    func bytes(_ type: ScalarType, _ shape: [Int], _ strides: [Int]) -> Int? {
      TensorView.sample(type, shape, strides: strides).requiredByteCount
    }
    #expect(bytes(.bf16, [], []) == 2)
    #expect(bytes(.f32, [2, 3], [3, 1]) == 24)
    #expect(bytes(.f32, [2, 3], [10, 1]) == 52)
    #expect(bytes(.f32, [4, 3], [0, 1]) == 12)
    #expect(bytes(.u8, [1, 1], [.max, .max]) == 1)
    #expect(bytes(.f32, [0, .max], [.max, .max]) == 0)
    #expect(bytes(.u8, [.max], [1]) == .max)
    #expect(bytes(.f16, [.max], [1]) == nil)
    #expect(bytes(.u8, [3], [.max]) == nil)
    #expect(bytes(.u8, [2, 2], [.max, 1]) == nil)
    #expect(bytes(.u8, [2], [.max]) == nil)
    #expect(bytes(.u8, [2], [-1]) == nil)
    #expect(bytes(.u8, [-1], [1]) == nil)
    #expect(bytes(.u8, [2, 2], [1]) == nil)
  }

  @Test func `selecting drops the axis and keeps every element in place`() {
    let view = TensorView.sample(.f16, [3, 2, 4], strides: [20, 8, 1], byteCount: 200)
    withEvery("index", in: 0..<2) { index in
      let row = view.selecting(index, axis: 1)
      expectEqual(row.shape, [3, 4])
      expectEqual(row.strides, [20, 1])
      expectEqual(row.byteCount, 200 - 16 * index)
      expectEqual(row.address, view.address + UInt(2 * view.offset([0, index, 0])))
      for (i, j) in [(0, 0), (2, 3)] {
        expectEqual(
          row.address + UInt(2 * row.offset([i, j])),
          view.address + UInt(2 * view.offset([i, index, j])))
      }
      expect(row.staysInside)
    }
  }

  @Test func `parts of empty tensors with hostile strides do not trap`() {
    let view = TensorView.sample(.f32, [0, 2, 4], strides: [.max, .max, 1])
    #expect(view.selecting(1, axis: 1).address == view.address)
    let narrow = TensorView.sample(.f32, [2, 1], strides: [1, .max])
    #expect(narrow.narrowingLast(1..<1).address == narrow.address)
    #expect(narrow.narrowingLast(0..<1) == narrow)
  }

  @Test func `permuted reorders shape and strides`() {
    let view = TensorView.sample(.u8, [2, 3, 4]).permuted([2, 0, 1])
    #expect(view.shape == [4, 2, 3])
    #expect(view.strides == [1, 12, 4])
    #expect(view.byteCount == 24)
  }

  @Test func `views of buffers are dense and point at them`() {
    var bytes = [UInt8](repeating: 7, count: 24)
    bytes.withUnsafeMutableBytes { buffer in
      let view = TensorView(buffer, .f32, shape: [2, 3])
      #expect(view.strides == [3, 1])
      #expect(view.byteCount == 24)
      #expect(view.mutableHostPointer == buffer.baseAddress)
      #expect(TensorView(reading: UnsafeRawBufferPointer(buffer), .f32, shape: [2, 3]) == view)
    }
    let empty = TensorView(UnsafeMutableRawBufferPointer(start: nil, count: 0), .u8, shape: [0])
    #expect(empty.address == 0)
    #expect(empty.hostPointer == nil)
    #expect(TensorView.sample(.u8, [1], memory: .cuda(device: 0)).hostPointer == nil)
    #expect(TensorView.sample(.u8, [1], memory: .cuda(device: 0)).mutableHostPointer == nil)
  }

  @Test func `description names type, shape, strides unless dense, and place`() {
    #expect("\(TensorView.sample(.bf16, [16, 32, 128]))" == "bf16[16, 32, 128] host")
    #expect(
      "\(TensorView.sample(.i64, [2, 3], strides: [1, 2], memory: .cuda(device: 1)))"
        == "i64[2, 3] strides [1, 2] cuda:1")
    #expect(
      "\(TensorView.sample(.u8, [.min, .max], strides: []))"
        == "u8[-9223372036854775808, 9223372036854775807] strides [] host")
  }
}

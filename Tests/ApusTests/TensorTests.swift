import Apus
import ApusTestSupport
import Testing

@Suite struct TensorTests {
  @Test func `values survive storage in a type that holds them`() throws {
    let values: [Float] = [0, 1, -2, 0.5, 448, -0.125]
    for type in ElementType.allCases {
      let tensor = try Tensor(values, type, shape: [2, 3])
      #expect(tensor.values == values)
      #expect(tensor.shape == [2, 3])
      #expect(tensor.byteCount == 6 * type.byteCount)
    }
  }

  @Test func `narrow types saturate and f32 keeps infinity`() throws {
    let values: [Float] = [.infinity, -1e30, 1e6]
    #expect(try Tensor(values, .e4m3, shape: [3]).values == [448, -448, 448])
    #expect(try Tensor(values, .f16, shape: [3]).values == [65504, -65504, 65504])
    #expect(try Tensor(values, .f32, shape: [3]).values == values)
  }

  @Test func `a wrong number of values is refused`() {
    let error = #expect(throws: ApusError.self) { _ = try Tensor([1, 2], .f32, shape: [3]) }
    #expect(
      error?.description
        == "Tensor.init: values must fill the shape [3]; found 2 values for 3 elements.")
  }

  @Test func `negative and overflowing shapes are refused`() {
    for shape in [[-1], [Int.max, 2], [1 << 40, 1 << 40]] {
      let error = #expect(throws: ApusError.self) { _ = try Tensor(zeros: .f32, shape: shape) }
      #expect(
        error?.description
          == "Tensor.init: shape must be non-negative and fit 63 bits of bytes; found \(shape).")
    }
  }

  @Test func `memory that is not to be had is an error and no crash`() {
    let error = #expect(throws: ApusError.self) {
      _ = try Tensor(zeros: .f32, shape: [1 << 58])
    }
    guard case .environment = error else {
      Issue.record("found \(String(describing: error))")
      return
    }
  }

  @Test func `empty tensors have no elements`() throws {
    let tensor = try Tensor(zeros: .bf16, shape: [0, 4])
    #expect(tensor.count == 0)
    #expect(tensor.values.isEmpty)
  }

  @Test func `conversion rounds to nearest even`() throws {
    let tensor = try Tensor([1.0009765625, 1.00048828125], .f32, shape: [2])
    #expect(try tensor.converted(to: .f16).values == [1.0009765625, 1])
  }
}

import ApusCore
import Testing

@Suite struct TensorViewValidationTests {
  private func complaint(
    _ view: TensorView, _ allowed: [ScalarType] = [.f16, .bf16], shape: [Int?] = [nil, 4],
    isOutput: Bool = false, innermostContiguous: Bool = true
  ) -> [String] {
    verdict {
      $0.requireTensor(
        "o", view, allowed, shape: shape, isOutput: isOutput,
        innermostContiguous: innermostContiguous)
    }
  }

  @Test func `valid tensors pass`() {
    #expect(complaint(.sample(.f16, [3, 4]), isOutput: true) == [])
    #expect(complaint(.sample(.f16, [3, 4], strides: [0, 1])) == [])
    #expect(complaint(.sample(.f16, [1, 4], strides: [0, 1]), isOutput: true) == [])
    #expect(complaint(.sample(.f16, [0, 4], address: 0), isOutput: true) == [])
    #expect(complaint(.sample(.bf16, [3, 1], strides: [1, 9]), shape: [3, 1]) == [])
    #expect(
      complaint(
        .sample(.f16, [4, 4], strides: [1, 4]), isOutput: true, innermostContiguous: false)
        == [])
  }

  @Test func `strides and extents are bounded without elements too`() {
    let huge = Int.max / 2 + 1
    for (shape, strides) in [
      ([0, 4], [huge, 1]), ([1, 4], [huge, 1]), ([1, 4], [.max, 1]), ([.max, 0], [1, 1]),
    ] {
      #expect(
        complaint(.sample(.f16, shape, strides: strides), shape: [nil, nil]) == [
          "o must have a size that fits 63 bits; found shape \(shape), strides \(strides)."
        ])
    }
    #expect(complaint(.sample(.f16, [0, 4], strides: [huge - 1, 1])) == [])
  }

  @Test func `rows of no width have addresses that fit 63 bits`() {
    func complaintOfRows(_ strides: [Int]) -> [String] {
      complaint(.sample(.f16, [3, 2, 0], strides: strides), shape: [3, 2, 0])
    }
    // Two steps of a quarter of the address space, and one more byte, are too many.
    let quarter = Int.max / 4 + 1
    #expect(complaintOfRows([quarter / 2, 1, 1]) == [])
    for strides in [[quarter, 1, 1], [1, .max / 2, 1], [quarter / 2, quarter, 1]] {
      #expect(
        complaintOfRows(strides) == [
          "o must have a size that fits 63 bits; found shape [3, 2, 0], strides \(strides)."
        ])
    }
  }

  @Test func `each rule has its message`() {
    #expect(complaint(.sample(.f32, [3, 4])) == ["o must have type f16, bf16; found f32."])
    #expect(
      complaint(.sample(.f16, [3, 5])) == ["o must have shape [any, 4]; found [3, 5]."])
    #expect(complaint(.sample(.f16, [4])) == ["o must have shape [any, 4]; found [4]."])
    #expect(
      complaint(.sample(.f16, [3, 4], strides: [4])) == [
        "o must have one non-negative stride per dimension; found [4]."
      ])
    #expect(
      complaint(.sample(.f16, [3, 4], strides: [-4, 1], byteCount: 99)) == [
        "o must have one non-negative stride per dimension; found [-4, 1]."
      ])
    #expect(
      complaint(.sample(.f16, [3, 4], strides: [8, 2])) == [
        "o must be contiguous in its last dimension; found stride 2. "
          + "Copy it to a contiguous tensor first."
      ])
    #expect(
      complaint(.sample(.f16, [3, 4], byteCount: 23)) == [
        "o must fit its buffer; found 24 bytes needed of 23."
      ])
    #expect(
      complaint(.sample(.f16, [0, 4], byteCount: -1)) == [
        "o must fit its buffer; found 0 bytes needed of -1."
      ])
    #expect(
      complaint(.sample(.f16, [3, 4], address: 0)) == ["o must have an address; found null."])
    #expect(
      complaint(.sample(.f16, [3, 4], address: 4097)) == [
        "o must be aligned to its scalar (2 bytes); found address ending in 1."
      ])
    #expect(
      complaint(.sample(.f16, [3, 4], address: .max - 15)) == [
        "o must lie inside the address space; "
          + "found 24 bytes from address 18446744073709551600."
      ])
    #expect(
      complaint(.sample(.f16, [.max, 4], strides: [4, 1], byteCount: .max)) == [
        "o must have a size that fits 63 bits; "
          + "found shape [9223372036854775807, 4], strides [4, 1]."
      ])
  }

  @Test func `outputs whose elements overlap are refused`() {
    func overlap(_ shape: [Int], _ strides: [Int]) -> [String] {
      complaint(
        .sample(.f16, shape, strides: strides), shape: shape, isOutput: true,
        innermostContiguous: false)
    }
    #expect(
      overlap([3, 4], [0, 1]) == [
        "o is written and its elements must not overlap; found shape [3, 4], strides [0, 1]."
      ])
    #expect(
      overlap([3, 4], [3, 1]) == [
        "o is written and its elements must not overlap; found shape [3, 4], strides [3, 1]."
      ])
    #expect(overlap([3, 4, 5], [4, 1, 12]) == [])
    #expect(overlap([3, 1, 4], [4, 0, 1]) == [])
    #expect(overlap([3, 0, 4], [0, 0, 0]) == [])
  }

  @Test func `one error names every violation`() {
    #expect(
      complaint(.sample(.f32, [3, 5], strides: [0, 2], byteCount: 8, address: 2), isOutput: true)
        == [
          "o must have type f16, bf16; found f32.",
          "o must have shape [any, 4]; found [3, 5].",
          "o must be contiguous in its last dimension; found stride 2. "
            + "Copy it to a contiguous tensor first.",
          "o is written and its elements must not overlap; found shape [3, 5], strides [0, 2].",
          "o must fit its buffer; found 36 bytes needed of 8.",
          "o must be aligned to its scalar (4 bytes); found address ending in 2.",
        ])
    #expect(
      complaint(.sample(.i32, [-1, .max], strides: [.max, 1], byteCount: 0)) == [
        "o must have type f16, bf16; found i32.",
        "o must have shape [any, 4]; found [-1, 9223372036854775807].",
        "o must have a size that fits 63 bits; "
          + "found shape [-1, 9223372036854775807], strides [9223372036854775807, 1].",
      ])
  }
}

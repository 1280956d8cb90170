import ApusCore
import Testing

@Suite struct ScaleTests {
  private func complaint(_ scale: Scale, tokenShape: [Int?]? = [nil, 4, 2]) -> [String] {
    complaints { $0.requireScale("kScale", scale, headCount: 2, tokenShape: tokenShape) }
  }

  @Test func `valid scales of each granularity pass`() {
    for scale in [
      Scale.one, .tensor(0.5), .tensor(.leastNonzeroMagnitude), .head(.sample(.f32, [2])),
      .tokenHead(.sample(.f32, [7, 4, 2])),
      .tokenHead(.sample(.f32, [7, 4, 2], strides: [8, 1, 4])),
    ] {
      #expect(complaint(scale) == [])
    }
  }

  @Test func `each rule has its message`() {
    for (value, text) in [
      (Float.nan, "nan"), (.infinity, "inf"), (-.infinity, "-inf"), (0, "0.0"), (-1, "-1.0"),
    ] {
      #expect(complaint(.tensor(value)) == ["kScale must be finite and positive; found \(text)."])
    }
    #expect(
      complaint(.head(.sample(.f16, [3]))) == [
        "kScale must have type f32; found f16.", "kScale must have shape [2]; found [3].",
      ])
    #expect(
      complaint(.tokenHead(.sample(.f32, [7, 4]))) == [
        "kScale must have shape [any, 4, 2]; found [7, 4]."
      ])
    #expect(
      complaint(.tokenHead(.sample(.f32, [7, 4, 2])), tokenShape: nil) == [
        "kScale must be per tensor or per head; found token-head. "
          + "Only K and V caches carry token-head scales."
      ])
  }

  @Test func `descriptions name the granularity`() {
    let view = TensorView.sample(.f32, [2])
    #expect(
      [Scale.one, .tensor(0.5), .head(view), .tokenHead(view)].map(\.description) == [
        "one", "tensor 0.5", "head", "token-head",
      ])
  }
}

internal import ApusCore
internal import ApusNumerics

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

extension GeneralSample {
  /// What is wrong with finished rows and with partial states.
  func check(_ contents: [[UInt8]]) -> [String] {
    let plan = plan
    let type = kernel.output.sampleType
    let o = SampleNumbers.values(of: contents[3], as: type)
    let lse = SampleNumbers.values(of: contents[4], as: .f32)
    let partial = SampleNumbers.values(of: contents[10], as: .f32)
    let width = shape.headDimVO
    let group = shape.groupSize
    var findings = SampleFindings()
    // Words of an item: request, first packed row, rows, first key, end of the keys, slot or all ones.
    let words = KernelSample.elements(of: plan.metadata, as: UInt32.self)
    let items = (0..<plan.itemCount).map { words[8 * $0..<8 * $0 + 6].map(Int.init) }
    let slots = items.reduce(0) { $1[5] == UInt32.max ? $0 : max($0, $1[5] + 1) }
    let states = (slots * shape.kvHeadCount * plan.rows * width + 3) / 4 * 4
    for item in items {
      let isPartial = item[5] != UInt32.max
      for (kvHead, packed) in (0..<shape.kvHeadCount).flatMap({ kvHead in
        (0..<item[2]).map { (kvHead, $0) }
      }) {
        let query = item[0] * queries + (item[1] + packed) / group
        let head = kvHead * group + (item[1] + packed) % group
        let (expected, error) = definition(
          query, head, keys: item[3]..<item[4], isPartial: isPartial)
        // Errors of scores count once in a weight and once in the sum; weights err by themselves.
        let relative = 2 * error + 0x1p-17
        let name = "[\(query), \(head)] of keys \(item[3])..<\(item[4])"
        if isPartial {
          let index = (item[5] * shape.kvHeadCount + kvHead) * plan.rows + packed
          let (m, l) = (partial[states + 2 * index], partial[states + 2 * index + 1])
          findings.require(
            "m + log l \(name)", Float(Double(m) + log2(Double(l))), is: expected.lse,
            within: error + 0x1p-18)
          for column in 0..<width {
            findings.require(
              "o[\(column)] \(name)", partial[index * width + column] / (l > 0 ? l : 1),
              is: expected.o[column],
              within: ElementType.f32.bound(
                expected.o[column], error: relative * expected.magnitude[column]))
          }
        } else {
          let index = query * shape.qoHeadCount + head
          findings.require("lse\(name)", lse[index], is: expected.lse, within: error + 0x1p-18)
          for column in 0..<width {
            findings.require(
              "o[\(column)] \(name)", o[index * width + column], is: expected.o[column],
              within: type.bound(
                expected.o[column], error: relative * expected.magnitude[column]))
          }
        }
      }
    }
    return findings.lines
  }

  /// A row of the result, and the error of a score in f32. A partial state is without the sink and
  /// without the scales of heads.
  private func definition(
    _ row: Int, _ head: Int, keys: Range<Int>, isPartial: Bool
  ) -> (SampleSoftmax, Double) {
    let (request, query) = (row / queries, row % queries)
    let length = lengths[request]
    let kvHeads = shape.kvHeadCount
    let kvHead = head / (shape.qoHeadCount / kvHeads)
    let log2e = 1.442695040888963407
    let position = length - queries + query
    let firstBit = lengths.prefix(request).reduce(0) { $0 + queries * $1 }
    let width = shape.headDimQK
    let queryRow = turned(q, row * shape.qoHeadCount + head, position)
    var scores: [Double] = []
    var places: [Int] = []
    var largest = 0.0
    for key in keys where key >= position - windowLeft && key <= position {
      if hasOptions, !maskBits[firstBit + query * length + key] { continue }
      let place = slot(request, key) * kvHeads + kvHead
      let keyRow = turned(k, place, key)
      var (product, magnitude) = (0.0, 0.0)
      for element in 0..<width {
        let isSecond = isLatent && element >= shape.headDimVO
        let scale =
          hasOptions
          ? kTokenScale[place] : isSecond ? ropeScale : kScale[kvHead]
        let factor = Double(scale) * Double(qScale[head])
        product += factor * queryRow[element].value * keyRow[element].value
        magnitude += factor * queryRow[element].magnitude * keyRow[element].magnitude
      }
      let factor = 1 / Double(width).squareRoot()
      var score = factor * product
      if hasOptions {
        let cap = Double(softCap)
        score = cap * tanh(score / cap) + Double(slopes[head]) * Double(key - position)
      }
      largest = max(largest, factor * log2e * magnitude)
      scores.append(score * log2e)
      places.append(place)
    }
    let attended = SampleSoftmax(
      scores: scores, sink: isPartial ? nil : Double(sinks[head]) * log2e, width: shape.headDimVO
    ) { index in
      let place = places[index]
      let token = hasOptions ? (isLatent ? kTokenScale : vTokenScale)[place] : 1
      var factor = Double(token)
      if !isPartial {
        if !hasOptions { factor *= Double((isLatent ? kScale : vScale)[kvHead]) }
        factor /= Double(oScale[head])
      }
      let (rows, stride) = isLatent ? (k, width) : (v, shape.headDimVO)
      return (0..<shape.headDimVO).map { factor * Double(rows[place * stride + $0]) }
    }
    // A lane's products, five shuffles, four factors; computed cosines and sines err by 2^−24 of a
    // turn, of q and of k.
    let steps = Double(kernel.keyAccesses * kernel.width + 9)
    let turns = rope == nil ? 0 : 4 * Double.pi * 0x1p-24 + 0x1p-21
    return (attended, largest * (steps * 0x1p-24 + turns) + 0x1p-18)
  }

  /// A row rotated to a position, and what bounds each element: |a| + |b| of its pair.
  private func turned(
    _ rows: [Float], _ row: Int, _ position: Int
  ) -> [(value: Double, magnitude: Double)] {
    let width = shape.headDimQK
    var result = rows[row * width..<(row + 1) * width].map {
      (value: Double($0), magnitude: Double($0.magnitude))
    }
    guard let rope, let dim = rope.rotaryDim else { return result }
    for pair in 0..<dim / 2 {
      let (a, b) = rope.pairing == .half ? (pair, pair + dim / 2) : (2 * pair, 2 * pair + 1)
      let angle = Double(position) * pow(10_000, -2 * Double(pair) / Double(dim))
      let (x, y) = (result[a].value, result[b].value)
      let magnitude = x.magnitude + y.magnitude
      result[a] = (x * cos(angle) - y * sin(angle), magnitude)
      result[b] = (y * cos(angle) + x * sin(angle), magnitude)
    }
    return result
  }
}

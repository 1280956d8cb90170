import ApusCore
import ApusKernels
import ApusNumerics
import ApusReference
import Foundation

extension PrefillCase {
  /// What is wrong with a result, the first few elements; empty for a correct one.
  ///
  /// The L2 error of o is at most twice that of the naive computation with weights of the same
  /// type, plus one rounding of o and of the weights; each lse is within what a sum of the scores'
  /// f32 roundings allows (Documentation/Numerics.md, *How tolerances are derived*). NaN and
  /// infinities must be where they are expected and nowhere else.
  func deviations(of found: Outcome, from expectation: Expectation) -> [String] {
    var list: [String] = []
    func require(_ condition: Bool, _ text: @autoclosure () -> String) {
      if !condition, list.count < 8 { list.append(text()) }
    }
    require(found.strayWrites == 0, "\(found.strayWrites) elements written outside the tensors")
    require(found.counter == 0, "the counter must be 0 again; found \(found.counter)")
    let exact = expectation.exact
    let u = configuration.element.unitRoundoff
    let limit = Double(configuration.element.greatestFiniteMagnitude)
    let d = configuration.headDim
    var squares = (found: 0.0, naive: 0.0, roundings: 0.0)
    for row in Self.margin * qoHeads..<(Self.margin + batch * qoLength) * qoHeads {
      for index in row * d..<(row + 1) * d {
        let place = "o[\(row), \(index - row * d)]"
        let value = exact.o[index]
        let o = Double(found.o[index])
        require(value.isNaN == o.isNaN, "\(place) = \(o), expected \(value)")
        guard !value.isNaN else { continue }
        if value.magnitude >= limit {
          require(o == (value < 0 ? -limit : limit), "\(place) = \(o) must saturate")
          continue
        }
        squares.found += pow(o - value, 2)
        squares.naive += pow(Double(expectation.naive.o[index]) - value, 2)
        squares.roundings += pow(u * (value.magnitude + exact.oMagnitude[index]), 2)
      }
      guard let lse = found.lse?[row] else { continue }
      let expected = convention.external(Float(exact.lse[row]))
      guard expected.isFinite else {
        require(
          lse == expected || lse.isNaN && expected.isNaN, "lse[\(row)] = \(lse), not \(expected)")
        continue
      }
      // Scores of d + 12 roundings and a sum of n terms, at the size of the largest score.
      let size = 1 + Double(d) + Double(expected.magnitude)
      let bound = 0x1p-24 * (Double(d + 2 * kvLength) + 24) * size
      require(
        abs(Double(lse) - Double(expected)) <= bound,
        "lse[\(row)] = \(lse), expected \(expected) ± \(bound)")
    }
    let allowed = 2 * squares.naive.squareRoot() + squares.roundings.squareRoot()
    require(
      squares.found.squareRoot() <= allowed,
      "L2 error \(squares.found.squareRoot()) must be at most \(allowed)")
    return list
  }
}

import Apus

/// Compares paged NHD decode with one query per request against plain loops in float64.
func checkDecode(
  _ problem: AttentionProblem, pages: PageTable, q: Tensor, k: Tensor, v: Tensor, o: Tensor,
  lse: Tensor
) throws {
  let shape = problem.shape
  let (dim, heads) = (shape.headDimQK, shape.kvHeadCount)
  let (qValues, kValues, vValues) = (q.values, k.values, v.values)
  let (oValues, lseValues) = (o.values, lse.values)
  let scale = Double(problem.softmaxScale)
  var worst = 0.0
  // Not a comparison that NaN would pass.
  func compare(_ value: Float, _ expected: Double, bound: Double) {
    let error = (Double(value) - expected).magnitude
    worst = error <= bound ? max(worst, error / bound) : .infinity
  }
  func row(_ r: Int, _ token: Int, _ head: Int) -> Range<Int> {
    let page = pages.page(r, token / pages.pageSize)
    let first = ((page * pages.pageSize + token % pages.pageSize) * heads + head) * dim
    return first..<first + dim
  }

  for r in 0..<pages.batch {
    let length = pages.length(r)
    for h in 0..<shape.qoHeadCount {
      let query = (r * shape.qoHeadCount + h) * dim
      var scores: [Double] = []
      var magnitude = 0.0
      for token in 0..<length {
        let key = kValues[row(r, token, h / shape.groupSize)]
        let products = zip(qValues[query..<query + dim], key).map { Double($0) * Double($1) }
        scores.append(scale * products.reduce(0, +))
        magnitude = max(magnitude, scale * products.reduce(0) { $0 + $1.magnitude })
      }
      let m = scores.max() ?? 0
      let weights = scores.map { exponential($0 - m) }
      let d = weights.reduce(0, +)
      let weightError = weightError(dim: dim, magnitude: magnitude)

      let expected = (m + logarithm(d)) / logarithm(2)
      compare(
        lseValues[r * shape.qoHeadCount + h], expected,
        bound: (weightError + Double(length + 8) * u) / logarithm(2) + 4 * u * expected.magnitude)
      for e in 0..<dim {
        var (sum, absolute) = (0.0, 0.0)
        for token in 0..<length {
          let value = Double(vValues[row(r, token, h / shape.groupSize).lowerBound + e])
          sum += weights[token] * value / d
          absolute += weights[token] * value.magnitude / d
        }
        // At precision fast the weights of bf16 queries may be rounded to bf16, and o is rounded
        // once to its type.
        compare(
          oValues[query + e], sum,
          bound: meanError(count: length, weightError: weightError) * absolute
            + ElementType.bf16.unitRoundoff * absolute + problem.types.o.unitRoundoff
            * sum.magnitude)
      }
    }
  }
  guard worst <= 1 else {
    throw ClientError("decode must stay within its error bound; found \(worst) of it.")
  }
  print("client: paged decode agrees with float64; greatest error \(worst) of its bound")
}

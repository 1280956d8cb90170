internal import ApusCore
internal import ApusIR
internal import ApusNumerics

extension MergeKernel: SampledKernel {
  /// States whose merge is exact: equal log-sum-exps, 2 or 4 of them, and small even values of v,
  /// whose mean every storage type holds. In the second row all states but the first are empty, in
  /// the last row all are.
  public func sample(seed: UInt64) -> KernelSample {
    let problem = SampleProblem(self, seed: seed)
    return KernelSample(
      summary: "\(problem.rows) rows, \(problem.states) states, \(problem.heads) heads of "
        + "\(problem.dim)",
      buffers: problem.buffers, launches: problem.launches, check: problem.check)
  }

  /// The numbers of a sample.
  private struct SampleProblem: Sendable {
    let kernel: MergeKernel
    let rows = 3
    let heads = 2
    let states: Int
    let dim: Int
    /// `[row][head]`: the lse of all states that are not empty.
    let lse: [Float]
    /// `[row][state][head][dim]`.
    let values: [Float]

    init(_ kernel: MergeKernel, seed: UInt64) {
      self.kernel = kernel
      states = kernel.form == .many ? 4 : 2
      // The least dimension that asks for the kernel's lanes; narrow kernels are for odd ones.
      let wide = 16 / kernel.input.byteCount
      let least = MergeKernel.depth * kernel.lanes * kernel.width
      dim = kernel.width == wide ? least : least + 1
      var numbers = SampleNumbers(seed: seed)
      lse = (0..<rows * heads).map { _ in Float(numbers.bits() % 9) - 4 }
      // Multiples of 4 up to 8 in magnitude: sums of four and their quarters are exact in e5m2 too.
      values = (0..<rows * states * heads * dim).map { _ in
        4 * (Float(numbers.bits() % 5) - 2)
      }
    }

    private var emptyValue: Float { kernel.emptyValue }
    private func isEmpty(row: Int, state: Int) -> Bool {
      row == rows - 1 || (row == 1 && state > 0)
    }
    private func value(_ row: Int, _ state: Int, _ head: Int, _ element: Int) -> Float {
      values[((row * states + state) * heads + head) * dim + element]
    }
    private func logit(_ row: Int, _ state: Int, _ head: Int) -> Float {
      isEmpty(row: row, state: state) ? emptyValue : lse[row * heads + head]
    }

    /// v and s of some states, `[row][state][head]`.
    private func inputs(_ chosen: Range<Int>) -> (v: [Float], s: [Float]) {
      var (v, s): ([Float], [Float]) = ([], [])
      for row in 0..<rows {
        for state in chosen {
          for head in 0..<heads {
            v += (0..<dim).map { value(row, state, head, $0) }
            s.append(logit(row, state, head))
          }
        }
      }
      return (v, s)
    }

    /// v and s of each operand, then the merged ones, or the mask where the first operand takes them.
    var buffers: [KernelSample.Buffer] {
      let groups = kernel.form == .many ? [0..<states] : [0..<1, 1..<2]
      var list: [KernelSample.Buffer] = []
      for (index, group) in groups.enumerated() {
        let (v, s) = inputs(group)
        let isTarget = kernel.form == .maskedPair && index == 0
        list.append(SampleNumbers.input("v\(index)", v, as: kernel.input))
        list.append(.input("s\(index)", s))
        if isTarget { for place in list.indices { list[place].isWritable = true } }
      }
      if kernel.form == .maskedPair {
        list.append(.input("mask", [UInt8](repeating: 1, count: rows)))
      } else {
        list.append(.output("v", byteCount: rows * heads * dim * kernel.output.byteCount))
        list.append(.output("s", byteCount: 4 * rows * heads))
      }
      return list
    }

    func launches(_ addresses: [UInt64]) -> [KernelLaunch] {
      func view(_ index: Int, _ type: ScalarType, _ shape: [Int]) -> TensorView {
        .sample(addresses[index], type, shape)
      }
      let (input, output) = (ScalarType(kernel.input), ScalarType(kernel.output))
      let (shape, heads) = ([rows, heads, dim], [rows, heads])
      let states: MergeArguments.States =
        switch kernel.form {
        case .pair:
          .two(
            aV: view(0, input, shape), aS: view(1, .f32, heads), bV: view(2, input, shape),
            bS: view(3, .f32, heads), v: view(4, output, shape), s: view(5, .f32, heads))
        case .maskedPair:
          .inPlace(
            v: view(0, input, shape), s: view(1, .f32, heads), otherV: view(2, input, shape),
            otherS: view(3, .f32, heads), mask: view(4, .u8, [rows]))
        case .many:
          .many(
            states: view(0, input, [rows, self.states, self.heads, dim]),
            logits: view(1, .f32, [rows, self.states, self.heads]), v: view(2, output, shape),
            s: view(3, .f32, heads))
        }
      return MergeKernel.launches(
        for: MergeArguments(states, convention: kernel.convention), target: .sm80
      ).launches
    }

    func check(_ contents: [[UInt8]]) -> [String] {
      let place = kernel.form == .maskedPair ? 0 : contents.count - 2
      let v = SampleNumbers.values(of: contents[place], as: kernel.output)
      let s = SampleNumbers.values(of: contents[place + 1], as: .f32)
      var findings = SampleFindings()
      for row in 0..<rows {
        for head in 0..<heads {
          let full = (0..<states).filter { !isEmpty(row: row, state: $0) }
          let cell = row * heads + head
          var logSum = Double(emptyValue)
          if !full.isEmpty {
            // A sum of 1, 2 or 4 equal weights. lg2 and the factor ln 2 err by 2^−22 and 2^−24 of at
            // most 2, the sum of at most 6 in magnitude by half an ulp.
            let doublings = Double(full.count.trailingZeroBitCount)
            let unit = kernel.convention.base == .two ? 1 : 0.693147180559945309
            logSum = Double(lse[cell]) + doublings * unit
          }
          findings.require("s[\(row), \(head)]", s[cell], is: logSum, within: 0x1p-20)
          for element in 0..<dim {
            let sum = full.reduce(0.0) { $0 + Double(value(row, $1, head, element)) }
            findings.require(
              "v[\(row), \(head), \(element)]", v[cell * dim + element],
              is: full.isEmpty ? 0 : sum / Double(full.count))
          }
        }
      }
      return findings.lines
    }
  }
}

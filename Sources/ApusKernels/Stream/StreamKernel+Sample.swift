extension StreamKernel: SampledKernel {
  /// Two turns of a block, the second a partial one.
  public func sample(seed: UInt64) -> KernelSample {
    var numbers = SampleNumbers(seed: seed)
    let count = 4 * (Self.threads * depth + 37)
    let inputs = (0..<reads).map { _ in
      (0..<count).map { _ in UInt32(truncatingIfNeeded: numbers.bits()) }
    }
    let output: KernelSample.Buffer =
      writes ? .output("output", byteCount: 4 * count) : .updated("output", [UInt32(0)])
    return KernelSample(
      summary: "\(reads) arrays of \(4 * count) bytes",
      buffers: inputs.enumerated().map { .input("input\($0)", $1) } + [output],
      launches: { addresses in
        var launch = self.launch(
          inputs: Array(addresses.dropLast()), output: addresses[reads], byteCount: 4 * count,
          multiprocessorCount: 1)
        if !writes { launch.grid = LaunchGrid(1) }
        return [launch]
      },
      check: { contents in
        let found = KernelSample.elements(of: contents[reads], as: UInt32.self)
        let sums = (0..<count).map { place in inputs.reduce(UInt32(0)) { $0 &+ $1[place] } }
        var findings = SampleFindings()
        if writes {
          for (place, (sum, word)) in zip(sums, found).enumerated() {
            findings.require(sum == word, "word \(place) must be \(sum); found \(word)")
          }
        } else {
          let total = sums.reduce(0, &+)
          findings.require(found == [total], "the sum must be \(total); found \(found)")
        }
        return findings.lines
      })
  }
}

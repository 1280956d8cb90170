internal import ApusCore
internal import ApusNumerics

extension AppendSample {
  /// What is wrong with caches, scales and record.
  func check(_ contents: [[UInt8]]) -> [String] {
    var findings = SampleFindings()
    let expected = expectation
    for (part, name) in ["kCache", "vCache"].enumerated() where dims[part] > 0 {
      let isCopy = (part == 0 ? kernel.keys : kernel.values) == .copy
      let found = SampleNumbers.codes(of: contents[2 + part], as: kernel.cache)
      let codes = SampleNumbers.codes(of: expected.caches[part], as: kernel.cache)
      let values = SampleNumbers.values(of: contents[2 + part], as: kernel.cache)
      let right = SampleNumbers.values(of: expected.caches[part], as: kernel.cache)
      for index in codes.indices {
        let isRight =
          found[index] == codes[index] || !isCopy && values[index].isNaN && right[index].isNaN
        findings.require(
          isRight, "\(name)[\(index)] must be \(right[index]); found \(values[index])")
      }
      if let scales = expected.scales[part] {
        let found = SampleNumbers.values(of: contents[4 + part], as: .f32)
        for (index, (scale, value)) in zip(scales, found).enumerated() {
          findings.require("scale \(index) of \(name)", value, is: Double(scale))
        }
      }
    }
    let record = KernelSample.elements(of: contents[10], as: UInt32.self)
    let error = IndexError(record: record, operation: "sample")
    let right =
      kernel.checksIndices
      ? IndexError(
        operation: "sample", list: .pages, value: 12, token: 6, request: 1, position: 4, page: 1,
        count: 1) : nil
    findings.require(
      error == right, "the record must be \(right.map(\.description) ?? "empty"); found \(record)")
    return findings.lines
  }

  /// Caches, and dynamic scales where there are some.
  private var expectation: (caches: [[UInt8]], scales: [[Float]?]) {
    let buffers = buffers
    var caches = [buffers[2].bytes, buffers[3].bytes]
    let storings = [kernel.keys, kernel.values]
    var scales: [[Float]?] = storings.enumerated().map { part, storing in
      storing == .dynamic ? KernelSample.elements(of: buffers[4 + part].bytes, as: Float.self) : nil
    }
    let values = sources.map { SampleNumbers.values(of: $0.bytes, as: kernel.source) }
    for (token, (request, position)) in tokens.enumerated() where request >= 0 {
      let page = Int(pages[Int(request)][Int(position) / pageSize])
      guard (0..<cachePages).contains(page) else { continue }
      for head in 0..<heads {
        let place = (page * pageSize + Int(position) % pageSize) * heads + head
        let rows = (0..<2).map { part in
          let first = lead + (token * heads + head) * dims[part]
          return Array(values[part][first..<first + dims[part]])
        }
        for part in 0..<2 where storings[part] != .absent {
          var scale: Float = 1
          switch storings[part] {
          case .copy, .round, .absent: break
          case .divide: scale = part == 0 ? headScales[head] : tensorScale
          case .dynamic:
            scale = dynamicScale(kernel.values == .joint ? rows[0] + rows[1] : rows[part])
          case .joint: scale = dynamicScale(rows[0] + rows[1])
          }
          scales[part]?[place] = scale
          let first = lead + place * dims[part]
          let start = lead + (token * heads + head) * dims[part]
          let width = kernel.cache.byteCount
          for (column, value) in rows[part].enumerated() {
            caches[part].withUnsafeMutableBytes { raw in
              guard let base = raw.baseAddress else { return }
              if storings[part] == .copy {
                for byte in 0..<width {
                  raw[(first + column) * width + byte] =
                    sources[part].bytes[(start + column) * width + byte]
                }
              } else {
                kernel.cache.store(value / scale, to: base, at: first + column)
              }
            }
          }
        }
      }
    }
    return (caches, scales)
  }

  /// The largest finite magnitude over the largest of the cache's type; 1 where that is not normal.
  private func dynamicScale(_ row: [Float]) -> Float {
    let largest = row.filter(\.isFinite).map(\.magnitude).max() ?? 0
    let scale = largest / kernel.cache.greatestFiniteMagnitude
    return scale < .leastNormalMagnitude ? 1 : scale
  }
}

internal import ApusCore
internal import ApusIR
internal import ApusNumerics

extension AppendKernel: SampledKernel {
  /// Tokens of two requests, one of them skipped, with NaN, an infinity and a row of zeros; of the
  /// lists that the kernel follows itself one page is none and, where it checks them, one beside the
  /// cache.
  public func sample(seed: UInt64) -> KernelSample {
    let sample = AppendSample(self, seed: seed)
    return KernelSample(
      summary: "\(sample.tokens.count) tokens, \(sample.heads) heads of "
        + "\(sample.dims[0])+\(sample.dims[1])",
      buffers: sample.buffers, launches: { sample.plan($0).launches.bound(metadata: $0[11]) },
      check: sample.check)
  }
}

/// The numbers of a sample, where they go, and what is stored there.
struct AppendSample: Sendable {
  let kernel: AppendKernel
  /// Width of keys and of values.
  let dims: [Int]
  let heads = 2
  let tokens: [(request: Int32, position: Int32)] = [
    (0, 3), (1, 6), (1, 7), (-1, 0), (1, 1), (0, 1), (1, 4),
  ]
  /// Keys, then values, as the source's type holds them.
  let sources: [KernelSample.Buffer]
  /// Pages of each request, in order.
  let pages: [[Int32]]
  let pageSize = 3
  let cachePages = 7
  let headScales: [Float]
  let tensorScale: Float = 0.7
  /// What fills caches before.
  private static let untouched: UInt8 = 0x5A
  /// Elements before each row tensor: rows of the narrow kernels are not aligned.
  let lead: Int

  init(_ kernel: AppendKernel, seed: UInt64) {
    self.kernel = kernel
    lead = kernel.width == 1 ? 1 : 0
    dims = Self.dims(of: kernel)
    let isListed = kernel.lists != .resolved
    // The last token's page, and the one of the token before.
    pages = [[isListed ? -1 : 4, 2], [6, kernel.checksIndices ? 12 : 3, 0]]
    headScales = [1.25, 0.3]
    var numbers = SampleNumbers(seed: seed)
    let (count, lead, heads) = (tokens.count, lead, heads)
    sources = zip(["keys", "values"], dims).map { name, dim in
      var values = (0..<lead + count * heads * dim).map { _ in numbers.wide() }
      for (row, value) in [(3, Float.nan), (4, .infinity)] where dim > 0 {
        values[lead + row * dim + row % dim] = value
      }
      for index in 0..<dim { values[lead + 5 * dim + index] = 0 }
      if values.isEmpty { values = [0] }
      return SampleNumbers.input(name, values, as: kernel.source, overflow: .nonSaturating)
    }
  }

  /// The least row widths that ask for the kernel's lanes and accesses.
  private static func dims(of kernel: AppendKernel) -> [Int] {
    func candidates(_ rounds: Int) -> Range<Int> {
      rounds == 0 ? 0..<1 : (rounds - 1) * kernel.lanes + 1..<rounds * kernel.lanes + 1
    }
    for keys in candidates(kernel.keyRounds) {
      for values in candidates(kernel.valueRounds) {
        let (keyDim, valueDim) = (keys * kernel.width, values * kernel.width)
        let other = AppendKernel(
          source: kernel.source, cache: kernel.cache, keys: kernel.keys, values: kernel.values,
          lists: kernel.lists, checksIndices: kernel.checksIndices, width: kernel.width,
          keyDim: keyDim, valueDim: valueDim)
        if other == kernel { return [keyDim, valueDim] }
      }
    }
    return [kernel.width, kernel.width]
  }

  // MARK: - Problem

  private var isLatent: Bool { kernel.values == .joint || kernel.values == .absent }

  private func problem(_ addresses: [UInt64]) -> AppendProblem {
    let latent = LatentShape(ckv: dims[0], kpe: dims[1])
    if kernel.lists != .resolved {
      let lists = AppendLists(
        pageSize: pageSize,
        pages: kernel.lists == .csr
          ? .csr(
            indptr: .sample(addresses[9], .i32, [pages.count + 1]),
            indices: .sample(addresses[8], .i32, [pages.joined().count]))
          : .blockTable(.sample(addresses[8], .i32, [pages.count, 3])),
        batchIndices: .sample(addresses[6], .i32, [tokens.count]),
        positions: .sample(addresses[7], .i32, [tokens.count]))
      return isLatent
        ? AppendProblem(
          latent: latent, latentHeadCount: heads, sourceType: kernel.source,
          cacheType: kernel.cache, lists: lists)
        : AppendProblem(
          kvHeadCount: heads, headDimK: dims[0], headDimV: dims[1], sourceType: kernel.source,
          cacheType: kernel.cache, lists: lists)
    }
    let table = PageTable(
      pageSize: pageSize, indptr: RaggedIndptr(lengths: pages.map(\.count)),
      indices: Array(pages.joined()), lastPageLength: [1, 2])
    let (requests, positions) = (tokens.map(\.request), tokens.map(\.position))
    return isLatent
      ? AppendProblem(
        latent: latent, latentHeadCount: heads, sourceType: kernel.source,
        cacheType: kernel.cache, table: table, batchIndices: requests, positions: positions)
      : AppendProblem(
        kvHeadCount: heads, headDimK: dims[0], headDimV: dims[1], sourceType: kernel.source,
        cacheType: kernel.cache, table: table, batchIndices: requests, positions: positions)
  }

  func plan(_ addresses: [UInt64]) -> LaunchPlan {
    let (source, cache) = (ScalarType(kernel.source), ScalarType(kernel.cache))
    func rows(_ part: Int) -> TensorView {
      .sample(addresses[part], source, [tokens.count, heads, dims[part]], skipping: lead)
    }
    func pages(_ part: Int) -> TensorView {
      .sample(
        addresses[2 + part], cache, [cachePages, pageSize, heads, dims[part]], skipping: lead)
    }
    func scale(_ storing: AppendKernel.Storing, _ part: Int) -> AppendScale {
      switch storing {
      case .copy, .round, .joint, .absent: .one
      case .divide where part == 0: .head(.sample(addresses[4], .f32, [heads]))
      case .divide: .tensor(tensorScale)
      case .dynamic:
        .dynamicTokenHead(.sample(addresses[4 + part], .f32, [cachePages, pageSize, heads]))
      }
    }
    let arguments = AppendArguments(
      keys: rows(0), values: rows(1),
      cache: isLatent
        ? .latent(ckv: pages(0), kpe: pages(1)) : .separate(k: pages(0), v: pages(1)),
      kScale: scale(kernel.keys, 0), vScale: scale(kernel.values, 1))
    let problem = problem(addresses)
    guard
      let destinations = try? problem.resolve(arguments, memory: .host, operation: "sample")
    else { return LaunchPlan() }
    return AppendKernel.launches(
      for: problem, arguments, to: destinations,
      indexRecord: kernel.checksIndices ? addresses[10] : nil, target: .sm80)
  }

  var buffers: [KernelSample.Buffer] {
    let rows = cachePages * pageSize * heads
    let caches = zip(["kCache", "vCache"], dims).map { name, dim in
      KernelSample.Buffer.updated(
        name,
        [UInt8](
          repeating: Self.untouched, count: (lead + rows * max(1, dim)) * kernel.cache.byteCount))
    }
    let scales = [kernel.keys, kernel.values].map { storing in
      storing == .dynamic
        ? KernelSample.Buffer.updated("scales", [Float](repeating: -1, count: rows))
        : .input("scales", headScales)
    }
    // Nothing of a plan depends on more of an address than its alignment.
    let metadata = plan([UInt64](repeating: 4096, count: 12)).metadata
    return sources + caches + scales + [
      .input("batchIndices", tokens.map(\.request)), .input("positions", tokens.map(\.position)),
      .input("pages", pages.flatMap { ($0 + [-1]).prefix(kernel.lists == .csr ? $0.count : 3) }),
      .input("pageIndptr", RaggedIndptr(lengths: pages.map(\.count)).offsets.map(Int32.init)),
      .updated("record", [UInt32](repeating: 0, count: IndexError.recordWordCount)),
      .input("metadata", metadata + [0]),
    ]
  }
}

/// One benchmark: an operator at a shape, as data.
struct BenchCase: Sendable, Hashable {
  /// Unique among all suites, and never a part of another case's name, so that a filter can select
  /// exactly one.
  let name: String
  /// The operator called.
  let `operator`: BenchOperator
  /// Its shape.
  let shape: BenchShape
  /// Whether `--quick` runs it.
  let isQuick: Bool

  /// A case named after its operator and shape.
  ///
  /// - Parameter isQuick: whether `--quick` keeps it.
  init(_ operator: BenchOperator, _ shape: BenchShape, isQuick: Bool = false) {
    self.operator = `operator`
    self.shape = shape
    self.isQuick = isQuick
    name = Self.name(`operator`, shape)
  }

  /// Caches beyond this are skipped: two processes that hold the same caches must fit a small
  /// machine's memory.
  static let greatestCacheByteCount = 4 << 30

  /// Why the case is not run, or nil.
  func skipReason(physicalMemory: UInt64) -> String? {
    let bytes = shape.cacheByteCount
    if bytes > Self.greatestCacheByteCount {
      return "the cache takes \(Self.gibibytes(bytes)) GiB, more than 4"
    }
    if UInt64(bytes) > physicalMemory / 2 {
      return "the cache takes \(Self.gibibytes(bytes)) GiB, more than half of this machine's memory"
    }
    return nil
  }

  private static func gibibytes(_ bytes: Int) -> String {
    let tenths = (Double(bytes) / Double(1 << 30) * 10).rounded() / 10
    return "\(tenths)"
  }

  private static func name(_ operator: BenchOperator, _ shape: BenchShape) -> String {
    let heads = "h\(shape.qoHeadCount)x\(shape.kvHeadCount)"
    let types = "q_\(shape.q)_kv_\(shape.kv)"
    let mask = shape.isCausal ? "causal" : "full"
    let place = cacheName(shape)
    switch `operator` {
    case .singleDecode:
      return "decode_single_kv\(shape.kvLength)_\(heads)_d\(shape.headDimQK)_\(types)"
    case .batchDecode:
      return "decode_\(place)_b\(shape.batch)_kv\(shape.kvLength)_\(heads)_d\(shape.headDimQK)"
        + "_\(types)"
    case .singlePrefill:
      return "prefill_\(mask)_n\(shape.qoLength)_\(heads)_d\(shape.headDimQK)_\(types)"
    case .batchAppend:
      return "append_\(place)_b\(shape.batch)_n\(shape.qoLength)_kv\(shape.kvLength)_\(heads)"
        + "_d\(shape.headDimQK)_\(types)"
    case .mlaDecode:
      return "mla_b\(shape.batch)_n\(shape.qoLength)_kv\(shape.kvLength)"
        + "_h\(shape.qoHeadCount)_\(types)"
    case .mergeStates:
      return "merge_s\(shape.stateCount ?? 2)_n\(shape.qoLength)_h\(shape.qoHeadCount)"
        + "_d\(shape.headDimVO)_\(shape.q)"
    case .appendKV:
      let scale = shape.hasDynamicScale == true ? "_dynamic" : ""
      return "store\(scale)_\(place)_b\(shape.batch)_n\(shape.qoLength)_h\(shape.kvHeadCount)"
        + "_d\(shape.headDimQK)_\(shape.q)_to_\(shape.kv)"
    case .rotary:
      return "rope_n\(shape.qoLength)_\(heads)_d\(shape.headDimQK)_\(shape.q)"
    }
  }

  /// `padded`, `paged16`, `paddedHND`, …
  private static func cacheName(_ shape: BenchShape) -> String {
    let base = shape.cache?.rawValue ?? "none"
    let page = shape.pageSize.map(String.init) ?? ""
    return base + page + (shape.layout == "HND" ? "HND" : "")
  }
}

internal import ArgumentParser

/// A named list of cases.
enum BenchSuite: String, Codable, Sendable, CaseIterable, ExpressibleByArgument {
  /// Single and batch decode over padded and paged caches.
  case decode
  /// Many queries of one request.
  case prefill
  /// A few new queries per request against a long context.
  case append
  /// Latent decode.
  case mla
  /// Merge, cache append, rotation.
  case ops
  /// All of them.
  case cpu

  /// The cases in the order in which they run.
  var cases: [BenchCase] {
    switch self {
    case .decode: Self.decodeCases
    case .prefill: Self.prefillCases
    case .append: Self.appendCases
    case .mla: Self.mlaCases
    case .ops: Self.opsCases
    case .cpu: Self.allCases.filter { $0 != .cpu }.flatMap(\.cases)
    }
  }

  /// The cases of a run: quick ones only, or those whose name holds every filter.
  func cases(quick: Bool, filters: [String]) -> [BenchCase] {
    cases.filter { item in
      (!quick || item.isQuick) && filters.allSatisfy { item.name.contains($0) }
    }
  }
}

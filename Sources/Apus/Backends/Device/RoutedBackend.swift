package import ApusCore

/// A back end that chooses among families of kernels and says how.
package protocol RoutedBackend: Backend {
  /// The families that compute a problem, the fastest first.
  func families(for problem: AttentionProblem) -> [AttentionRoute.FamilyName]
}

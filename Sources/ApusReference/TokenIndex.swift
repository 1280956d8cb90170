internal import ApusCore

/// Where a token of a request lies in a K, V, latent or token-head scale tensor, up to the last
/// dimension.
struct TokenIndex {
  let geometry: KVGeometry
  let layout: KVLayout

  /// The index of token `j` of request `r` for KV head `head`.
  func outer(_ r: Int, _ j: Int, head: Int) -> [Int] {
    switch geometry {
    case .ragged(let indptr):
      ordered(token: indptr.offsets[r] + j, head: head)
    case .padded:
      [r] + ordered(token: j, head: head)
    case .paged(let table):
      [table.page(r, j / table.pageSize)] + ordered(token: j % table.pageSize, head: head)
    }
  }

  /// The same in a combined paged tensor `[pages, 2, …]`: `part` 0 is K, 1 is V.
  func outer(_ r: Int, _ j: Int, head: Int, part: Int) -> [Int] {
    var index = outer(r, j, head: head)
    index.insert(part, at: 1)
    return index
  }

  /// The same in a latent tensor of `rank` dimensions, which may lack the head dimension.
  func outerLatent(_ r: Int, _ j: Int, head: Int, rank: Int) -> [Int] {
    var index = outer(r, j, head: head)
    if index.count == rank { index.remove(at: layout == .nhd ? rank - 1 : rank - 2) }
    return index
  }

  private func ordered(token: Int, head: Int) -> [Int] {
    layout == .nhd ? [token, head] : [head, token]
  }
}

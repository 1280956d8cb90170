/// A closed group of asynchronous work: what `Block.wait` waits for.
///
/// Hardware counts groups: a wait names how many of the newest may stay incomplete. A token does
/// the counting. The count is what surely follows the token's commit on every path to the wait:
/// commits of branches and loops that have ended are left out, as they may not have run. So a wait
/// may cover more than its group, never less.
public struct GroupToken: Sendable, Hashable {
  /// What the group holds.
  public enum Kind: Sendable, Hashable {
    /// Warpgroup products.
    case products
    /// This thread's `copyAsync`.
    case copies
    /// This thread's bulk and tensor stores.
    case bulkStores
  }

  /// What the group holds.
  public let kind: Kind
  /// Its number on the path to its commit, from 1 on.
  let number: Int
}

extension Block {
  /// Blocks until the group is complete; newer groups may stay in flight.
  public func wait(_ group: GroupToken, file: String = #fileID, line: Int = #line) {
    let pending = max(0, emitter.committed(group.kind) - group.number)
    switch group.kind {
    case .products: wgmmaWait(pending: min(7, pending), file: file, line: line)
    case .copies: waitAsync(pending: pending, file: file, line: line)
    case .bulkStores: waitBulk(pending: pending, file: file, line: line)
    }
  }

  /// Blocks until the stores of a group have read their shared sources, which may then be reused.
  public func waitRead(_ group: GroupToken, file: String = #fileID, line: Int = #line) {
    require(
      group.kind == .bulkStores,
      "waitRead: group must be of bulk stores; found \(group.kind).", file: file, line: line)
    let pending = max(0, emitter.committed(group.kind) - group.number)
    waitBulk(pending: pending, isReadOnly: true, file: file, line: line)
  }
}

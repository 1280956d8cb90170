import ApusDSL
import ApusIR
import Testing

@Suite struct GroupTokenTests {
  /// The pending counts of the waits that a body emits, in order.
  private func waits(_ emit: @escaping @Sendable (Block) -> Void) throws -> [String] {
    try lines { block in
      let x = block.pointer("x", to: U32.self)
      let own = block.shared("own", U32.self, count: 128 * 4)[block.threadIndex << 2]
      block.copyAsync(from: x[block.threadIndex << 2], to: own)
      emit(block)
    }.map { $0.trimmingPrefix { $0 == " " } }.filter { $0.contains("wait") }
      .map(String.init)
  }

  @Test func `a wait leaves the groups after its own in flight`() throws {
    let found = try waits { block in
      let first = block.commitAsync()
      let second = block.commitAsync()
      let third = block.commitAsync()
      block.wait(first)
      block.wait(second)
      block.wait(third)
    }
    #expect(
      found == [
        "cp.async.wait_group {pending 2}", "cp.async.wait_group {pending 1}",
        "cp.async.wait_group {pending 0}",
      ])
  }

  @Test func `commits of a branch or loop that has ended do not count`() throws {
    let found = try waits { block in
      let first = block.commitAsync()
      block.when(block.threadIndex == 0) { block.commitAsync() }
      block.loop(block.threadIndex) { _ in block.commitAsync() }
      block.wait(first)
    }
    #expect(found == ["cp.async.wait_group {pending 0}"])
  }

  @Test func `in a loop the prologue's group stands for that of the round before`() throws {
    let found = try waits { block in
      let before = block.commitAsync()
      block.loop(block.threadIndex) { _ in
        block.commitAsync()
        block.wait(before)
      }
    }
    #expect(found == ["cp.async.wait_group {pending 1}"])
  }

  @Test func `only bulk stores have a wait for their reads`() {
    let error = findings { block in block.waitRead(block.commitAsync()) }
    #expect(
      error?.failures.map(\.message) == [
        "waitRead: group must be of bulk stores; found copies."
      ])
  }
}

import ApusDSL
import ApusIR
import Testing

@Suite struct SnapshotForwardingTests {
  @Test func `a snapshot used at once reads the variable itself`() throws {
    let body = try lines { block in
      let x = block.pointer("x", to: U32.self)
      let v = block.variable(block.load(x), "v")
      block.assign(v, v.value + 1)
      block.store(v.value, to: x)
    }
    #expect(
      body.dropFirst(2) == [
        "%v2: u32 = variable %1", "%4: u32 = add %v2, 1", "%v2 = assign %4",
        "st.global.b32 %x0, %v2",
      ])
  }

  @Test func `a snapshot used after an assignment stays`() throws {
    let body = try lines { block in
      let x = block.pointer("x", to: U32.self)
      let v = block.variable(block.load(x), "v")
      let before = v.value
      block.assign(v, 7)
      block.store([before, v.value], to: x)
    }
    #expect(
      body.dropFirst(3) == [
        "%3: u32 = copy %v2", "%v2 = assign 7", "st.global.b32 %x0, %3...%v2",
      ]
        || body.dropFirst(3) == [
          "%3: u32 = copy %v2", "%v2 = assign 7", "st.global.b32 %x0, %3, %v2",
        ])
  }

  @Test func `a snapshot taken before a loop that writes the variable stays`() throws {
    let body = try lines { block in
      let x = block.pointer("x", to: U32.self)
      let v = block.variable(block.load(x), "v")
      let before = v.value
      block.loop(block.constant(4, as: U32.self)) { _ in
        block.store(before, to: x)
        block.assign(v, v.value + 1)
      }
      block.store(v.value, to: x)
    }
    #expect(body.contains { $0.hasSuffix("copy %v2") })
  }

  @Test func `a snapshot is forwarded into a branch that does not write the variable`() throws {
    let body = try lines { block in
      let x = block.pointer("x", to: U32.self)
      let v = block.variable(block.load(x), "v")
      let now = v.value
      block.when(block.threadIndex == 0) { block.store(now, to: x) }
      block.assign(v, 1)
      block.store(v.value, to: x[1])
    }
    #expect(!body.contains { $0.contains("copy") })
    #expect(body.contains("  st.global.b32 %x0, %v2"))
  }

  @Test func `register operands of a warpgroup product stay snapshots`() throws {
    let body = try lines(target: .sm90a) { block in
      let x = block.pointer("x", to: U32.self)
      let v = block.variable(block.load(x), "v")
      let d = block.registerTile("d", rows: 16, columns: 8)
      let a = (0..<4).map { _ in v.value }
      block.wgmmaFence()
      block.wgmma(
        into: d, a: .registers(a), b: block.constant(0, as: U64.self), element: .bf16)
      block.assign(v, 1)
      block.wgmmaCommit()
      block.wgmmaWait()
      block.store(v.value, to: x)
      block.update(d) { value, _, _ in value * 2 }
    }
    #expect(body.count { $0.hasSuffix("copy %v2") } == 4)
  }
}

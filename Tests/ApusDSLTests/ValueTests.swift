import ApusDSL
import ApusIR
import Testing

@Suite struct ValueTests {
  /// The body of a kernel that stores one word computed from parameter `a` (or the thread index).
  private func stored<T: DataScalar>(
    target: Target = .sm80, _ emit: @escaping @Sendable (Block, Value<U32>) -> Value<T>
  ) throws -> [String] {
    try lines(target: target) { block in
      let x = block.pointer("x", to: T.self)
      block.store(emit(block, block.parameter("a", U32.self)), to: x)
    }.dropFirst(2).dropLast().map { line in
      line.split(separator: " = ").dropFirst().joined(separator: " = ")
    }
  }

  @Test func `operators are the ops of their names`() throws {
    #expect(try stored { $1 + $1 } == ["add %a1, %a1"])
    #expect(try stored { $1 - 3 } == ["sub %a1, 3"])
    #expect(try stored { $1 * $1 } == ["mul %a1, %a1"])
    #expect(try stored { $1 / 3 } == ["div %a1, 3"])
    #expect(try stored { $1 % $1 } == ["rem %a1, %a1"])
    #expect(try stored { $1 << 2 } == ["shl %a1, 2"])
    #expect(try stored { $1 >> 2 } == ["shr %a1, 2"])
    #expect(try stored { $1 & 12 } == ["and %a1, 12"])
    #expect(try stored { $1 | 12 } == ["or %a1, 12"])
    #expect(try stored { $1 ^ 12 } == ["xor %a1, 12"])
    #expect(try stored { ~$1 } == ["not %a1"])
    #expect(try stored { -$1.converted(to: S32.self) } == ["cvt %a1", "neg %2"])
    #expect(try stored { min($1, $1.bitsReversed) } == ["brev %a1", "min %a1, %2"])
  }

  @Test func `comparisons give predicates`() throws {
    let ops: [(String, @Sendable (Value<U32>) -> Value<Pred>)] = [
      ("eq", { $0 == 5 }), ("ne", { $0 != 5 }), ("lt", { $0 < 5 }), ("le", { $0 <= 5 }),
      ("gt", { $0 > 5 }), ("ge", { $0 >= 5 }),
    ]
    for (name, op) in ops {
      #expect(
        try stored { block, a in select(op(a), a, block.threadIndex) } == [
          "setp.\(name) %a1, 5", "tid.x", "select %2, %a1, %thread3",
        ])
    }
  }

  @Test func `inequality of floating point is that of IEEE 754`() throws {
    let body = try stored { block, a in
      let f = a.bitcast(to: F32.self)
      return select(f != 0, f, f * 2)
    }
    #expect(body.contains("setp.neu %2, 0.0"))
  }

  @Test func `conversions are visible ops`() throws {
    #expect(try stored { $1.converted(to: F32.self) } == ["cvt.rn %a1"])
    #expect(try stored { $1.converted(to: U64.self) } == ["cvt %a1"])
    #expect(
      try stored { _, a in
        let f = a.converted(to: F32.self)
        return f.converted(to: BF16x2.self, high: f)
      }.count == 2)
  }

  @Test func `nodes of operators have the line of the statement after them`() throws {
    nonisolated(unsafe) var line = 0
    let kernel = try Sketch { block in
      let x = block.pointer("x", to: U32.self)
      let sum =
        block.threadIndex
        + 17
      line = #line + 1
      block.store(sum, to: x)
    }.build()
    let add = kernel.body.nodes.first { $0.op == .arithmetic(.add) }
    #expect(add?.location.line == line)
    #expect(add?.location.file == "ValueTests.swift")
  }

  @Test func `a counted loop advances before its body`() throws {
    let body = try lines { block in
      let x = block.pointer("x", to: U32.self)
      block.loop(from: block.threadIndex, to: block.constant(9, as: U32.self), step: 2) { i in
        block.continueIf(i == 3)
        block.store(i, to: x)
      }
    }
    #expect(
      body.dropFirst() == [
        "%thread1: u32 = tid.x", "%i2: u32 = variable %thread1", "loop {",
        "  %3: u32 = copy %i2", "  %4: pred = setp.ge %3, 9", "  break_if %4",
        "  %5: u32 = add %3, 2", "  %i2 = assign %5", "  %6: pred = setp.eq %3, 3",
        "  continue_if %6", "  st.global.b32 %x0, %3", "}",
      ])
  }
}

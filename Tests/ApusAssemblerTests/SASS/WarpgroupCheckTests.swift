import Testing

@testable import ApusAssembler

@Suite struct WarpgroupCheckTests {
  private func function(_ body: String) throws -> SASSFunction {
    try #require(SASSFunction.parse(SASSTexts.function(body)).first)
  }

  private func findings(_ body: String) throws -> [String] {
    WarpgroupCheck(try function(body)).findings.map {
      "\($0.instruction.name) R\($0.register) \($0.isOperand ? "operand" : "accumulator")"
    }
  }

  @Test func `code that waits is clean`() throws {
    let check = WarpgroupCheck(try function(SASSTexts.loop))
    #expect(check.findings == [])
    #expect(check.productCount == 2)
    #expect(check.groupCount == 1)
    #expect(check.waitCount == 1)
    #expect(try findings(SASSTexts.pingPong) == [])
  }

  @Test func `without its wait every use is found`() throws {
    let text = SASSTexts.loop.replacing("WARPGROUP.DEPBAR.LE gsb0, 0x0\n", with: "")
    #expect(try findings(text) == ["STG R24 accumulator"])
    let other = SASSTexts.pingPong.replacing("WARPGROUP.DEPBAR.LE gsb0, 0x0\nFMUL", with: "FMUL")
    #expect(try findings(other) == ["FMUL R24 accumulator"])
  }

  @Test func `a wait that leaves too many groups is found`() throws {
    let text = SASSTexts.pingPong.replacing("gsb0, 0x1", with: "gsb0, 0x2")
    #expect(try findings(text) == ["MUFU R16 accumulator", "MUFU R17 accumulator"])
  }

  @Test func `an operand written in flight is found, one that is read is not`() throws {
    let written = SASSTexts.pingPong.replacing("MUFU.EX2 R17, R17", with: "MUFU.EX2 R5, R17")
    #expect(try findings(written) == ["MUFU R5 operand"])
    let read = SASSTexts.pingPong.replacing("MUFU.EX2 R17, R17", with: "FADD R17, R17, R5")
    #expect(try findings(read) == [])
  }

  @Test func `a hazard of the next round of a loop is found`() throws {
    // The operand is rewritten at the head while the last round's product runs.
    let body = """
      .L_x_0:
      MOV R4, R2
      WARPGROUP.ARRIVE
      HGMMA.64x16x16.F32.BF16 R24, R4, gdesc[UR10], R24, gsb0
      @P0 BRA `(.L_x_0)
      WARPGROUP.DEPBAR.LE gsb0, 0x0
      EXIT
      """
    #expect(try findings(body) == ["MOV R4 operand"])
    let waits = body.replacing("@P0 BRA", with: "WARPGROUP.DEPBAR.LE gsb0, 0x0\n@P0 BRA")
    #expect(try findings(waits) == [])
  }

  @Test func `a product whose operand another product writes is found`() throws {
    let body = """
      HGMMA.64x16x16.F32.BF16 R24, R4, gdesc[UR10], R24, gsb0
      HGMMA.64x16x16.F32.BF16 R0, gdesc[UR8], RZ, !UPT, gsb0
      WARPGROUP.DEPBAR.LE gsb0, 0x0
      EXIT
      """
    #expect(try findings(body) == ["HGMMA R4 operand"])
  }

  @Test func `a path around a wait is found`() throws {
    let body = SASSTexts.loop.replacing(
      "WARPGROUP.DEPBAR.LE gsb0, 0x0",
      with: "@P1 BRA `(.L_x_1)\nWARPGROUP.DEPBAR.LE gsb0, 0x0\n.L_x_1:")
    #expect(try findings(body) == ["STG R24 accumulator"])
  }

  @Test func `endless groups end the analysis all the same`() throws {
    let body = """
      .L_x_0:
      HGMMA.64x16x16.F32.BF16 R24, gdesc[UR10], R24, gsb0
      WARPGROUP.DEPBAR.LE gsb0, 0x20
      BRA `(.L_x_0)
      """
    #expect(try findings(body) == [])
  }

  @Test func `findings name the instruction, the register and the products`() throws {
    let text = SASSTexts.loop.replacing("WARPGROUP.DEPBAR.LE gsb0, 0x0\n", with: "")
    let finding = try #require(WarpgroupCheck(try function(text)).findings.first)
    #expect(
      finding.description
        == "0080: STG.E desc[UR14][R2.64], R24: R24 must not be used while it is an accumulator of "
        + "the products at 0040, 0050, which are in flight")
  }

  @Test func `the timeline tells which exponentials run beside products`() throws {
    let function = try function(SASSTexts.pingPong)
    let timeline = ProductTimeline(function, WarpgroupCheck(function))
    #expect(timeline.exponentials == 3)
    #expect(timeline.overlapped == 2)
    #expect(
      timeline.description == """
          0000  start: 0 MUFU.EX2, 0 beside products
          0000  group of 1 × HGMMA.64x16x16.F32.BF16: 0 MUFU.EX2, 0 beside products
          0010  wait, 0 groups stay: 1 MUFU.EX2, 0 beside products
          0080  group of 1 × HGMMA.64x16x16.F32.BF16: 0 MUFU.EX2, 0 beside products
          0090  group of 1 × HGMMA.64x16x16.F32.BF16: 0 MUFU.EX2, 0 beside products
          00a0  wait, 1 groups stay: 2 MUFU.EX2, 2 beside products
          00d0  wait, 0 groups stay: 0 MUFU.EX2, 0 beside products
          2 of 3 MUFU.EX2 beside products
        """)
  }

  @Test func `code without products has nothing to find`() throws {
    let check = WarpgroupCheck(try function("FADD R1, R2, R3\nEXIT"))
    #expect(check.findings == [])
    #expect(check.productCount == 0)
    #expect(check.isInFlight == [false, false])
  }
}

import Testing

@testable import ApusAssembler

@Suite struct SASSFunctionTests {
  private func function(_ body: String) throws -> SASSFunction {
    try #require(SASSFunction.parse(SASSTexts.function(body)).first)
  }

  @Test func `sections, labels, predicates and operands are read`() throws {
    let function = try function(SASSTexts.loop)
    #expect(function.name == "k")
    #expect(function.instructions.count == 11)
    #expect(function.labels[".L_x_0"] == 1)
    let branch = function.instructions[2]
    #expect(branch.address == 0x20)
    #expect(branch.predicate == "!P0")
    #expect(branch.opcode == "BRA")
    #expect(branch.operands == ["`(.L_x_0)"])
    #expect(function.instructions[5].text == "HGMMA.64x16x16.F32.BF16 R24, gdesc[UR8], R24, gsb0")
  }

  @Test func `functions of several sections are told apart, others passed over`() {
    let text =
      SASSTexts.function("NOP", name: "a") + "\n\t.section\t.nv.info,\"\",@\"SHT\"\n"
      + SASSTexts.function("NOP\nEXIT", name: "b")
    #expect(SASSFunction.parse(text).map(\.name) == ["a", "b"])
    #expect(SASSFunction.parse(text).map(\.instructions.count) == [1, 2])
    #expect(SASSFunction.parse("nothing\n/*zz*/ NOP ;\n") == [])
  }

  @Test func `branches lead to their label and, with a condition, past themselves`() throws {
    let function = try function(
      """
      @P0 BRA `(.L_x_1)
      BRA.U UP0, `(.L_x_1)
      BRA `(.L_x_1)
      NOP
      .L_x_1:
      @P1 EXIT
      @PT EXIT
      """)
    #expect(function.successors == [[4, 1], [4, 2], [4], [4], [5], []])
  }

  @Test func `a meeting point is where BSSY says`() throws {
    let adjacent = try function(
      "BSSY B0, `(.L_x_0)\n@P1 BRA `(.L_x_1)\nNOP\n.L_x_1:\nBSYNC B0\n.L_x_0:\nEXIT")
    #expect(adjacent.successors[3] == [4])
    let apart = try function(
      "BSSY B0, `(.L_x_0)\nBSYNC B0\nNOP\n.L_x_0:\nEXIT")
    #expect(apart.successors[1] == [3])
  }

  private static let lines: [(String, Set<Int>, Set<Int>)] = [
    ("FADD R1, R2, R3", [1, 2, 3], [1]),
    ("MUFU.EX2 R4, -R5.reuse", [4, 5], [4]),
    ("STG.E.128 desc[UR4][R2.64+0x10], R8", [2, 3, 8, 9, 10, 11], []),
    ("LDG.E.64 R8, desc[UR4][R2.64]", [2, 3, 8, 9], [8, 9]),
    ("LDS.128 R8, [R2+UR4]", [2, 8, 9, 10, 11], [8, 9, 10, 11]),
    ("LDSM.16.M88.4 R8, [R2]", [2, 8, 9, 10, 11], [8, 9, 10, 11]),
    ("STSM.16.M88.2 [R2], R8", [2, 8, 9], []),
    ("SHFL.BFLY PT, R4, R2, 0x1, 0x1f", [2, 4], [4]),
    ("ISETP.LE.U32.AND P0, PT, R3, UR6, PT", [3], []),
    ("IMAD.WIDE R4, R2, 0x4, R6", [2, 4, 5, 6], [4, 5]),
    ("CS2R R24, SRZ", [24, 25], [24, 25]),
    ("IADD3 R2, P0, R0.reuse, UR8, RZ", [0, 2], [2]),
    ("HMMA.16816.F32.BF16 R8, R4, R6, R8", [4, 5, 6, 7, 8, 9, 10, 11], [8, 9, 10, 11]),
    ("SYNCS.ARRIVE.TRANS64 RZ, [UR9], R2", [2], []),
    ("WARPGROUP.DEPBAR.LE gsb0, 0x0", [], []),
    ("R2UR UR4, R7", [7], []),
  ]

  @Test(arguments: lines)
  func `registers are known with their width`(
    line: String, mentioned: Set<Int>, written: Set<Int>
  ) throws {
    let instruction = try #require(try function(line).instructions.first)
    // An HMMA's B operand counts with four registers, two more than it has.
    #expect(instruction.mentionedRegisters.isSuperset(of: mentioned))
    if instruction.name != "HMMA" { #expect(instruction.mentionedRegisters == mentioned) }
    #expect(instruction.writtenRegisters == written)
  }

  @Test(arguments: [
    ("HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24", 24..<88, 0..<0, false),
    ("HGMMA.64x256x16.F16 R24, R4, gdesc[UR8], R24, gsb0", 24..<88, 4..<8, true),
    ("QGMMA.64x64x32.F32.E4M3.E4M3 R8, R40, gdesc[UR8], R8, gsb0", 8..<40, 40..<44, true),
    ("HGMMA.64x16x16.F32 R8, gdesc[UR8], RZ, !UPT", 8..<16, 0..<0, false),
  ])
  func `products know their registers`(
    line: String, accumulators: Range<Int>, operands: Range<Int>, closes: Bool
  ) throws {
    let product = try #require(try function(line).instructions.first)
    #expect(product.isProduct)
    #expect(product.accumulators == accumulators)
    #expect(product.productOperands == operands)
    #expect(product.closesGroup == closes)
  }

  @Test func `normalising forgets addresses and register numbers alone`() throws {
    let first = try function(
      "FADD R1, R2, R3\n@P0 BRA `(.L_x_0)\n.L_x_0:\nLDG.E R4, desc[UR4][R2.64+0x10]")
    let second = try function(
      "FADD R9, R8, R7\n@P3 BRA `(.L_x_9)\n.L_x_9:\nLDG.E R4, desc[UR6][R12.64+0x10]")
    let third = try function(
      "FADD R9, R8, R7\n@P3 BRA `(.L_x_9)\n.L_x_9:\nLDG.E R4, desc[UR6][R12.64+0x20]")
    #expect(first.normalised == second.normalised)
    #expect(first.normalised != third.normalised)
    #expect(first.normalised == "FADD R, R, R\n@P BRA `(.L_x_)\nLDG.E R, desc[UR][R.64+0x10]\n")
  }
}

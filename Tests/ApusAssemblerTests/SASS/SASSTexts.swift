/// Machine code of the form that nvdisasm prints: short kernels with known hazards.
enum SASSTexts {
  /// A function of one section.
  static func function(_ body: String, name: String = "k") -> String {
    var address = 0
    let lines = body.split(separator: "\n").map { line in
      if line.hasSuffix(":") { return String(line) }
      defer { address += 16 }
      let digits = String(address, radix: 16)
      let padded = String(repeating: "0", count: 4 - digits.count) + digits
      return "        /*\(padded)*/                   \(line) ;"
    }
    return """
      \t.section\t.text.\(name),"ax",@progbits
      \t.sectionflags\t@"SHF_BARRIERS=16"
      \t.sectioninfo\t@"SHI_REGISTERS=40"
      \t.align\t128
              .global         \(name)
      \(name):
      .text.\(name):
      \(lines.joined(separator: "\n"))
      """
  }

  /// A loop of the form of a product over a ring: wait for data, products, wait for products.
  static let loop = """
    CS2R R24, SRZ
    .L_x_0:
    SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR13], R2
    @!P0 BRA `(.L_x_0)
    WARPGROUP.ARRIVE
    HGMMA.64x16x16.F32.BF16 R24, gdesc[UR8], R24
    HGMMA.64x16x16.F32.BF16 R24, gdesc[UR8], R24, gsb0
    WARPGROUP.DEPBAR.LE gsb0, 0x0
    ISETP.LE.U32.AND P0, PT, R3, UR6, PT
    @!P0 BRA `(.L_x_0)
    STG.E desc[UR14][R2.64], R24
    EXIT
    """

  /// Two products in flight in turn, softmax of one beside the other: S in R8…R15, P in R4…R7, O in
  /// R24…R31.
  static let pingPong = """
    HGMMA.64x16x16.F32.BF16 R8, gdesc[UR8], RZ, !UPT, gsb0
    WARPGROUP.DEPBAR.LE gsb0, 0x0
    MUFU.EX2 R8, R8
    F2FP.BF16.F32.PACK_AB R4, R9, R8
    F2FP.BF16.F32.PACK_AB R5, R11, R10
    F2FP.BF16.F32.PACK_AB R6, R13, R12
    F2FP.BF16.F32.PACK_AB R7, R15, R14
    WARPGROUP.ARRIVE
    HGMMA.64x16x16.F32.BF16 R16, gdesc[UR8], RZ, !UPT, gsb0
    HGMMA.64x16x16.F32.BF16 R24, R4, gdesc[UR10], R24, gsb0
    WARPGROUP.DEPBAR.LE gsb0, 0x1
    MUFU.EX2 R16, R16
    MUFU.EX2 R17, R17
    WARPGROUP.DEPBAR.LE gsb0, 0x0
    FMUL R24, R24, R16
    EXIT
    """
}

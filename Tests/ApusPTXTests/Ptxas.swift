import ApusAssembler

extension Ptxas {
  /// The assembler, or nil where there is none.
  static let found = Ptxas.find()

  /// Whether ptxas tests run; prints SKIP once where they do not.
  static let isAvailable: Bool = {
    if found == nil {
      print("SKIP ptxas tests: no ptxas in APUS_PTXAS or PATH; Scripts/ptxas-install")
    }
    return found != nil
  }()
}

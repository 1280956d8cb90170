import ApusIR

extension KernelPrinter {
  /// `.visible .entry name(parameters)` and the launch directives.
  func signature() throws(PTXError) -> String {
    var names = Set<String>()
    var lines: [String] = []
    for parameter in kernel.parameters {
      guard isIdentifier(parameter.name), names.insert(parameter.name).inserted else {
        throw .invalidName(
          kind: "parameter", name: parameter.name, kernel: kernel.symbol,
          requirement: "an ASCII identifier, unique in its kernel")
      }
      lines.append("  " + declaration(of: parameter))
    }
    var text = ".visible .entry \(kernel.symbol)("
    if !lines.isEmpty { text += "\n" + lines.joined(separator: ",\n") + "\n" }
    text += ")\n.maxntid \(kernel.launch.threads), 1, 1\n"
    text += ".minnctapersm \(kernel.launch.minBlocksPerMultiprocessor)\n"
    if kernel.launch.clusterSize > 1 {
      text += ".explicitcluster\n.reqnctapercluster \(kernel.launch.clusterSize), 1, 1\n"
    }
    return text
  }

  private func declaration(of parameter: Parameter) -> String {
    let name = Self.symbol(of: parameter)
    return switch parameter.kind {
    case .scalar(let type): ".param .b\(max(8, type.bitWidth)) \(name)"
    case .pointer(let alignment): ".param .u64 .ptr .global .align \(alignment) \(name)"
    case .tensorMap: ".param .align 64 .b8 \(name)[128]"
    case .bytes(let count, let alignment): ".param .align \(alignment) .b8 \(name)[\(count)]"
    }
  }

  /// The prefix keeps names apart from instruction names, which PTX reserves.
  private static func symbol(of parameter: Parameter) -> String { "param_\(parameter.name)" }

  /// The symbol of an entry of the parameter table.
  func symbol(of id: ParameterID) throws(PTXError) -> String {
    guard kernel.parameters.indices.contains(id.index) else {
      throw malformed("must name a parameter of the kernel", found: "parameter \(id.index)")
    }
    return Self.symbol(of: kernel.parameters[id.index])
  }
}

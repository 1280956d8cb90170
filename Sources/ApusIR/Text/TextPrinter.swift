/// Prints a kernel as stable, readable text: one line a node, regions indented.
///
/// `%alpha12: f32 = mul %a3, 2.0  // Softmax.swift:31` names value 12 with its hint; consecutive
/// values of one hint print as `%s8...%s71`. Updated accumulators stand in brackets before the
/// other operands, immediates in braces after them.
public struct TextPrinter: Sendable {
  /// Whether each line ends with its Swift file and line.
  public var showsLocations: Bool

  /// A printer.
  public init(showsLocations: Bool = true) { self.showsLocations = showsLocations }

  /// The text of a module: its kernels, separated by blank lines.
  public func print(_ module: ModuleIR) -> String {
    module.kernels.map(print).joined(separator: "\n")
  }

  /// The text of a kernel, ending with a newline.
  public func print(_ kernel: KernelIR) -> String {
    var lines = header(of: kernel)
    lines.append("{")
    append(kernel.body, of: kernel, indent: "  ", to: &lines)
    lines.append("}")
    return lines.joined(separator: "\n") + "\n"
  }

  /// The line of one node, regions left out.
  public func print(_ node: Node, of kernel: KernelIR) -> String {
    let line = head(of: node, in: kernel)
    return showsLocations ? "\(line)  // \(node.location)" : line
  }

  /// `%hint12`: how text names a value; ids beyond the table print without a hint.
  public static func name(of value: ValueID, in kernel: KernelIR) -> String {
    let hint =
      kernel.values.indices.contains(value.index) ? kernel.values[value.index].nameHint : ""
    return "%\(hint)\(value.index)"
  }
}

// MARK: - Tables

extension TextPrinter {
  private func header(of kernel: KernelIR) -> [String] {
    let launch = kernel.launch
    let parameters = kernel.parameters.map { "\($0.name): \($0.kind.text)" }
    var lines = [
      "kernel \(kernel.symbol)(\(parameters.joined(separator: ", ")))",
      "  launch threads \(launch.threads), min blocks \(launch.minBlocksPerMultiprocessor), "
        + "cluster \(launch.clusterSize)",
    ]
    for shared in kernel.shared {
      let contents =
        switch shared.contents {
        case .bytes: ""
        case .mbarriers(let arrivals): ", mbarriers of \(arrivals)"
        }
      lines.append(
        "  shared \(shared.name): \(shared.byteCount) bytes at \(shared.offset), "
          + "align \(shared.alignment)\(contents)")
    }
    for barrier in kernel.barriers {
      let last = barrier.firstID + barrier.count - 1
      let ids = barrier.count == 1 ? "\(barrier.firstID)" : "\(barrier.firstID)...\(last)"
      lines.append("  barrier \(barrier.name): id \(ids), \(barrier.threads) threads")
    }
    for ring in kernel.rings {
      func name(_ id: SharedID) -> String {
        kernel.shared.indices.contains(id.index)
          ? kernel.shared[id.index].name : "?\(id.index)"
      }
      lines.append("  ring \(ring.name): full \(name(ring.full)), empty \(name(ring.empty))")
    }
    return lines
  }
}

extension Parameter.Kind {
  fileprivate var text: String {
    switch self {
    case .scalar(let type): "\(type)"
    case .pointer(let alignment): "pointer align \(alignment)"
    case .tensorMap: "tensor map"
    case .bytes(let count, let alignment): "\(count) bytes align \(alignment)"
    }
  }
}

// MARK: - Nodes

extension TextPrinter {
  private func append(
    _ region: Region, of kernel: KernelIR, indent: String, to lines: inout [String]
  ) {
    for node in region.nodes {
      let location = showsLocations ? "  // \(node.location)" : ""
      let line = indent + head(of: node, in: kernel)
      if node.regions.isEmpty {
        lines.append(line + location)
        continue
      }
      if case .control(.roles(let roles)) = node.op {
        lines.append(line + location)
        for (role, region) in zip(roles, node.regions) {
          lines.append("\(indent)role \(role.text) {")
          append(region, of: kernel, indent: indent + "  ", to: &lines)
          lines.append("\(indent)}")
        }
        continue
      }
      for (index, region) in node.regions.enumerated() {
        lines.append(index == 0 ? "\(line) {\(location)" : "\(indent)} else {")
        append(region, of: kernel, indent: indent + "  ", to: &lines)
      }
      lines.append("\(indent)}")
    }
  }

  private func head(of node: Node, in kernel: KernelIR) -> String {
    switch node.op {
    case .control(.comment(let text)): return "// \(text)"
    case .control(.phase(let text)): return "// == \(text)"
    default: break
    }
    let inPlace = min(node.op.inPlaceCount, node.operands.count)
    var parts = [node.op.mnemonic]
    if inPlace > 0 {
      let variables = texts(of: Array(node.operands.prefix(inPlace)), in: kernel)
      parts.append("[\(variables.joined(separator: ", "))]")
    }
    let operands =
      node.op.symbols(in: kernel)
      + texts(of: Array(node.operands.dropFirst(inPlace)), in: kernel)
    if !operands.isEmpty { parts.append(operands.joined(separator: ", ")) }
    let immediates = node.op.immediates
    if !immediates.isEmpty { parts.append("{\(immediates.joined(separator: ", "))}") }
    let line = parts.joined(separator: " ")
    if inPlace > 0 || node.results.isEmpty { return line }
    let results = node.results.map { id -> String in
      let name = Self.name(of: id, in: kernel)
      guard kernel.values.indices.contains(id.index) else { return name }
      return node.op == .movement(.assign) ? name : "\(name): \(kernel[id].type)"
    }
    return "\(results.joined(separator: ", ")) = \(line)"
  }

  /// Operand texts, runs of at least four consecutive values of one hint folded into one.
  private func texts(of operands: [Operand], in kernel: KernelIR) -> [String] {
    var texts: [String] = []
    var index = 0
    while index < operands.count {
      guard let first = operands[index].valueID else {
        texts.append(operands[index].constant.map(Self.literal) ?? "")
        index += 1
        continue
      }
      var end = index + 1
      while end < operands.count, operands[end].valueID?.index == first.index + end - index,
        hint(ValueID(first.index + end - index), in: kernel) == hint(first, in: kernel)
      { end += 1 }
      let run = end - index < 4 ? 1 : end - index
      let name = Self.name(of: first, in: kernel)
      let last = Self.name(of: ValueID(first.index + run - 1), in: kernel)
      texts.append(run == 1 ? name : "\(name)...\(last)")
      index += run
    }
    return texts
  }

  private func hint(_ id: ValueID, in kernel: KernelIR) -> String {
    kernel.values.indices.contains(id.index) ? kernel.values[id.index].nameHint : ""
  }

  /// A constant with its type where the literal does not show it.
  private static func literal(_ constant: Constant) -> String {
    switch constant.type {
    case .pred, .u32, .f32: constant.description
    default: "\(constant):\(constant.type)"
    }
  }
}

extension Role {
  fileprivate var text: String {
    let budget = registers.map { ", registers \($0)" } ?? ""
    return "\(name) warps \(warps.lowerBound)..<\(warps.upperBound)\(budget)"
  }
}

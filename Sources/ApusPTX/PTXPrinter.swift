public import ApusIR

/// Prints kernels as PTX, the language that the driver compiles.
///
/// The text is stable (equal modules print equally) and states the lowest `.version` that has all
/// its instructions, so the oldest possible driver loads it. Each op has one spelling; the files
/// of `Spelling` hold them group by group. Registers are `%p` (predicates), `%h` (16 bit), `%r`
/// (32 bit), `%f` (32-bit floating point) and `%d` (64 bit), numbered in order of definition. A
/// kernel's shared memory is one dynamic window; allocations are offsets into it.
///
/// Kernels are expected to verify for the target. What the target lacks is refused with a typed
/// error; `Legalisation` replaces some of it beforehand.
public struct PTXPrinter: Sendable {
  /// Whether lines end with the Swift file and line that emitted them.
  public var showsLocations: Bool

  /// A printer.
  public init(showsLocations: Bool = false) { self.showsLocations = showsLocations }

  /// Name of the dynamic shared window in printed code.
  public static let sharedWindow = "shared_window"

  /// The PTX text of a module for a target.
  ///
  /// - Throws: `PTXError` naming target and op if the target lacks an op, or naming what is
  ///   malformed in a kernel that does not verify.
  public func print(_ module: ModuleIR, target: Target) throws(PTXError) -> String {
    var symbols = Set<String>()
    for kernel in module.kernels {
      guard isIdentifier(kernel.symbol), symbols.insert(kernel.symbol).inserted else {
        throw .invalidName(
          kind: "kernel", name: kernel.symbol, kernel: kernel.symbol,
          requirement: "a unique ASCII identifier")
      }
    }
    var entries: [(head: String, body: PTXText)] = []
    var version = target.minimumPTXVersion
    for kernel in module.kernels {
      var printer = KernelPrinter(kernel: kernel, target: target, showsLocations: showsLocations)
      entries.append(try printer.print())
      version = max(version, printer.version)
    }
    var text = ".version \(version)\n.target \(target)\n.address_size 64\n"
    if module.kernels.contains(where: { !$0.shared.isEmpty }) {
      let alignment = module.kernels.map(\.sharedAlignment).max() ?? 16
      text += "\n.extern .shared .align \(alignment) .b8 \(Self.sharedWindow)[];\n"
    }
    let byteCount = entries.reduce(text.utf8.count) { $0 + $1.head.utf8.count + $1.body.count + 1 }
    // One copy of a text of 200 kB is worth avoiding four more.
    return String(unsafeUninitializedCapacity: byteCount) { buffer in
      var end = PTXText.copy(text, to: buffer, at: 0)
      for entry in entries {
        end = PTXText.copy("\n", to: buffer, at: end)
        end = PTXText.copy(entry.head, to: buffer, at: end)
        end = entry.body.copy(to: buffer, at: end)
      }
      return end
    }
  }
}

/// Whether `name` is a letter followed by letters, digits and underscores, all ASCII.
func isIdentifier(_ name: String) -> Bool {
  guard let first = name.utf8.first, isLetter(first) else { return false }
  return name.utf8.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || $0 == 0x5F }
}

private func isLetter(_ byte: UInt8) -> Bool {
  (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
}

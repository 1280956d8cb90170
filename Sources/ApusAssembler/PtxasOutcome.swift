/// What the assembler said of a module.
public struct PtxasOutcome: Sendable, Hashable {
  /// The exit status; 0 for success.
  public let status: Int32
  /// All that it printed.
  public let log: String
  /// The machine code (a cubin), where it was asked for.
  public let code: [UInt8]

  /// An outcome.
  public init(status: Int32, log: String, code: [UInt8] = []) {
    self.status = status
    self.log = log
    self.code = code
  }

  /// What one kernel takes.
  public struct Usage: Sendable, Hashable {
    /// Registers of each thread at entry.
    public var registers = 0
    /// Static shared memory.
    public var sharedBytes = 0
    /// Spill stores and loads, as instructions times bytes.
    public var spillBytes = 0
    /// Local memory of each thread.
    public var stackBytes = 0
    /// Named barriers.
    public var barriers = 0

    /// Nothing, or the given amounts.
    public init(
      registers: Int = 0, sharedBytes: Int = 0, spillBytes: Int = 0, stackBytes: Int = 0,
      barriers: Int = 0
    ) {
      self.registers = registers
      self.sharedBytes = sharedBytes
      self.spillBytes = spillBytes
      self.stackBytes = stackBytes
      self.barriers = barriers
    }
  }

  private var lines: [Substring] { log.split(separator: "\n") }

  /// Lines of the log that name errors, with the line of PTX each is about.
  public var errors: [(line: Int, text: String)] {
    lines.compactMap { text in
      guard text.contains("error"), let start = text.firstRange(of: ", line ") else { return nil }
      let digits = text[start.upperBound...].prefix { $0.isNumber }
      return Int(digits).map { ($0, String(text)) }
    }
  }

  /// Lines that tell of serialised products (C75…) or other warnings.
  public var warnings: [String] {
    lines.map(String.init).filter { $0.contains("C75") || $0.contains("warning") }
  }

  /// Resources by kernel, from `-v`.
  public var usage: [String: Usage] {
    var all: [String: Usage] = [:]
    var kernel = ""
    for line in lines {
      let words = line.split { " ',".contains($0) }.map(String.init)
      func number(before word: String...) -> Int? {
        words.indices.first { words[$0...].starts(with: word) && $0 > 0 }
          .flatMap { Int(words[$0 - 1]) }
      }
      if line.contains("Compiling entry function"), words.count > 6 {
        kernel = words[words.firstIndex(of: "function").map { $0 + 1 } ?? 0]
      }
      if let stack = number(before: "bytes", "stack") {
        all[kernel, default: Usage()].stackBytes = stack
        all[kernel, default: Usage()].spillBytes =
          (number(before: "bytes", "spill", "stores") ?? 0)
          + (number(before: "bytes", "spill", "loads") ?? 0)
      }
      if let registers = number(before: "registers") {
        all[kernel, default: Usage()].registers = registers
        all[kernel, default: Usage()].sharedBytes = number(before: "bytes", "smem") ?? 0
        all[kernel, default: Usage()].barriers = number(before: "barriers") ?? 0
      }
    }
    return all
  }
}

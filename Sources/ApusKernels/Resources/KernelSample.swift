/// A kernel that brings a small problem of its own, for `apus kernels simulate` and for tests that
/// run the whole catalogue.
///
/// A sample is as small as the kernel allows: the simulator executes some 10⁷ lane operations a
/// second, and the sample should take well under a second.
public protocol SampledKernel: ShippedKernel {
  /// A problem whose numbers depend on the seed alone.
  func sample(seed: UInt64) -> KernelSample
}

/// A launch on small buffers, with what the results must be.
///
/// Whoever runs it binds `buffers` in order, asks `launches` with their addresses, runs what that
/// gives, and hands the contents of all buffers to `check`.
public struct KernelSample: Sendable {
  /// Memory of the problem.
  public struct Buffer: Sendable {
    /// The name in reports.
    public var name: String
    /// The contents at the start.
    public var bytes: [UInt8]
    /// Whether the kernel may write it.
    public var isWritable: Bool
    /// Whether `bytes` count as written: reading an output before writing it is an error.
    public var isWritten: Bool

    /// A buffer that is read.
    public static func input<Element: BitwiseCopyable>(
      _ name: String, _ elements: [Element]
    ) -> Buffer {
      Buffer(name: name, bytes: rawBytes(elements), isWritable: false, isWritten: true)
    }

    /// A buffer that is read and written.
    public static func updated<Element: BitwiseCopyable>(
      _ name: String, _ elements: [Element]
    ) -> Buffer {
      Buffer(name: name, bytes: rawBytes(elements), isWritable: true, isWritten: true)
    }

    /// A buffer that is written before it is read.
    public static func output(_ name: String, byteCount: Int) -> Buffer {
      Buffer(
        name: name, bytes: Array(repeating: 0, count: byteCount), isWritable: true,
        isWritten: false)
    }
  }

  /// One line: shapes and counts.
  public var summary: String
  /// All memory, in the order of the addresses that `launches` receives.
  public var buffers: [Buffer]
  /// The launches, in order, given the address of each buffer. Arguments that point into a plan's
  /// metadata or workspace are not for samples: those are buffers here.
  public var launches: @Sendable (_ addresses: [UInt64]) -> [KernelLaunch]
  /// What is wrong with the contents after the launches, a line each; empty for correct results.
  public var check: @Sendable (_ contents: [[UInt8]]) -> [String]

  /// A sample.
  public init(
    summary: String, buffers: [Buffer],
    launches: @escaping @Sendable (_ addresses: [UInt64]) -> [KernelLaunch],
    check: @escaping @Sendable (_ contents: [[UInt8]]) -> [String]
  ) {
    self.summary = summary
    self.buffers = buffers
    self.launches = launches
    self.check = check
  }

  /// The elements of a buffer's bytes; what is left over at the end is dropped.
  public static func elements<Element: BitwiseCopyable>(
    of bytes: [UInt8], as: Element.Type
  ) -> [Element] {
    let stride = MemoryLayout<Element>.stride
    return bytes.withUnsafeBytes { raw in
      (0..<raw.count / stride).map {
        raw.loadUnaligned(fromByteOffset: $0 * stride, as: Element.self)
      }
    }
  }
}

private func rawBytes<Element: BitwiseCopyable>(_ elements: [Element]) -> [UInt8] {
  elements.withUnsafeBytes { Array($0) }
}

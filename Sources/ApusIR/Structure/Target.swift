/// A GPU architecture that kernels are printed for.
public enum Target: UInt8, Sendable, Hashable, CaseIterable {
  /// Ampere data centre (A100).
  case sm80
  /// Ampere consumer (A10, RTX 30).
  case sm86
  /// Ada (L4, L40, RTX 40): FP8 conversions and `mma`.
  case sm89
  /// Hopper with its architecture-specific features: `wgmma`, `setmaxnreg`.
  case sm90a
}

extension Target: Comparable, CustomStringConvertible {
  /// Older before newer.
  public static func < (left: Target, right: Target) -> Bool { left.rawValue < right.rawValue }

  /// The PTX name: `sm_80`, `sm_90a`.
  public var description: String {
    switch self {
    case .sm80: "sm_80"
    case .sm86: "sm_86"
    case .sm89: "sm_89"
    case .sm90a: "sm_90a"
    }
  }

  /// The target with this PTX name.
  public init?(_ description: String) {
    guard let target = Target.allCases.first(where: { $0.description == description }) else {
      return nil
    }
    self = target
  }

  /// Shared memory that one block can have: 163, 99 or 227 KiB (CUDA programming guide, technical
  /// specifications per compute capability).
  public var maxSharedBytesPerBlock: Int {
    switch self {
    case .sm80: 163 << 10
    case .sm86, .sm89: 99 << 10
    case .sm90a: 227 << 10
    }
  }

  /// Shared memory of one multiprocessor; each resident block takes 1 KiB beyond its own.
  public var sharedBytesPerMultiprocessor: Int {
    switch self {
    case .sm80: 164 << 10
    case .sm86, .sm89: 100 << 10
    case .sm90a: 228 << 10
    }
  }

  /// Resident threads of one multiprocessor.
  public var maxThreadsPerMultiprocessor: Int {
    switch self {
    case .sm80, .sm90a: 2048
    case .sm86, .sm89: 1536
    }
  }

  /// Resident blocks of one multiprocessor.
  public var maxBlocksPerMultiprocessor: Int {
    switch self {
    case .sm80, .sm90a: 32
    case .sm86: 16
    case .sm89: 24
    }
  }

  /// 32-bit registers of one multiprocessor.
  public var registersPerMultiprocessor: Int { 65536 }

  /// The first PTX version that knows the target.
  public var minimumPTXVersion: PTXVersion {
    switch self {
    case .sm80: PTXVersion(7, 0)
    case .sm86: PTXVersion(7, 1)
    case .sm89: PTXVersion(7, 8)
    case .sm90a: PTXVersion(8, 0)
    }
  }
}

/// A version of the PTX language; a driver refuses modules newer than it knows.
public struct PTXVersion: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// Before the point.
  public let major: Int
  /// After the point.
  public let minor: Int

  /// Version `major.minor`.
  public init(_ major: Int, _ minor: Int) {
    self.major = major
    self.minor = minor
  }

  /// Older before newer.
  public static func < (left: PTXVersion, right: PTXVersion) -> Bool {
    (left.major, left.minor) < (right.major, right.minor)
  }

  /// `8.0`.
  public var description: String { "\(major).\(minor)" }
}

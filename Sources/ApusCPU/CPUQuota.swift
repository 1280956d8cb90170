#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// How much processor time the control groups of this process allow, as Linux states it.
///
/// A container on a host of 64 CPUs may have a quota of two: its threads run on any CPU until they have
/// used 200 ms of each 100 ms together, and then all stand still until the period ends. More
/// threads than the quota's CPUs therefore make every loop wait for the slowest period.
///
/// Source: the kernel's *Control Group v2* (`cpu.max`: `QUOTA PERIOD` or `max PERIOD`, in µs) and
/// *CFS Bandwidth Control* (`cpu.cfs_quota_us`, -1 for none, and `cpu.cfs_period_us`). A quota holds
/// for all groups below, so the least one from the process's group up to the mounted root counts.
struct CPUQuota {
  /// Where `proc` and `sys` are looked for: empty for the system's, a folder in tests.
  var root = ""

  /// Whole CPUs of the quota, at least 1; nil without one. A part of a CPU more is no further thread:
  /// it would be stopped for the rest of each period, and the loop with it.
  var cpuCount: Int? {
    guard let mounts = text("/proc/self/mountinfo"), let groups = text("/proc/self/cgroup") else {
      return nil
    }
    let quotas = mounts.split(separator: "\n").compactMap { line -> Double? in
      guard let mount = Mount(line), let group = Self.group(of: mount.version, in: groups) else {
        return nil
      }
      return least(mount, group)
    }
    return quotas.min().map { Int(min(max($0, 1), 1_048_576)) }
  }

  /// A mounted hierarchy that may limit processor time.
  private struct Mount {
    enum Version { case one, two }

    var version: Version
    /// The group that the mount shows as its root: a container's is its own.
    var group: Substring
    /// Where it is mounted.
    var place: Substring

    /// A line of `/proc/self/mountinfo`: `31 23 0:29 /group /place options … - type source options`.
    init?(_ line: Substring) {
      let words = line.split(separator: " ")
      guard let dash = words.firstIndex(of: "-"), dash >= 6, words.count > dash + 3 else {
        return nil
      }
      switch words[dash + 1] {
      case "cgroup2": version = .two
      case "cgroup" where words[dash + 3].split(separator: ",").contains("cpu"): version = .one
      default: return nil
      }
      (group, place) = (words[3], words[4])
    }
  }

  /// The process's group in a hierarchy: `0::/group` of version 2, `4:cpu,cpuacct:/group` of 1.
  private static func group(of version: Mount.Version, in text: String) -> Substring? {
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      switch version {
      case .one where parts[1].split(separator: ",").contains("cpu"): return parts[2]
      case .two where parts[1].isEmpty: return parts[2]
      default: continue
      }
    }
    return nil
  }

  /// CPUs of the least quota of the group and those around it.
  private func least(_ mount: Mount, _ group: Substring) -> Double? {
    // A group outside the mounted part is not to be seen; the mount's root is around it or is it.
    let shown = mount.group.split(separator: "/")
    var path = group.split(separator: "/")
    path = path.starts(with: shown) ? Array(path.dropFirst(shown.count)) : []
    var least: Double?
    while true {
      let folder = ([mount.place] + path).joined(separator: "/")
      if let quota = quota(of: folder, mount.version) { least = min(least ?? quota, quota) }
      if path.isEmpty { return least }
      path.removeLast()
    }
  }

  private func quota(of folder: String, _ version: Mount.Version) -> Double? {
    let words: [Substring]?
    switch version {
    case .two: words = text(folder + "/cpu.max").map(Self.words)
    case .one:
      words = text(folder + "/cpu.cfs_quota_us").flatMap { quota in
        text(folder + "/cpu.cfs_period_us").map { Self.words(quota) + Self.words($0) }
      }
    }
    guard let words, words.count == 2, let quota = Int(words[0]), let period = Int(words[1]),
      quota > 0, period > 0
    else { return nil }
    return Double(quota) / Double(period)
  }

  private static func words(_ text: String) -> [Substring] {
    text.split { $0 == " " || $0 == "\n" }
  }

  /// A file's first 64 KiB; nil if it cannot be read.
  private func text(_ path: String) -> String? {
    // Not open(2): its Swift overlay would bring symbols of a newer C library into ours.
    guard let file = fopen(root + path, "re") else { return nil }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = fread(&bytes, 1, bytes.count, file)
    return String(decoding: bytes.prefix(count), as: UTF8.self)
  }
}

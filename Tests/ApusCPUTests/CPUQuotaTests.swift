import Foundation
import Testing

@testable import ApusCPU

@Suite struct CPUQuotaTests {
  private static let mountsV2 =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
  private static let mountsV1 = """
    31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
    34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct

    """

  /// What a tree of files allows.
  private func count(_ files: [String: String]) throws -> Int? {
    let root = FileManager.default.temporaryDirectory.appending(path: "quota-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: root) }
    for (path, text) in files {
      let file = root.appending(path: path)
      try FileManager.default.createDirectory(
        at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(text.utf8).write(to: file)
    }
    return CPUQuota(root: root.path).cpuCount
  }

  private func v2(_ group: String, _ limits: [String: String], mounts: String? = nil) throws
    -> Int?
  {
    var files = [
      "proc/self/mountinfo": mounts ?? Self.mountsV2, "proc/self/cgroup": "0::\(group)\n",
    ]
    for (path, text) in limits { files["sys/fs/cgroup\(path)/cpu.max"] = text + "\n" }
    return try count(files)
  }

  private func v1(
    _ group: String, _ limits: [String: (String, String)], mounts: String? = nil
  ) throws -> Int? {
    var files = [
      "proc/self/mountinfo": mounts ?? Self.mountsV1,
      "proc/self/cgroup": "5:memory:/other\n4:cpu,cpuacct:\(group)\n1:name=systemd:/x\n",
    ]
    for (path, limit) in limits {
      files["sys/fs/cgroup/cpu,cpuacct\(path)/cpu.cfs_quota_us"] = limit.0 + "\n"
      files["sys/fs/cgroup/cpu,cpuacct\(path)/cpu.cfs_period_us"] = limit.1 + "\n"
    }
    return try count(files)
  }

  @Test func `version 2 states quota and period in one file`() throws {
    #expect(try v2("/", ["": "200000 100000"]) == 2)
    #expect(try v2("/a", ["/a": "max 100000"]) == nil)
    #expect(try v2("/a", [:]) == nil)
  }

  @Test func `version 1 states them in two`() throws {
    #expect(try v1("/", ["": ("200000", "100000")]) == 2)
    #expect(try v1("/a", ["/a": ("-1", "100000")]) == nil)
    #expect(try v1("/a", ["/a": ("400000", "50000")]) == 8)
  }

  @Test func `parts of a CPU are no further thread, but one always runs`() throws {
    #expect(try v2("/", ["": "399999 100000"]) == 3)
    #expect(try v2("/", ["": "25000 100000"]) == 1)
  }

  @Test func `the least quota of the groups around counts`() throws {
    let limits = ["/a": "800000 100000", "/a/b": "max 100000", "/a/b/c": "1600000 100000"]
    #expect(try v2("/a/b/c", limits) == 8)
    #expect(try v2("/a/b", limits) == 8)
    #expect(try v2("/d", limits) == nil)
    #expect(try v1("/a/b", ["/a/b": ("-1", "100000"), "/a": ("300000", "100000")]) == 3)
  }

  /// Without a namespace of its own a container reads the host's name of its group, but sees it at
  /// the mounted root.
  @Test func `a container's own group is the root of its mount`() throws {
    let mounts = Self.mountsV1.replacing(
      "0:29 / /sys", with: "0:29 /docker/f00 /sys")
    #expect(mounts != Self.mountsV1)
    #expect(try v1("/docker/f00", ["": ("200000", "100000")], mounts: mounts) == 2)
    #expect(
      try v1(
        "/docker/f00/in", ["": ("900000", "100000"), "/in": ("200000", "100000")], mounts: mounts)
        == 2)
    #expect(try v1("/elsewhere", ["": ("200000", "100000")], mounts: mounts) == 2)
  }

  @Test func `both versions at once`() throws {
    var files = [
      "proc/self/mountinfo": Self.mountsV1
        + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
      "proc/self/cgroup": "1:cpu,cpuacct:/a\n0::/b\n",
      "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "500000",
      "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
    ]
    #expect(try count(files) == 5)
    files["sys/fs/cgroup/unified/b/cpu.max"] = "300000 100000"
    #expect(try count(files) == 3)
  }

  @Test func `files that say nothing, or nonsense, limit nothing`() throws {
    #expect(try count([:]) == nil)
    #expect(try v2("/", ["": ""]) == nil)
    #expect(try v2("/", ["": "many 100000"]) == nil)
    #expect(try v2("/", ["": "200000 0"]) == nil)
    #expect(try v2("/", ["": "200000"]) == nil)
    #expect(try v2("/", ["": "200000 100000"], mounts: "garbage - cgroup2\n") == nil)
    #expect(try v2("/", ["": "9223372036854775807 1"]) == 1 << 20)
  }

  @Test func `a quota of this machine bounds the threads`() {
    let count = ThreadPool.availableCPUs
    #expect(count >= 1)
    if let quota = CPUQuota().cpuCount { #expect(count <= quota) }
  }
}

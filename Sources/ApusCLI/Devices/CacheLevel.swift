import Foundation

/// One cache of the first processor, as Linux states it in sysfs.
struct CacheLevel: Codable, Sendable, Hashable {
  /// 1 is nearest.
  var level: Int
  /// `Data`, `Instruction` or `Unified`.
  var type: String
  /// Size as the system spells it, such as `48K`.
  var size: String

  /// The caches below a sysfs folder; empty where the system does not tell.
  static func all(folder: String = "/sys/devices/system/cpu/cpu0/cache") -> [CacheLevel] {
    var levels: [CacheLevel] = []
    while let level = line("\(folder)/index\(levels.count)/level").flatMap({ Int($0) }),
      let type = line("\(folder)/index\(levels.count)/type"),
      let size = line("\(folder)/index\(levels.count)/size")
    {
      levels.append(CacheLevel(level: level, type: type, size: size))
    }
    return levels
  }

  private static func line(_ path: String) -> String? {
    readText(path).map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }
  }
}

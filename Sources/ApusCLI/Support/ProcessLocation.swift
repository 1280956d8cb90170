import Foundation

/// Folders that a command searches for files of its package.
enum ProcessLocation {
  /// The working folder and those above it, then the folder of the executable and those above it.
  ///
  /// A checkout is found from within, and by its own build products from elsewhere; nothing of the
  /// building machine is baked into the binary.
  static var searchFolders: [URL] {
    let working = URL(fileURLWithPath: FileManager.default.currentDirectoryPath)
    var folders = ancestors(of: working)
    if let executable = Bundle.main.executableURL?.resolvingSymlinksInPath() {
      folders += ancestors(of: executable.deletingLastPathComponent())
    }
    return folders
  }

  /// A folder, the one it is in, and so on up to the root.
  static func ancestors(of folder: URL) -> [URL] {
    var folder = folder.standardizedFileURL
    var result = [folder]
    while folder.pathComponents.count > 1 {
      folder = folder.deletingLastPathComponent().standardizedFileURL
      result.append(folder)
    }
    return result
  }
}

public import ApusIR

extension PTXVersion {
  /// The CUDA release that brought the version (PTX ISA § Release Notes) and the driver branch of
  /// that release (CUDA release notes, toolkit driver versions), the newest version first.
  private static let releases: [(version: PTXVersion, cuda: String, driver: Int)] = [
    (PTXVersion(9, 0), "13.0", 580), (PTXVersion(8, 8), "12.9", 575),
    (PTXVersion(8, 7), "12.8", 570), (PTXVersion(8, 6), "12.7", 565),
    (PTXVersion(8, 5), "12.5", 555), (PTXVersion(8, 4), "12.4", 550),
    (PTXVersion(8, 3), "12.3", 545), (PTXVersion(8, 2), "12.2", 535),
    (PTXVersion(8, 1), "12.1", 530), (PTXVersion(8, 0), "12.0", 525),
    (PTXVersion(7, 8), "11.8", 520), (PTXVersion(7, 7), "11.7", 515),
    (PTXVersion(7, 6), "11.6", 510), (PTXVersion(7, 5), "11.5", 495),
    (PTXVersion(7, 4), "11.4", 470), (PTXVersion(7, 3), "11.3", 465),
    (PTXVersion(7, 2), "11.2", 460), (PTXVersion(7, 1), "11.1", 455),
    (PTXVersion(7, 0), "11.0", 450),
  ]

  /// Every version that a driver is stated for, the oldest first.
  public static var allKnown: [PTXVersion] { releases.map(\.version).reversed() }

  /// The oldest driver branch that compiles the version: 525 stands for r525. Nil for a version
  /// newer than this table.
  public var minimumDriver: Int? { Self.releases.last { $0.version >= self }?.driver }

  /// The CUDA release that brought the version, nil for one newer than this table.
  public var cudaRelease: String? { Self.releases.last { $0.version >= self }?.cuda }
}

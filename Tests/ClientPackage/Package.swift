// swift-tools-version: 6.3
import PackageDescription

// A package that uses Apus as any other package would: through its product, by `import Apus` alone.
let package = Package(
  name: "client",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "apus", path: "../..")],
  targets: [
    .executableTarget(name: "Client", dependencies: [.product(name: "Apus", package: "apus")])
  ]
)

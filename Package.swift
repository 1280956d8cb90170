// swift-tools-version: 6.3
import PackageDescription

/// One settings array for every Swift target: Swift 6 mode plus the upcoming import and
/// existential rules that keep the layers of ARCHITECTURE.md visible in each file.
let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("ExistentialAny"),
]

let package = Package(
  name: "apus",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "Apus", targets: ["Apus"]),
    .executable(name: "apus", targets: ["ApusCLI"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    // L0: C micro-kernels, one file per instruction set.
    .target(name: "CApusSIMD"),

    // L0 and L2: the CUDA driver's declarations and the runtime over it.
    .target(name: "CApusDriver"),
    .target(name: "ApusCUDA", dependencies: ["CApusDriver"], swiftSettings: settings),

    // L1: numbers and the contract.
    .target(name: "ApusNumerics", swiftSettings: settings),
    .target(name: "ApusCore", dependencies: ["ApusNumerics"], swiftSettings: settings),

    // L2: the kernel language's typed IR, its verifier and its passes.
    .target(name: "ApusIR", dependencies: ["ApusNumerics"], swiftSettings: settings),

    // L3: the Swift front end over the IR: kernels as Swift code.
    .target(
      name: "ApusDSL", dependencies: ["ApusIR", "ApusNumerics"], swiftSettings: settings),

    // L3: the CPU interpreter of the IR.
    .target(
      name: "ApusSimulator", dependencies: ["ApusIR", "ApusNumerics"], swiftSettings: settings),

    // L2: the same kernels as PTX, the language that the driver compiles.
    .target(name: "ApusPTX", dependencies: ["ApusIR", "ApusNumerics"], swiftSettings: settings),

    // L4: planning, back ends and the float64 definition.
    .target(name: "ApusPlanner", dependencies: ["ApusCore"], swiftSettings: settings),
    .target(
      name: "ApusReference", dependencies: ["ApusCore", "ApusNumerics"], swiftSettings: settings),
    .target(
      name: "ApusCPU", dependencies: ["ApusCore", "ApusNumerics", "ApusPlanner", "CApusSIMD"],
      swiftSettings: settings),
    .target(name: "ApusIO", dependencies: ["ApusNumerics"], swiftSettings: settings),

    // L5: the operators.
    .target(
      name: "Apus",
      dependencies: [
        "ApusNumerics", "ApusCore", "ApusPlanner", "ApusCPU",
      ],
      swiftSettings: settings),

    // L6: the conformance suite and the faces.
    .target(
      name: "ApusConformance",
      dependencies: ["Apus", "ApusNumerics", "ApusCore", "ApusPlanner", "ApusReference"],
      swiftSettings: settings),
    .executableTarget(
      name: "ApusCLI",
      dependencies: [
        "Apus", "ApusConformance", "ApusCore", "ApusCPU", "ApusIO", "ApusNumerics", "ApusPlanner",
        "ApusReference", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: settings),

    // Tests: a target for each target above, a file for each source file with behaviour of its own.
    .target(
      name: "ApusTestSupport", dependencies: ["ApusCore", "ApusNumerics"],
      path: "Tests/ApusTestSupport", swiftSettings: settings),
    // A CUDA driver in memory, and the checks of a real one, which the executable runs on a GPU.
    .target(
      name: "ApusCUDATestSupport", dependencies: ["ApusCUDA", "CApusDriver"],
      path: "Tests/ApusCUDATestSupport", swiftSettings: settings),
    .executableTarget(
      name: "ApusGPUCheck", dependencies: ["ApusCUDA", "ApusCUDATestSupport"],
      path: "Tests/ApusGPUCheck", swiftSettings: settings),
    .testTarget(
      name: "ApusCUDATests",
      dependencies: ["ApusCUDA", "ApusCUDATestSupport", "CApusDriver"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusIRTests", dependencies: ["ApusIR", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusSimulatorTests",
      dependencies: ["ApusSimulator", "ApusIR", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusPTXTests", dependencies: ["ApusPTX", "ApusIR", "ApusNumerics", "ApusTestSupport"],
      exclude: ["Golden"], swiftSettings: settings),
    .testTarget(
      name: "ApusDSLTests",
      dependencies: ["ApusDSL", "ApusIR", "ApusNumerics", "ApusSimulator", "ApusTestSupport"],
      exclude: ["Golden"], swiftSettings: settings),
    .testTarget(
      name: "ApusPlannerTests",
      dependencies: ["ApusPlanner", "ApusCore", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusCPUTests", dependencies: ["ApusCPU", "ApusCore", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusTests", dependencies: ["Apus", "ApusCPU", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusReferenceTests",
      dependencies: ["ApusReference", "ApusCore", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusCoreTests", dependencies: ["ApusCore", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusNumericsTests", dependencies: ["ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusIOTests", dependencies: ["ApusIO", "ApusNumerics"], swiftSettings: settings),
    .testTarget(
      name: "ApusConformanceTests",
      dependencies: [
        "Apus", "ApusConformance", "ApusCore", "ApusNumerics", "ApusReference", "ApusTestSupport",
      ],
      swiftSettings: settings),
    .testTarget(
      name: "ApusCLITests",
      dependencies: [
        "ApusCLI", "Apus", "ApusConformance", "ApusCore", "ApusCPU", "ApusIO", "ApusNumerics",
        "ApusReference", "ApusTestSupport",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "CApusSIMDTests", dependencies: ["CApusSIMD", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
  ]
)

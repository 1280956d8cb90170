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
    .library(name: "ApusC", type: .dynamic, targets: ["ApusC"]),
    .executable(name: "apus", targets: ["ApusCLI"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
  ],
  targets: [
    // L0: C micro-kernels, one file per instruction set.
    .target(name: "CApusSIMD"),

    // L0: a lock that sanitizers see.
    .target(name: "ApusThreads", swiftSettings: settings),

    // L0 and L2: the CUDA driver's declarations and the runtime over it.
    .target(name: "CApusDriver"),
    .target(
      name: "ApusCUDA", dependencies: ["CApusDriver", "ApusThreads"], swiftSettings: settings),

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

    // L3: NVIDIA's assembler and disassembler as tools, and readers of what they print.
    .target(name: "ApusAssembler", dependencies: ["ApusIR"], swiftSettings: settings),

    // L4: the kernels, their configurations and their launches.
    .target(
      name: "ApusKernels", dependencies: ["ApusDSL", "ApusIR", "ApusCore", "ApusNumerics"],
      swiftSettings: settings),

    // L4: the kernels of Documentation/Tutorial, which its text quotes.
    .target(
      name: "ApusTutorial", dependencies: ["ApusDSL", "ApusIR"], path: "Documentation/Tutorial",
      exclude: ["README.md"], swiftSettings: settings),

    // L4: planning, back ends and the float64 definition.
    .target(name: "ApusPlanner", dependencies: ["ApusCore"], swiftSettings: settings),
    .target(
      name: "ApusReference", dependencies: ["ApusCore", "ApusNumerics"], swiftSettings: settings),
    .target(
      name: "ApusCPU",
      dependencies: ["ApusCore", "ApusNumerics", "ApusPlanner", "ApusThreads", "CApusSIMD"],
      swiftSettings: settings),
    .target(name: "ApusIO", dependencies: ["ApusNumerics"], swiftSettings: settings),

    // L5: the operators.
    .target(
      name: "Apus",
      dependencies: [
        "ApusNumerics", "ApusCore", "ApusPlanner", "ApusCPU", "ApusKernels", "ApusDSL", "ApusIR",
        "ApusPTX", "ApusSimulator", "ApusCUDA", "ApusThreads",
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),

    // L6: the C ABI: its header, and its functions.
    .target(name: "CApus"),
    .target(
      name: "ApusC", dependencies: ["Apus", "ApusCUDA", "ApusNumerics", "ApusThreads", "CApus"],
      swiftSettings: settings),

    // L6: the conformance suite and the faces.
    .target(
      name: "ApusConformance",
      dependencies: [
        "Apus", "ApusNumerics", "ApusCore", "ApusPlanner", "ApusReference", "ApusCUDA",
        "ApusThreads",
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "ApusCLI",
      dependencies: [
        "Apus", "ApusConformance", "ApusCore", "ApusCPU", "ApusIO", "ApusNumerics", "ApusPlanner",
        "ApusReference", "ApusKernels", "ApusDSL", "ApusIR", "ApusPTX", "ApusSimulator",
        "ApusCUDA", "ApusAssembler", "ApusThreads",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),

    // Tests: a target for each target above, a file for each source file with behaviour of its own.
    .target(
      name: "ApusTestSupport", dependencies: ["ApusCore", "ApusNumerics"],
      path: "Tests/ApusTestSupport", swiftSettings: settings),
    // A CUDA driver in memory, and the checks of a real one, which the executable runs on a GPU.
    .target(
      name: "ApusCUDATestSupport", dependencies: ["ApusCUDA", "ApusThreads", "CApusDriver"],
      path: "Tests/ApusCUDATestSupport", swiftSettings: settings),
    .executableTarget(
      name: "ApusGPUCheck", dependencies: ["ApusCUDA", "ApusCUDATestSupport"],
      path: "Tests/ApusGPUCheck", swiftSettings: settings),
    .testTarget(
      name: "ApusCUDATests",
      dependencies: ["ApusCUDA", "ApusCUDATestSupport", "ApusThreads", "CApusDriver"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusIRTests", dependencies: ["ApusIR", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusSimulatorTests",
      dependencies: ["ApusSimulator", "ApusIR", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusPTXTests",
      dependencies: ["ApusPTX", "ApusIR", "ApusNumerics", "ApusAssembler", "ApusTestSupport"],
      exclude: ["Golden"], swiftSettings: settings),
    .testTarget(
      name: "ApusAssemblerTests", dependencies: ["ApusAssembler", "ApusIR"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusDSLTests",
      dependencies: ["ApusDSL", "ApusIR", "ApusNumerics", "ApusSimulator", "ApusTestSupport"],
      exclude: ["Golden"], swiftSettings: settings),
    .testTarget(
      name: "ApusTutorialTests",
      dependencies: [
        "ApusTutorial", "ApusDSL", "ApusIR", "ApusNumerics", "ApusPTX", "ApusSimulator",
        "ApusTestSupport",
      ],
      swiftSettings: settings),
    .testTarget(
      name: "ApusKernelsTests",
      dependencies: [
        "ApusKernels", "ApusDSL", "ApusIR", "ApusCore", "ApusNumerics", "ApusPTX", "ApusSimulator",
        "ApusAssembler", "ApusReference", "ApusThreads", "ApusTestSupport",
      ],
      exclude: ["Golden"], swiftSettings: settings),
    .testTarget(
      name: "ApusThreadsTests", dependencies: ["ApusThreads"], swiftSettings: settings),
    .testTarget(
      name: "ApusPlannerTests",
      dependencies: ["ApusPlanner", "ApusCore", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusCPUTests",
      dependencies: ["ApusCPU", "ApusCore", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "ApusTests",
      dependencies: [
        "Apus", "ApusCore", "ApusCPU", "ApusNumerics", "ApusKernels", "ApusDSL", "ApusIR",
        "ApusSimulator", "ApusCUDA", "ApusCUDATestSupport", "ApusConformance", "ApusThreads",
        "ApusTestSupport",
      ],
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
        "Apus", "ApusConformance", "ApusCore", "ApusNumerics", "ApusReference", "ApusCUDA",
        "ApusCUDATestSupport", "ApusTestSupport",
      ],
      swiftSettings: settings),
    .testTarget(
      name: "ApusCLITests",
      dependencies: [
        "ApusCLI", "Apus", "ApusConformance", "ApusCore", "ApusCPU", "ApusIO", "ApusNumerics",
        "ApusReference", "ApusKernels", "ApusDSL", "ApusIR", "ApusAssembler", "ApusCUDA",
        "ApusCUDATestSupport", "ApusTestSupport",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "CApusSIMDTests", dependencies: ["CApusSIMD", "ApusNumerics", "ApusTestSupport"],
      swiftSettings: settings),
  ]
)

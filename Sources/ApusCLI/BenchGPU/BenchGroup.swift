internal import ArgumentParser

/// `apus bench`: the suites of the CPU, which need no subcommand, and those of a GPU.
struct BenchGroup: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measure the operators on this machine.",
    discussion: """
      `apus bench SUITE` measures the CPU (decode, prefill, append, mla, ops, or cpu for all; see \
      `apus bench suite --help`), `apus bench gpu-…` and tensor-cores a GPU; \
      gpu-host needs none. --json FILE stores the result.
      """,
    subcommands: [
      BenchCommand.self, GPUPrefillBench.self, GPUDecodeBench.self, GPUOperatorBench.self,
      TensorCoreBench.self, GPUHostBench.self,
    ],
    defaultSubcommand: BenchCommand.self)
}

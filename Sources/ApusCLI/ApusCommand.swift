import ArgumentParser

/// `apus`: attention from the command line.
@main
struct ApusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "apus",
    abstract: "Attention for LLM inference: run it, check it, measure it.",
    discussion: """
      Start with `apus demo`. Every command prints JSON with --json, errors go to standard error, \
      and the exit code is 0 on success, 1 on failure and 64 for a command line that cannot be \
      parsed. APUS_CPU and APUS_THREADS configure the CPU back end.
      """,
    version: "apus 0.1.0",
    subcommands: [
      DemoCommand.self, AttendCommand.self, VerifyCommand.self, MemoryCommand.self,
      DevicesCommand.self, WarmUpCommand.self, BenchGroup.self, KernelsCommand.self,
    ])

  /// Runs the command; output that could not be written is a failure.
  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
      try Output.finish()
    } catch {
      exit(withError: error)
    }
  }
}

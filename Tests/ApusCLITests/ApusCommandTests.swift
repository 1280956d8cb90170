import ArgumentParser
import Testing

@testable import ApusCLI

@Suite struct ApusCommandTests {
  @Test func `help lists every command`() {
    #expect(
      ApusCommand.helpMessage(columns: 80) == """
        OVERVIEW: Attention for LLM inference: run it, check it, measure it.

        Start with `apus demo`. Every command prints JSON with --json, errors go to
        standard error, and the exit code is 0 on success, 1 on failure and 64 for a
        command line that cannot be parsed. APUS_CPU and APUS_THREADS configure the CPU
        back end.

        USAGE: apus <subcommand>

        OPTIONS:
          --version               Show the version.
          -h, --help              Show help information.

        SUBCOMMANDS:
          demo                    Prefill, append and decode over a real model's Q/K/V,
                                  checked against float64.
          attend                  Attention over tensors of your own file.
          verify                  Check a back end against the float64 definition.
          memory                  Cache bytes per token and tokens per GiB for MHA, GQA
                                  and MLA in every type.
          devices                 CPU instruction sets, cores, caches, measured limits,
                                  and GPUs.
          warm-up                 Compile a model's kernels on a GPU and test each of
                                  them.
          bench                   Measure the operators on this machine.
          kernels                 List, print, assemble and simulate the GPU kernels;
                                  no GPU needed.

          See 'apus help <subcommand>' for detailed help.
        """)
  }

  @Test(arguments: ApusCommand.configuration.subcommands.indices)
  func `every command explains itself`(_ index: Int) {
    let command = ApusCommand.configuration.subcommands[index]
    #expect(!command.configuration.abstract.isEmpty)
    #expect(!command.configuration.discussion.isEmpty)
    #expect(ApusCommand.helpMessage(for: command).contains("USAGE: apus "))
    #expect(ApusCommand.helpMessage(for: command).contains("--json"))
  }

  @Test func `an unknown command is a usage error`() {
    let error = #expect(throws: (any Error).self) { try ApusCommand.parseAsRoot(["dmo"]) }
    #expect(error.map { ApusCommand.exitCode(for: $0) } == .validationFailure)
  }

  /// A type that is represented by a number must not show that number.
  @Test func `a default that help shows is one of the values beside it`() throws {
    var commands: [any ParsableCommand.Type] = [ApusCommand.self]
    var count = 0
    while let command = commands.popLast() {
      commands += command.configuration.subcommands
      let help = command.helpMessage(columns: 1000)
      for match in help.matches(of: /\(values: ([^;)]*); default: ([^)]*)\)/) {
        count += 1
        let values = match.1.replacing(":N", with: ":0").split(separator: ", ")
        #expect(
          match.2.split(separator: ", ").allSatisfy(values.contains),
          "\(command.configuration.commandName ?? "apus"): \(match.0)")
      }
    }
    #expect(count > 5)
    #expect(WarmUpCommand.helpMessage().contains("(default: bf16)"))
  }
}

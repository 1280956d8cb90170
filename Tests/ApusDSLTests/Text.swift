import ApusDSL
import ApusIR

/// A kernel's text without locations.
func text(_ kernel: KernelIR) -> String { TextPrinter(showsLocations: false).print(kernel) }

/// The lines of a kernel's body without locations.
func bodyText(_ kernel: KernelIR) -> [String] {
  let lines = text(kernel).split(separator: "\n").map(String.init)
  guard let start = lines.firstIndex(of: "{") else { return [] }
  return lines[(start + 1)...].dropLast().map { String($0.dropFirst(2)) }
}

/// A kernel `k` whose body is a closure.
struct Sketch: Kernel {
  var symbol = "k"
  var launch = LaunchBounds(threads: 128)
  var target = Target.sm80
  let emit: @Sendable (Block) -> Void

  func body(_ block: Block) { emit(block) }
}

/// The body text of a kernel that `emit` fills.
func lines(
  target: Target = .sm80, _ emit: @escaping @Sendable (Block) -> Void
) throws -> [String] {
  bodyText(try Sketch(target: target, emit: emit).build())
}

/// The findings of a kernel that must not build.
func findings(
  target: Target = .sm80, _ emit: @escaping @Sendable (Block) -> Void
) -> ElaborationError? {
  do throws(ElaborationError) {
    _ = try Sketch(target: target, emit: emit).build()
    return nil
  } catch {
    return error
  }
}

import ArgumentParser

/// A back end as the command line names it: `cpu`, `simulator`, `cuda`, `cuda:1`.
enum BackendName: Sendable, Hashable, ExpressibleByArgument {
  /// The CPU.
  case cpu
  /// The GPU kernels in the simulator.
  case simulator
  /// A CUDA device by its position among the visible ones.
  case cuda(device: Int)

  init?(argument: String) {
    let text = argument.lowercased()
    switch text {
    case "cpu": self = .cpu
    case "simulator": self = .simulator
    case "cuda": self = .cuda(device: 0)
    default:
      guard text.hasPrefix("cuda:"), let device = Int(text.dropFirst(5)), device >= 0 else {
        return nil
      }
      self = .cuda(device: device)
    }
  }

  /// What help lists.
  static var allValueStrings: [String] { ["cpu", "simulator", "cuda", "cuda:N"] }

  var defaultValueDescription: String { description }
}

extension BackendName: CustomStringConvertible {
  /// `cuda:0`.
  var description: String {
    switch self {
    case .cpu: "cpu"
    case .simulator: "simulator"
    case .cuda(let device): "cuda:\(device)"
    }
  }
}

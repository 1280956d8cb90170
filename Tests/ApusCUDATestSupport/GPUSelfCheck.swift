public import ApusCUDA

/// Runs every part of the driver runtime on a driver, real or fake, and says what passed.
///
/// Each check stands alone: one that fails does not stop the others.
public struct GPUSelfCheck {
  /// How a check ended.
  public enum Outcome: Sendable, Hashable {
    /// It passed; what it saw.
    case passed(String)
    /// It failed; why.
    case failed(String)
    /// It could not run here; why.
    case skipped(String)
  }

  /// One check and how it ended.
  public struct Line: Sendable, Hashable, CustomStringConvertible {
    /// What was checked.
    public var name: String
    /// How it ended.
    public var outcome: Outcome

    /// `PASS name: what it saw`.
    public var description: String {
      switch outcome {
      case .passed(let detail): "PASS \(name): \(detail)"
      case .failed(let reason): "FAIL \(name): \(reason)"
      case .skipped(let reason): "SKIP \(name): \(reason)"
      }
    }
  }

  /// Why a check failed or cannot run.
  struct Stop: Error {
    var outcome: Outcome

    static func failed(_ reason: String) -> Stop { Stop(outcome: .failed(reason)) }
    static func skipped(_ reason: String) -> Stop { Stop(outcome: .skipped(reason)) }
  }

  let driver: Driver
  let context: Context
  /// Contexts of all devices; the first is `context`.
  let contexts: [Context]

  /// Opens the primary contexts of all devices.
  public init(driver: Driver) throws(CUDAError) {
    self.driver = driver
    var contexts: [Context] = []
    for ordinal in 0..<(try driver.deviceCount()) {
      contexts.append(try Context.primary(of: Device(ordinal, of: driver)))
    }
    guard let first = contexts.first else {
      throw CUDAError(
        kind: .call, operation: "GPUSelfCheck.init", function: "cuDeviceGetCount", code: 100,
        name: "CUDA_ERROR_NO_DEVICE", text: "the driver has no device")
    }
    self.contexts = contexts
    context = first
  }

  /// Runs all checks in order.
  public func run() -> [Line] {
    let checks: [(String, (GPUSelfCheck) throws -> String)] = [
      ("device", { try $0.checkDevice() }),
      ("copies and fills", { try $0.checkCopies() }),
      ("stream-ordered memory", { try $0.checkStreamOrderedMemory() }),
      ("out of memory", { try $0.checkOutOfMemory() }),
      ("compilation", { try $0.checkCompilation() }),
      ("refused PTX", { try $0.checkRefusedPTX() }),
      ("vector add", { try $0.checkVectorAdd(in: $0.context) }),
      ("occupancy and attributes", { try $0.checkOccupancy() }),
      ("events", { try $0.checkEvents() }),
      ("dependent launch", { try $0.checkDependentLaunch() }),
      ("cluster launch", { try $0.checkClusterLaunch() }),
      ("cooperative launch", { try $0.checkCooperativeLaunch() }),
      ("tensor map", { try $0.checkTensorMap() }),
      ("graphs", { try $0.checkGraphs() }),
      ("stream kinds", { try $0.checkStreamKinds() }),
      ("current context", { try $0.checkCurrentContext() }),
      ("many threads", { try $0.checkThreads() }),
      ("parallel warm-up", { try $0.checkWarmUp() }),
      ("second device", { try $0.checkSecondDevice() }),
      ("copies between devices", { try $0.checkPeerCopies() }),
    ]
    return checks.map { name, check in
      do {
        return Line(name: name, outcome: .passed(try check(self)))
      } catch let stop as Stop {
        return Line(name: name, outcome: stop.outcome)
      } catch {
        return Line(name: name, outcome: .failed("\(error)"))
      }
    }
  }

  /// Fails the check unless `condition` holds.
  func require(_ condition: Bool, _ reason: @autoclosure () -> String) throws {
    if !condition { throw Stop.failed(reason()) }
  }

  /// Expects a CUDAError and returns it.
  func error(_ body: () throws(CUDAError) -> Void) throws -> CUDAError {
    do throws(CUDAError) {
      try body()
    } catch {
      return error
    }
    throw Stop.failed("an error was expected; the call succeeded")
  }

  /// Needs Hopper's instructions.
  func requireHopper() throws {
    let properties = context.device.properties
    if properties.capability < ComputeCapability(9, 0) {
      throw Stop.skipped("\(properties.name) has compute capability \(properties.capability)")
    }
  }
}

import ApusCUDA
import ApusCUDATestSupport
import ApusThreads

/// A driver over a fake, with the events that it reported.
struct Machine: Sendable {
  let fake: FakeDriver
  let driver: Driver
  let log: EventLog

  init(
    _ configuration: FakeDriver.Configuration = FakeDriver.Configuration(),
    injection: FakeDriver.Injection? = nil
  ) throws(CUDAError) {
    fake = FakeDriver(configuration, injection: injection)
    let log = EventLog()
    self.log = log
    driver = try Driver(table: fake.table) { log.append($0) }
  }

  func context(_ ordinal: Int = 0) throws(CUDAError) -> Context {
    try Context.primary(of: Device(ordinal, of: driver))
  }

  func vectorAdd(in context: Context) throws(CUDAError) -> Function {
    try LoadedModule(.ptx(CheckKernels.vectorAdd), name: "vector_add", in: context)
      .function("vector_add")
  }
}

/// Events in the order in which they were reported.
final class EventLog: Sendable {
  private let stored = Lock<[DriverEvent]>([])

  func append(_ event: DriverEvent) { stored.withLock { $0.append(event) } }

  var events: [DriverEvent] { stored.withLock { $0 } }

  var releaseErrors: [CUDAError] {
    events.compactMap { if case .releaseFailed(let error) = $0 { error } else { nil } }
  }
}

/// The error that `body` throws, nil if it throws none.
func thrown(_ body: () throws(CUDAError) -> Void) -> CUDAError? {
  do throws(CUDAError) {
    try body()
    return nil
  } catch {
    return error
  }
}

/// The violations of an `.argument` error.
func violations(_ error: CUDAError?) -> [CUDAError.Violation] {
  if case .argument(let violations)? = error?.kind { return violations }
  return []
}

internal import ApusCUDA
internal import ApusCUDATestSupport

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Darwin)
  internal import Darwin
#endif

// Checks the driver runtime on this machine's GPUs: one line a check, exit status 1 when one fails
// and 77, as test drivers expect of a skip, when there is no driver or no device.
do {
  let driver = try Driver.load { event in
    if case .releaseFailed(let error) = event { print("WARN \(error)") }
    if case .slowCode(let name, let log) = event { print("WARN \(name): \(log.info)") }
  }
  let lines = try GPUSelfCheck(driver: driver).run()
  for line in lines { print(line) }
  let failed = lines.contains { if case .failed = $0.outcome { true } else { false } }
  exit(failed ? 1 : 0)
} catch {
  print("SKIP: \(error)")
  exit(77)
}

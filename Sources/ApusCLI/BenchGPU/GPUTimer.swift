internal import ApusCUDA
internal import Foundation

/// Enqueues one call on the timer's stream.
typealias GPUCall = () throws -> Void

/// Times launches on one device: *burst* and *sustained* for kernels that arithmetic bounds, *graph*
/// for kernels that memory bounds and for comparison with recorded peers.
struct GPUTimer {
  /// Where calls are enqueued.
  let stream: ApusCUDA.Stream

  /// A pair of events around one measurement.
  private final class Span {
    let start: Event
    let end: Event

    init(in context: Context) throws(CUDAError) {
      start = try Event(in: context)
      end = try Event(in: context)
    }

    func milliseconds() throws(CUDAError) -> Double { try end.milliseconds(since: start) }
  }

  /// Seconds of single calls, each between two events, after a second of rest and three warm-ups:
  /// what a kernel reaches before the card is at its power limit.
  func burst(
    _ call: GPUCall, repetitions: Int = 15, rest: Double = 1
  ) throws -> [Double] {
    try stream.synchronize()
    Thread.sleep(forTimeInterval: rest)
    for _ in 0..<3 { try call() }
    try stream.synchronize()
    let spans = try (0..<repetitions).map { _ in try Span(in: stream.context) }
    for span in spans {
      try span.start.record(on: stream)
      try call()
      try span.end.record(on: stream)
    }
    try stream.synchronize()
    return try spans.map { try $0.milliseconds() * 1e-3 }
  }

  /// Mean seconds of a call over half a second of calls that follow half a second of the same load,
  /// and the multiprocessors' clock in MHz meanwhile when `nvidia-smi` tells it.
  func sustained(
    _ call: GPUCall, estimate: Double, halfSeconds: Double = 0.5
  ) throws -> (seconds: Double, clockMHz: Int?) {
    let count = max(4, min(200_000, Int((halfSeconds / max(estimate, 1e-6)).rounded(.up))))
    let span = try Span(in: stream.context)
    for _ in 0..<count { try call() }
    try span.start.record(on: stream)
    for _ in 0..<count { try call() }
    try span.end.record(on: stream)
    let clock = GPUClock.current(device: stream.context.device.ordinal)
    try stream.synchronize()
    return (try span.milliseconds() * 1e-3 / Double(count), clock)
  }

  /// Seconds a call in replays of a graph of back-to-back calls over rotated inputs.
  ///
  /// The graph holds each input set equally often and takes at least a millisecond; replays follow
  /// each other without a gap, 7 to 60 of them within about `caseSeconds`.
  func graph(_ rotation: [GPUCall], caseSeconds: Double = 0.06) throws -> GPUGraphTiming {
    for call in rotation { try call() }
    try stream.synchronize()
    let trial = try Span(in: stream.context)
    try trial.start.record(on: stream)
    for call in rotation { try call() }
    try trial.end.record(on: stream)
    try stream.synchronize()
    let estimate = max(try trial.milliseconds() * 1e-3 / Double(rotation.count), 1e-6)
    let rounds = max(
      1,
      min(
        Int((1e-3 / (estimate * Double(rotation.count))).rounded(.up)),
        Int((256.0 / Double(rotation.count)).rounded(.up))))
    let calls = rounds * rotation.count
    try stream.beginCapture()
    var failure: (any Error)?
    do {
      for _ in 0..<rounds { for call in rotation { try call() } }
    } catch {
      failure = error
    }
    if let failure {
      // The first failure is the one to report; ending the capture only clears the stream.
      _ = try? stream.endCapture()
      throw failure
    }
    let captured = try stream.endCapture()
    let graph = try captured.instantiate()
    for _ in 0..<2 { try graph.launch(on: stream) }
    try stream.synchronize()
    let replays = max(7, min(60, Int(caseSeconds / (estimate * Double(calls)))))
    let spans = try (0..<replays).map { _ in try Span(in: stream.context) }
    for span in spans {
      try span.start.record(on: stream)
      try graph.launch(on: stream)
      try span.end.record(on: stream)
    }
    try stream.synchronize()
    let seconds = try spans.map { try $0.milliseconds() * 1e-3 / Double(calls) }
    return GPUGraphTiming(seconds: seconds, callsPerGraph: calls)
  }
}

/// Replays of one graph.
struct GPUGraphTiming {
  /// Seconds a call, replay by replay.
  var seconds: [Double]
  /// Calls of one replay.
  var callsPerGraph: Int
}

/// The multiprocessors' clock as the card reports it.
enum GPUClock {
  /// MHz now; nil where `nvidia-smi` is missing or says something else than a number.
  static func current(device: Int) -> Int? {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "nvidia-smi", "-i", "\(device)", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits",
    ]
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return nil }
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return Int(
      String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
  }
}

import Apus
import ApusCore
import ApusIO
import ApusNumerics
import ApusReference
import ArgumentParser
import Foundation
import Testing

@testable import ApusCLI

@Suite struct DemoTests {
  /// The first tokens of the package's example: small enough for a debug build. Results without a
  /// mask depend on every token and are computed again; causal ones are a prefix.
  private static func example(tokens: Int) throws -> ExampleData {
    let full = try ExampleData(path: try ExampleData.locate(nil))
    let (heads, dim) = (full.headCount, full.headDim)
    return ExampleData(
      path: full.path, metadata: full.metadata, tokenCount: tokens, headCount: heads,
      headDim: dim,
      layers: try full.layers.map { layer in
        let parts = [layer.q, layer.k, layer.v].map { Array($0.prefix(tokens * heads * dim)) }
        let tensors = try parts.map { try Tensor($0, shape: [tokens, heads, dim]) }
        let o = try Tensor(zeros: .f32, shape: [tokens, heads, dim])
        let rows = RaggedIndptr([0, tokens])
        let result = try Reference.attention(
          AttentionProblem(
            shape: AttentionShape(qoHeadCount: heads, kvHeadCount: heads, headDimQK: dim),
            types: AttentionTypes(q: .f32), qoIndptr: rows, geometry: .ragged(rows)),
          AttentionArguments(
            q: .packed(tensors[0].view),
            kv: .separate(k: tensors[1].view, v: tensors[2].view), o: o.view))
        return withExtendedLifetime((tensors, o)) {
          ExampleData.Layer(
            name: layer.name, q: parts[0], k: parts[1], v: parts[2], o: result.o.map { Float($0) },
            oCausal: Array(layer.oCausal.prefix(tokens * heads * dim)),
            lse: result.lse.map { Float($0 * log(2)) })
        }
      })
  }

  private static func session(_ data: ExampleData) throws -> DemoSession {
    DemoSession(
      data, backend: try CPUBackend(threadCount: 2),
      limits: LimitsReport(threadCount: 2, readBytesPerSecond: 1e10, fmaFlopsPerSecond: 1e11),
      requestCount: 5, repetitions: 1, progress: Progress(isEnabled: false))
  }

  @Test func `every row on the example is within its bound`() throws {
    let findings = try Self.session(Self.example(tokens: 37)).run()
    #expect(findings.rows.count == 16)
    #expect(findings.storage.count == 11)
    for row in findings.rows {
      #expect(row.isWithinBound, "\(row)")
      #expect(row.seconds > 0)
      #expect(row.fractionOfLimit > 0)
    }
    for row in findings.storage { #expect(row.isWithinBound, "\(row)") }
    let fp8 = findings.storage.filter { $0.types.contains("e4m3") || $0.types.contains("e5m2") }
    // Beyond bf16's own error: the caches are narrow indeed.
    for row in fp8 { #expect(row.error > ElementType.bf16.unitRoundoff, "\(row)") }
  }

  @Test func `wrong data is found`() throws {
    let data = try Self.example(tokens: 20)
    let first = try #require(data.layers.first)
    let wrong = ExampleData.Layer(
      name: first.name, q: first.q, k: first.k, v: first.v, o: first.o,
      oCausal: first.oCausal.map { $0 * 1.25 }, lse: first.lse)
    let findings = try Self.session(
      ExampleData(
        path: data.path, metadata: [:], tokenCount: data.tokenCount, headCount: data.headCount,
        headDim: data.headDim, layers: [wrong])
    ).run()
    for row in findings.rows { #expect(row.isWithinBound, "\(row)") }
    // A fifth is beyond every bound on causal results; the unmasked ones were left alone.
    for row in findings.storage where !row.types.contains("e5m2") {
      #expect(row.isWithinBound == (row.operation == "SinglePrefill full"), "\(row)")
    }
  }

  @Test func `a row whose bytes or log-sum-exps are off is not within bounds`() {
    var row = DemoRow(
      operation: "a", types: "b", backend: "cpu", seconds: 1, fractionOfLimit: 1, error: 1,
      bound: 2, lseError: 1, lseBound: 2, differingRows: 0)
    #expect(row.isWithinBound)
    row.differingRows = 1
    #expect(!row.isWithinBound)
    row.differingRows = nil
    row.lseError = 3
    #expect(!row.isWithinBound)
    row.lseError = nil
    row.error = .nan
    #expect(!row.isWithinBound)
  }

  @Test func `the stored example says what it is`() throws {
    let data = try ExampleData(path: try ExampleData.locate(nil))
    #expect(data.metadata["text"] == "first 512 tokens of the Apache License 2.0")
    #expect(data.metadata["model"] == "all-MiniLM-L6-v2 (Apache-2.0)")
    #expect(data.layers.map(\.name) == ["layer0", "layer5"])
    let shape: [Int] = [data.tokenCount, data.headCount, data.headDim]
    #expect(shape == [512, 4, 32])
  }

  @Test func `the example is found from a folder below the package, and its absence is an error`()
    throws
  {
    let folder = try TemporaryFolder()
    let data = folder.url.appendingPathComponent("Examples/data")
    try FileManager.default.createDirectory(at: data, withIntermediateDirectories: true)
    let file = data.appendingPathComponent("minilm-attention.safetensors")
    try Data().write(to: file)
    let inner = folder.url.appendingPathComponent("a/b")
    let folders = ProcessLocation.ancestors(of: inner)
    #expect(folders.count > 3)
    #expect(try ExampleData.locate(nil, folders: folders) == file.path)
    #expect(try ExampleData.locate("elsewhere", folders: folders) == "elsewhere")
    let error = #expect(throws: ArgumentError.self) {
      try ExampleData.locate(nil, folders: [inner])
    }
    #expect(
      error?.description
        == "apus demo: Examples/data/minilm-attention.safetensors must lie in the working folder, "
        + "the executable's, or a folder that holds one of them; found none. "
        + "Run it in the package's checkout, or pass --data PATH.")
  }

  @Test func `a file without layers is refused`() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("a.safetensors")
    try SafetensorsWriter.write(
      [TensorContent(name: "x", shape: [1], elements: [Float(0)])], to: path)
    let error = #expect(throws: ArgumentError.self) { try ExampleData(path: path) }
    #expect(
      error?.description
        == "apus demo: the data must hold tensors named LAYER.q, LAYER.k and LAYER.v; found x. "
        + "See Examples/data.")
  }

  @Test func `the storage model predicts exact storage as free`() throws {
    let data = try Self.example(tokens: 6)
    let exact = StorageErrorModel.Storage(type: .f32)
    let narrow = StorageErrorModel.Storage(type: .e4m3)
    let layer = try #require(data.layers.first)
    func bound(_ model: StorageErrorModel) -> Double {
      StorageErrorModel.bound(model.causalRows(data, layer))
    }
    #expect(bound(StorageErrorModel(q: exact, k: exact, v: exact, o: .f32)) == 0)
    let values = bound(StorageErrorModel(q: exact, k: exact, v: narrow, o: .f32))
    let both = bound(StorageErrorModel(q: exact, k: narrow, v: narrow, o: .f32))
    #expect(values > 0)
    #expect(both > values)
    // The first row is v itself: its error is that of one rounding, at most a step of √1/12.
    let first = StorageErrorModel(q: narrow, k: narrow, v: exact, o: .f32).causalRows(data, layer)[
      0]
    #expect(first.error == 0)
  }

  @Test func `a bad option is refused`() {
    for (options, text) in [
      (["--requests", "0"], "--requests must be in 1…4096; found 0."),
      (["--repetitions", "0"], "--repetitions must be in 1…10000; found 0."),
    ] {
      let error = #expect(throws: (any Error).self) { try DemoCommand.parse(options) }
      #expect(error.map { DemoCommand.message(for: $0) } == text)
    }
  }
}

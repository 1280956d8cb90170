import ApusAssembler
import ApusIR
import Foundation
import Testing

/// The runner of ptxas, on a script that stands in for it: these tests need no CUDA.
@Suite struct PtxasTests {
  /// Calls `body` with an executable script.
  private func withTool(_ text: String, _ body: (Ptxas) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "apus-tool-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let tool = folder.appending(path: "ptxas")
    try "#!/bin/sh\n\(text)\n".write(to: tool, atomically: true, encoding: .utf8)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: tool.path())
    try body(Ptxas(path: tool.path()))
  }

  @Test(arguments: [
    ("12.4", PTXVersion(8, 4)), ("12.5", PTXVersion(8, 5)), ("12.6", PTXVersion(8, 5)),
    ("12.8", PTXVersion(8, 7)), ("13.0", PTXVersion(9, 0)),
  ])
  func `the release tells the newest PTX version`(release: String, version: PTXVersion) throws {
    try withTool("echo 'Cuda compilation tools, release \(release), V\(release).88'") { ptxas in
      let (found, newest) = (try ptxas.release(), try ptxas.newestVersion())
      #expect(found == release)
      #expect(newest == version)
    }
  }

  @Test func `a tool without a release is an error`() throws {
    try withTool("echo nothing") { ptxas in
      #expect(throws: AssemblerError.self) { try ptxas.newestVersion() }
    }
  }

  @Test func `text goes in, code and log come out`() throws {
    // The stand-in copies its last argument, the source, to the file after -o.
    try withTool("echo \"arch $2\"; cp \"$6\" \"$5\"") { ptxas in
      let kept = try ptxas.assemble("text", architecture: "sm_90a", keepsCode: true)
      #expect(kept == PtxasOutcome(status: 0, log: "arch sm_90a\n", code: Array("text".utf8)))
      #expect(try ptxas.assemble("text", architecture: "sm_80").code == [])
    }
  }

  @Test func `a refusal is an outcome with the tool's words`() throws {
    try withTool("echo 'ptxas x.ptx, line 3; error   : no' >&2; exit 255") { ptxas in
      let outcome = try ptxas.assemble("text", architecture: "sm_80", keepsCode: true)
      #expect(outcome.status == 255)
      #expect(outcome.errors.map(\.line) == [3])
      #expect(outcome.code == [])
    }
  }

  @Test func `a tool that is not there is a typed error`() {
    let error = #expect(throws: AssemblerError.self) {
      try Ptxas(path: "/no/such/ptxas").assemble("", architecture: "sm_80")
    }
    #expect(error?.description.hasPrefix("/no/such/ptxas: the tool must run; found: ") == true)
  }

  @Test func `the variable goes before PATH`() throws {
    try withTool("exit 0") { tool in
      let folder = tool.path.dropLast("/ptxas".count)
      #expect(Ptxas.find(environment: ["APUS_PTXAS": "/a", "PATH": "\(folder)"])?.path == "/a")
      #expect(Ptxas.find(environment: ["PATH": "/nowhere:\(folder)"]) == tool)
    }
  }

  @Test func `errors say how to get a tool`() {
    #expect(
      AssemblerError.notFound(tool: "ptxas", variable: "APUS_PTXAS", script: "Scripts/x")
        .description
        == "ptxas: the tool must be named by APUS_PTXAS or lie in PATH; found none. Run Scripts/x.")
    #expect(
      AssemblerError.refused(path: "p", status: 3, log: "words").description
        == "p: the tool must accept its input; found status 3:\nwords")
  }
}

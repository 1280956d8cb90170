import ApusCUDA
import Testing

@Suite struct CUDAErrorTests {
  static func call(_ code: Int32, _ name: String) -> String {
    CUDAError(
      kind: .call, operation: "Op", function: "cuF", code: code, name: name, text: "words",
      kernel: "k"
    ).description
  }

  @Test func `statuses that users meet come with a way out`() {
    let head = "Op(k): cuF must succeed; found"
    #expect(Self.call(1, "N") == "\(head) N (1: words).")
    #expect(
      Self.call(2, "N")
        == "\(head) N (2: words). Free device memory, or use a smaller problem or workspace.")
    #expect(
      Self.call(100, "N")
        == "\(head) N (100: words). Check CUDA_VISIBLE_DEVICES and that the machine has an NVIDIA "
        + "GPU.")
    #expect(
      Self.call(209, "N")
        == "\(head) N (209: words). The binary was built for other GPUs; load PTX or a binary for "
        + "this one.")
    #expect(
      Self.call(221, "N")
        == "\(head) N (221: words). Install the driver's PTX compiler "
        + "(libnvidia-ptxjitcompiler), or load binaries.")
    #expect(
      Self.call(222, "N")
        == "\(head) N (222: words). The PTX is newer than the driver's compiler; update the "
        + "NVIDIA driver.")
    #expect(
      Self.call(700, "N")
        == "\(head) N (700: words). A kernel faulted: this context is lost, and the process must "
        + "start anew to use the GPU.")
    #expect(
      Self.call(701, "N")
        == "\(head) N (701: words). Use fewer threads, registers or bytes of shared memory per "
        + "block.")
    #expect(
      Self.call(803, "N")
        == "\(head) N (803: words). The kernel module and the driver library differ in version; "
        + "restart the machine.")
  }

  @Test func `a missing function is named`() {
    let error = CUDAError(
      kind: .functionMissing(since: DriverVersion(12, 0)), operation: "Driver.load",
      function: "cuTensorMapEncodeTiled")
    #expect(
      error.description
        == "Driver.load: the driver must have cuTensorMapEncodeTiled of CUDA 12.0; found none. "
        + "Update the NVIDIA driver.")
  }
}

import ApusCUDA
import ApusCUDATestSupport
import Testing

@Suite struct JITLogTests {
  @Test func `figures of each function are read from the compiler's form`() {
    let log = JITLog(
      info: """
        ptxas info    : 0 bytes gmem
        ptxas info    : Compiling entry function 'one' for 'sm_90a'
        ptxas info    : Function properties for one
            16 bytes stack frame, 24 bytes spill stores, 32 bytes spill loads
        ptxas info    : Used 168 registers, used 9 barriers, 16 bytes cumulative stack size, 2056 bytes smem
        ptxas info    : Compiling entry function 'two' for 'sm_90a'
        ptxas info    : Function properties for two
            0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
        ptxas info    : Used 10 registers, used 1 barriers, 380 bytes cmem[0]

        """, errors: "")
    #expect(
      log.functions == [
        JITLog.FunctionUsage(
          name: "one", registers: 168, spillStoreByteCount: 24, spillLoadByteCount: 32,
          stackByteCount: 16, sharedByteCount: 2056),
        JITLog.FunctionUsage(
          name: "two", registers: 10, spillStoreByteCount: 0, spillLoadByteCount: 0,
          stackByteCount: 0, sharedByteCount: 0),
      ])
    #expect(log.spillByteCount == 56)
    #expect(log.isSlow)
    #expect(log.warnings == [])
  }

  @Test func `figures are read from the loader's form`() {
    let log = JITLog(
      info: """
        info    : 0 bytes gmem
        info    : Function properties for 'one':
        info    : used 40 registers, 8 stack, 4224 bytes smem, 368 bytes cmem[0], 64 bytes lmem
        """, errors: "")
    #expect(
      log.functions == [
        JITLog.FunctionUsage(
          name: "one", registers: 40, stackByteCount: 8, sharedByteCount: 4224,
          localByteCount: 64)
      ])
    #expect(!log.isSlow)
  }

  @Test func `numbered messages and warnings are found`() {
    let serialised =
      "ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are "
      + "serialized due to insufficient register resources in the function 'one'"
    let other = "ptxas warning : Value of threads per SM for entry one is out of range"
    let log = JITLog(
      info: "\(serialised)\n\(other)\nCompiling C75 and C812 and CC7\nC71234 C7x\n", errors: "")
    #expect(log.warnings == [serialised, other])
    #expect(log.serializations == [serialised])
    #expect(log.isSlow)
  }

  @Test func `an error quotes the line of PTX that it is about`() {
    let log = JITLog(
      info: "",
      errors: "ptxas application ptx input, line 2; error   : Unknown\nptxas fatal   : aborted\n",
      source: "first\n\tsecond\nthird")
    #expect(
      log.diagnostics == [
        .init(
          line: 2, message: "ptxas application ptx input, line 2; error   : Unknown",
          source: "\tsecond"),
        .init(line: nil, message: "ptxas fatal   : aborted", source: nil),
      ])
    let outside = JITLog(info: "", errors: "line 9; error", source: "a\nb")
    #expect(outside.diagnostics == [.init(line: 9, message: "line 9; error", source: nil)])
    let binary = JITLog(info: "", errors: "line 1; error", source: nil)
    #expect(binary.diagnostics.first?.source == nil)
  }

  @Test func `an empty log says nothing`() {
    let log = JITLog(info: "", errors: "")
    #expect(log.functions == [] && log.warnings == [] && log.diagnostics == [])
    #expect(!log.isSlow)
  }
}

@Suite struct LoadedModuleTests {
  @Test func `a load is reported with its log`() throws {
    let machine = try Machine()
    let module = try LoadedModule(
      .ptx(CheckKernels.vectorAdd), name: "vector_add", in: machine.context())
    #expect(module.log.functions.map(\.name) == ["vector_add"])
    #expect(
      machine.log.events == [
        .moduleLoaded(
          name: "vector_add", log: module.log, nanoseconds: module.loadNanoseconds)
      ])
  }

  @Test func `slow code is reported`() throws {
    var configuration = FakeDriver.Configuration()
    configuration.compilerInfo = "ptxas info    : (C7510) Potential Performance Loss\n"
    let machine = try Machine(configuration)
    let module = try LoadedModule(
      .ptx(CheckKernels.vectorAdd), name: "slow", in: machine.context())
    #expect(machine.log.events.last == .slowCode(name: "slow", log: module.log))
  }

  @Test func `a refused module carries the compiler's words`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let error = thrown { () throws(CUDAError) in
      _ = try LoadedModule(.ptx("nonsense"), name: "bad", in: context)
    }
    #expect(error?.code == 218)
    #expect(error?.kernel == "bad")
    #expect(error?.log?.diagnostics.first?.source == "nonsense")
    #expect(
      error?.description == """
        LoadedModule.init(bad): the driver must accept the module; found CUDA_ERROR_INVALID_PTX \
        (218: words of the fake driver).
          ptxas application ptx input, line 1; fatal   : Missing .version directive at start of file
            > nonsense
        """)
    #expect(machine.log.events == [])
    let empty = thrown { () throws(CUDAError) in
      _ = try LoadedModule(.binary([]), name: "empty", in: context)
    }
    #expect(empty?.code == 200)
  }

  @Test func `options reach the driver`() throws {
    // The target's code and the log's capacity are all that can be seen without a compiler.
    let machine = try Machine()
    var options = JITOptions()
    options.logByteCapacity = 8
    options.maxRegisters = 64
    options.optimizationLevel = 3
    options.generatesLineInfo = true
    options.target = .init(ComputeCapability(9, 0), isArchitectureSpecific: true)
    let module = try LoadedModule(
      .ptx(CheckKernels.vectorAdd), name: "vector_add", options: options, in: machine.context())
    #expect(module.log.info.utf8.count == 7)
  }

  @Test func `a function loads at once where the driver can`() throws {
    for hasFunctionLoad in [true, false] {
      var configuration = FakeDriver.Configuration()
      configuration.hasFunctionLoad = hasFunctionLoad
      let machine = try Machine(configuration)
      _ = try machine.vectorAdd(in: machine.context())
      #expect(machine.fake.calls.contains("cuFuncLoad") == hasFunctionLoad)
    }
  }

  @Test func `a missing symbol is named`() throws {
    let machine = try Machine()
    let module = try LoadedModule(
      .ptx(CheckKernels.vectorAdd), name: "vector_add", in: machine.context())
    let error = thrown { () throws(CUDAError) in _ = try module.function("absent") }
    #expect(
      error?.description
        == "LoadedModule.function(absent): cuModuleGetFunction must succeed; found "
        + "CUDA_ERROR_NOT_FOUND (500: words of the fake driver).")
    let global = thrown { () throws(CUDAError) in _ = try module.global("absent") }
    #expect(global?.kernel == "absent")
  }

  @Test func `a function keeps its module loaded`() throws {
    let machine = try Machine()
    do {
      let function = try machine.vectorAdd(in: machine.context())
      #expect(!machine.fake.calls.contains("cuModuleUnload"))
      #expect(try function.attributes().registers == 32)
    }
    #expect(machine.fake.live == [])
  }

  @Test func `shared memory beyond the device is refused`() throws {
    let machine = try Machine()
    let function = try machine.vectorAdd(in: machine.context())
    try function.setMaxDynamicShared(byteCount: 227 << 10)
    for byteCount in [(227 << 10) + 1, -1] {
      let error = thrown { () throws(CUDAError) in
        try function.setMaxDynamicShared(byteCount: byteCount)
      }
      #expect(
        error?.description
          == "Function.setMaxDynamicShared(vector_add): byteCount must not exceed the device's "
          + "232448 shared bytes per block; found \(byteCount).")
    }
  }
}

import ApusIR
import ApusPTX
import Testing

/// The frame of a module and everything that has no PTX.
@Suite struct PTXPrinterTests {
  private func print(_ kernels: KernelIR..., target: Target = .sm80) throws -> String {
    try PTXPrinter().print(ModuleIR(kernels: kernels), target: target)
  }

  private func message(_ kernel: KernelIR..., target: Target = .sm80) -> String {
    do {
      return try PTXPrinter().print(ModuleIR(kernels: kernel), target: target)
    } catch {
      return error.description
    }
  }

  @Test func `an empty kernel is a signature and a return`() throws {
    #expect(
      try print(makeKernel { _ in }, target: .sm86) == """
        .version 7.1
        .target sm_86
        .address_size 64

        .visible .entry k()
        .maxntid 128, 1, 1
        .minnctapersm 1
        {
          ret;
        }

        """)
  }

  @Test func `parameters, window and cluster are declared`() throws {
    var b = IRBuilder(symbol: "k", launch: LaunchBounds(threads: 64, clusterSize: 2))
    _ = b.addParameter(name: "x", kind: .scalar(.f16))
    _ = b.addParameter(name: "add", kind: .pointer(alignment: 32))
    _ = b.addParameter(name: "map", kind: .tensorMap)
    _ = b.addParameter(name: "s", kind: .bytes(count: 24, alignment: 8))
    _ = b.addShared(name: "tile", byteCount: 64, alignment: 1024)
    let text = try print(b.finish(), target: .sm90a)
    #expect(
      text.contains(
        """
        .extern .shared .align 1024 .b8 shared_window[];

        .visible .entry k(
          .param .b16 param_x,
          .param .u64 .ptr .global .align 32 param_add,
          .param .align 64 .b8 param_map[128],
          .param .align 8 .b8 param_s[24]
        )
        .maxntid 64, 1, 1
        .minnctapersm 1
        .explicitcluster
        .reqnctapercluster 2, 1, 1

        """))
  }

  @Test func `lines name their Swift source on request`() throws {
    let kernel = makeKernel { $0.emit(.control(.trap), at: line(31)) }
    let text = try PTXPrinter(showsLocations: true)
      .print(ModuleIR(kernels: [kernel]), target: .sm80)
    #expect(text.contains("  trap;  // K.swift:31\n"))
  }

  @Test func `a module states the newest version that a kernel needs`() throws {
    let plain = makeKernel { _ in }
    var barrier = makeKernel { b in
      b.emit(
        .synchronisation(.mbarrierWait(.init())), [.constant(.u32(0)), .constant(.u32(0))],
        at: line(1))
    }
    barrier.symbol = "waits"
    #expect(try print(plain).hasPrefix(".version 7.0\n"))
    #expect(try print(plain, barrier).hasPrefix(".version 7.1\n"))
  }

  @Test func `every op prints for a target that has it and names itself where one has not`() throws
  {
    for target in Target.allCases {
      for (index, variant) in EveryOp.all.enumerated() {
        let kernel = Variant.kernel([(index: index, variant: variant)])
        if variant.requirements.target <= target {
          #expect(throws: Never.self, "\(variant)") { try print(kernel, target: target) }
        } else {
          #expect(
            throws: PTXError.unsupported(
              op: variant.op.mnemonic, needs: variant.requirements, target: target,
              kernel: "sweep", location: line(index))
          ) { try print(kernel, target: target) }
        }
      }
    }
  }

  @Test func `errors say what is required, found and to be done`() {
    let fence = makeKernel { $0.emit(.tensorCore(.wgmmaFence), at: line(3)) }
    #expect(
      message(fence)
        == "PTXPrinter.print: wgmma.fence needs PTX 8.0, sm_90a; found target sm_80 in kernel k "
        + "(K.swift:3). Legalise the kernel or print it for a newer target.")
    var cluster = makeKernel { _ in }
    cluster.launch.clusterSize = 4
    #expect(
      message(cluster, target: .sm89)
        == "PTXPrinter.print: clusters need sm_90a; found a cluster of 4 for sm_89 in kernel k. "
        + "Use a cluster size of 1.")
    let add = makeKernel { $0.emit(.arithmetic(.add), [], results: [.u32], at: line(4)) }
    #expect(
      message(add)
        == "PTXPrinter.print: add must have 1 operands; found 0 in kernel k (K.swift:4). "
        + "Verify the kernel before printing it.")
    var named = makeKernel { _ in }
    named.symbol = "2d"
    #expect(
      message(named)
        == "PTXPrinter.print: the kernel name must be a unique ASCII identifier; found \"2d\" in "
        + "kernel 2d. Rename it.")
  }

  @Test func `what the verifier refuses is an error, never a trap`() {
    let wrong: [(Op, [Operand])] = [
      (.movement(.assign), [.value(ValueID(99))]),
      (.memory(.parameter(ParameterID(3), offset: 0)), []),
      (.memory(.sharedAddress(SharedID(3), offset: 0)), []),
      (.memory(.atom(.init(.add, .global))), []), (.memory(.red(.init(.add, .global))), []),
      (.memory(.st(.init(.global, .b32))), []),
      (.synchronisation(.barrierSync(NamedBarrierID(3))), []),
      (.control(.breakIf), [.constant(.pred(true))]), (.control(.loop(.rolled)), []),
      (.control(.if(.predicated)), [.constant(.pred(true))]),
      (.control(.roles([Role(name: "r", warps: 0..<1)])), [.constant(.u32(0))]),
      (.copy(.tensorLoad(.init(dimensions: -3))), []),
      (.copy(.storeAsync(offset: 0, barrierOffset: 0)), []),
      (.tensorCore(.wgmma(.init(n: -8, .f16))), []),
      (.tensorCore(.mma(.init(.f16, k: -16))), []), (.arithmetic(.mul), []),
    ]
    for (op, operands) in wrong {
      let kernel = makeKernel { $0.emit(op, operands, results: [.u32], at: line(1)) }
      #expect(throws: PTXError.self, "\(op.mnemonic)") { try print(kernel, target: .sm90a) }
    }
  }

  @Test func `names that PTX cannot take are refused`() {
    var twice = makeKernel { b in
      _ = b.addParameter(name: "a", kind: .scalar(.u32))
      _ = b.addParameter(name: "a", kind: .scalar(.u32))
    }
    #expect(message(twice).contains("the parameter name must be an ASCII identifier, unique"))
    twice.parameters = [Parameter(name: "ä", kind: .tensorMap)]
    #expect(message(twice).contains("found \"ä\" in kernel k"))
    #expect(message(makeKernel { _ in }, makeKernel { _ in }).contains("a unique ASCII identifier"))
  }
}

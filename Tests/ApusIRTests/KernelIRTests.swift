import ApusIR
import Testing

@Suite struct KernelIRTests {
  @Test(arguments: [(256, 1, 255), (384, 1, 168), (512, 1, 128), (128, 4, 128), (1024, 1, 64)])
  func `registers at entry`(threads: Int, blocks: Int, registers: Int) {
    let launch = LaunchBounds(threads: threads, minBlocksPerMultiprocessor: blocks)
    #expect(launch.registersAtEntry == registers)
  }

  @Test func `shared allocations follow each other aligned and may overlap on purpose`() {
    let kernel = makeKernel { builder in
      _ = builder.addShared(name: "a", byteCount: 20, alignment: 4)
      _ = builder.addShared(name: "b", byteCount: 2048, alignment: 1024)
      _ = builder.addShared(name: "c", byteCount: 16, alignment: 16, at: 1024)
    }
    #expect(kernel.shared.map(\.offset) == [0, 1024, 1024])
    #expect(kernel.sharedByteCount == 3072)
    #expect(kernel.sharedAlignment == 1024)
  }

  @Test func `parameters know their place in the block`() {
    let kinds: [Parameter.Kind] = [
      .scalar(.u32), .scalar(.bf16), .pointer(alignment: 16), .tensorMap,
      .bytes(count: 24, alignment: 8),
    ]
    let parameters = kinds.map { Parameter(name: "p", kind: $0) }
    #expect(parameters.map(\.byteCount) == [4, 2, 8, 128, 24])
    #expect(parameters.map(\.alignment) == [4, 2, 8, 64, 8])
  }

  @Test func `locations name the file without its module`() {
    #expect(
      SourceLocation(fileID: "ApusKernels/Decode.swift", line: 7).description == "Decode.swift:7")
    #expect(SourceLocation(fileID: "plain", line: 1).description == "plain:1")
    #expect(SourceLocation.here().file == "KernelIRTests.swift")
  }
}

@Suite struct IRBuilderTests {
  @Test func `nodes go to the innermost open region`() {
    let kernel = makeKernel { builder in
      let p = builder.binary(.bits(.and), .pred(true), .pred(true))
      let then = builder.region { inner in
        #expect(inner.depth == 1)
        inner.use(.u32(1))
      }
      builder.emit(.control(.if(.divergent)), [p], regions: [then], at: line(2))
      #expect(builder.depth == 0)
    }
    #expect(kernel.body.nodes.count == 2)
    #expect(kernel.body.nodes[1].regions[0].nodes.count == 1)
    #expect(kernel.body.totalNodeCount == 3)
  }

  @Test func `in-place products give the variables they take`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.product(d, at: 5)
    }
    let node = kernel.body.nodes[4]
    #expect(node.results == node.operands.prefix(4).compactMap(\.valueID))
    #expect(node.op.inPlaceCount == 4)
  }
}

import ApusDSL
import ApusIR
import ApusTestSupport
import Testing

@Suite struct TileTests {
  @Test(arguments: Swizzle.allCases)
  func `a run-time element has the address of the static one`(_ swizzle: Swizzle) throws {
    for row in [0, 1, 5, 15] {
      for column in [0, 7, 8, 63, 64, 127] {
        nonisolated(unsafe) var expected = -1
        let kernel = try Sketch { block in
          let x = block.pointer("x", to: U32.self)
          let tile = block.tile("t", F16.self, rows: 16, columns: 128, swizzle: swizzle)
          expected = tile.byteOffset(row: row, column: column)
          // Constants in registers, so that only the folded sum is left.
          let place = tile[
            block.constant(row, as: U32.self), block.constant(column, as: U32.self)]
          block.store(place.resolved - tile.address, to: x)
          block.store(block.threadIndex, to: tile[0, 0].cast(to: U32.self))
        }.build()
        // sum = (constants…) + base: evaluate the body by hand with base = 0.
        var values: [ValueID: Int] = [:]
        for node in kernel.body.nodes {
          guard let result = node.results.first else { continue }
          let operands = node.operands.map {
            $0.constant.map { Int($0.bits) } ?? $0.valueID.flatMap { values[$0] } ?? 0
          }
          switch node.op {
          case .arithmetic(.add): values[result] = operands[0] + operands[1]
          case .arithmetic(.sub): values[result] = operands[0] - operands[1]
          default: values[result] = 0
          }
        }
        let store = kernel.body.nodes.first {
          if case .memory(.st(let access)) = $0.op { access.space == .global } else { false }
        }
        let stored = store?.operands.last
        let found = stored?.constant.map { Int($0.bits) } ?? stored?.valueID.flatMap { values[$0] }
        #expect(found == expected, "row \(row), column \(column)")
      }
    }
  }

  @Test func `a swizzled tile is a sequence of panels`() throws {
    _ = findings { block in
      let tile = block.tile("t", BF16.self, rows: 16, columns: 128, swizzle: .bytes128)
      #expect(tile.panelColumns == 64)
      #expect(tile.panelBytes == 2048)
      #expect(tile.byteCount == 4096)
      #expect(tile.byteOffset(row: 0, column: 64) == 2048)
      // Row 3 exchanges chunk 1 with chunk 2.
      #expect(tile.byteOffset(row: 3, column: 8) == 3 * 128 + 2 * 16)
    }
  }

  @Test func `a descriptor has the tile's strides and swizzle`() throws {
    let body = try lines(target: .sm90a) { block in
      let x = block.pointer("x", to: U64.self)
      let tile = block.tile("t", BF16.self, rows: 64, columns: 128, swizzle: .bytes128)
      block.store(tile.descriptor(column: 80, .k), to: x)
      block.store(tile.descriptor(row: 16, column: 64, .mn), to: x)
      block.store(block.threadIndex, to: tile[0, 0].cast(to: U32.self))
    }
    let k = MatrixDescriptor(start: 0, leadingOffset: 16, strideOffset: 1024, swizzle: .bytes128)
    let mn = MatrixDescriptor(
      start: 0, leadingOffset: 8192, strideOffset: 1024, swizzle: .bytes128)
    for descriptor in [k, mn] {
      #expect(body.contains { $0.hasSuffix(", \(UInt32(descriptor.bits & 0xFFFF_FFFF))") })
      #expect(body.contains { $0.hasSuffix(", \(UInt32(descriptor.bits >> 32))") })
    }
    // Column 80 is 32 bytes into panel 1; row 16 of panel 1 is two groups of eight rows in.
    #expect(body.contains { $0.hasSuffix(", \((8192 + 32) / 16)") })
    #expect(body.contains { $0.hasSuffix(", \((8192 + 2048) / 16)") })
  }

  @Test func `a register tile's rows hold each element of the warp once`() {
    _ = findings { block in
      let tile = block.registerTile("d", rows: 32, columns: 24)
      var seen = Set<[Int]>()
      for laneRow in 0..<tile.laneRows {
        for element in tile.row(laneRow) {
          for lane in 0..<warpSize {
            let row = tile.rowOffset(laneRow) + lane / 4
            seen.insert([row, element.column + 2 * (lane % 4)])
          }
        }
      }
      #expect(seen.count == 32 * 24)
      #expect(seen.allSatisfy { $0[0] < 32 && $0[1] < 24 })
    }
  }

  @Test func `accumulators become an A operand pair by pair`() throws {
    let body = try lines { block in
      let x = block.pointer("x", to: BF16x2.self)
      let tile = block.registerTile("d", rows: 16, columns: 32)
      block.store(block.operandA(tile, column: 16, as: BF16x2.self), to: x)
    }
    // Columns 16… begin at register 8; A registers run over rows first.
    let pairs = body.compactMap { line in
      line.contains("cvt") ? line.split(separator: " ").suffix(2).joined(separator: " ") : nil
    }
    #expect(pairs == ["%d9, %d10", "%d11, %d12", "%d13, %d14", "%d15, %d16"])
  }
}

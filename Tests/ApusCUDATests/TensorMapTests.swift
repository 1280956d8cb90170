import ApusCUDA
import ApusCUDATestSupport
import CApusDriver
import Testing

@Suite struct TensorMapTests {
  /// A bf16 tensor of 4 heads x 100 rows x 128 columns, box of 64 columns x 64 rows.
  static let good = TensorMapDescription(
    .bf16, memory: DeviceView(address: 0x10000, byteCount: 4 * 100 * 256),
    dimensions: [128, 100, 4], byteStrides: [256, 25600], box: [64, 64, 1], swizzle: .bytes128)

  @Test func `a good description breaks no rule`() {
    #expect(Self.good.violations() == [])
    #expect(Self.good.boxByteCount == 64 * 64 * 2)
  }

  @Test func `each broken rule is named with its limit`() {
    func text(_ change: (inout TensorMapDescription) -> Void) -> [String] {
      var description = Self.good
      change(&description)
      return description.violations().map(\.description)
    }
    #expect(
      text {
        $0.dimensions = []; $0.byteStrides = []; $0.box = []; $0.elementStrides = []
      }
        == ["dimensions must have 1 to 5 axes; found 0"])
    #expect(
      text { $0.byteStrides = [256] }
        == ["byteStrides must have one entry less than dimensions, 2; found 1"])
    #expect(text { $0.box = [64] } == ["box must have one entry per dimension, 3; found 1"])
    #expect(
      text { $0.elementStrides = [1, 1] }
        == ["elementStrides must have one entry per dimension, 3; found 2"])
    #expect(
      text { $0.memory = DeviceView(address: 0x10008, byteCount: 1 << 30) }
        == ["memory must start at a multiple of 16; found 0x10008"])
    #expect(text { $0.dimensions[1] = 0 } == ["dimensions[1] must be from 1 to 2^32; found 0"])
    #expect(
      text { $0.dimensions[0] = 1 << 33 }
        == ["dimensions[0] must be from 1 to 2^32; found 8589934592"])
    #expect(
      text { $0.byteStrides[0] = 264 }
        == ["byteStrides[0] must be a multiple of 16 below 2^40; found 264"])
    #expect(
      text { $0.byteStrides[1] = 1 << 40 }
        == ["byteStrides[1] must be a multiple of 16 below 2^40; found 1099511627776"])
    #expect(
      text { $0.byteStrides[1] = -16 }
        == ["byteStrides[1] must be a multiple of 16 below 2^40; found -16"])
    #expect(text { $0.box[1] = 257 } == ["box[1] must be from 1 to 256; found 257"])
    #expect(text { $0.box[2] = 0 } == ["box[2] must be from 1 to 256; found 0"])
    #expect(
      text { $0.elementStrides[1] = 9 }
        == ["elementStrides[1] must be from 1 to 8; found 9"])
    #expect(
      text { $0.dimensions[2] = 5 }
        == ["the tensor must lie inside its memory of 102400 bytes; found a tensor of 128000 bytes"]
    )
    #expect(
      text {
        $0.dimensions = [1 << 32, 1 << 32, 1 << 32]
        $0.byteStrides = [(1 << 40) - 16, (1 << 40) - 16]
      }
        == [
          "the tensor must lie inside its memory of 102400 bytes; found a tensor beyond every address"
        ])
    #expect(
      text {
        $0.box[0] = 4; $0.swizzle = .none
      }
        == ["box[0] times the element size must be a multiple of 16 bytes; found 8 bytes"])
    #expect(
      text { $0.box[0] = 128 }
        == [
          "box[0] times the element size must not exceed the swizzle's 128 bytes; found 256 bytes"
        ])
    #expect(
      text {
        $0.box[0] = 32; $0.swizzle = .bytes32
      }
        == ["box[0] times the element size must not exceed the swizzle's 32 bytes; found 64 bytes"])
    #expect(
      text {
        $0.box[0] = 64; $0.swizzle = .bytes64
      }
        == ["box[0] times the element size must not exceed the swizzle's 64 bytes; found 128 bytes"]
    )
    #expect(
      text { $0.interleave = .bytes32 }
        == ["interleave bytes32 must go with swizzle bytes32; found swizzle bytes128"])
    #expect(
      text {
        $0.interleave = .bytes16; $0.dimensions = [128, 4]; $0.byteStrides = [256]
        $0.box = [64, 1]; $0.elementStrides = [1, 1]
      }
        == ["an interleaved tensor must have 3 to 5 axes; found 2"])
    #expect(
      text {
        $0.interleave = .bytes32; $0.swizzle = .bytes32; $0.byteStrides[0] = 272
        $0.memory = DeviceView(address: 0x10010, byteCount: 1 << 20)
      }
        == [
          "memory must start at a multiple of 32; found 0x10010",
          "byteStrides[0] must be a multiple of 32 below 2^40; found 272",
        ])
    #expect(
      text {
        $0.elementType = .u16; $0.outOfBoundsFill = .nan
      }
        == ["outOfBoundsFill nan must go with a floating-point element type; found u16"])
  }

  @Test func `the values of the interface are the driver's`() {
    #expect(TensorMapDescription.ElementType.bf16.rawValue == 9)
    #expect(TensorMapDescription.ElementType.f32.rawValue == 7)
    #expect(TensorMapDescription.ElementType.tf32FlushToZero.rawValue == 12)
    #expect(TensorMapDescription.Swizzle.bytes128.rawValue == 3)
    #expect(TensorMapDescription.Swizzle.bytes128.byteCount == 128)
    #expect(TensorMapDescription.L2Promotion.bytes256.rawValue == 3)
    let sizes = TensorMapDescription.ElementType.allCases.map(\.byteCount)
    #expect(sizes == [1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4])
  }

  @Test func `the bytes of a box count its steps`() {
    var description = Self.good
    description.elementStrides = [1, 3, 1]
    #expect(description.boxByteCount == 64 * 22 * 2)
  }

  @Test func `a description reaches the driver whole`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let map = try TensorMap(Self.good, in: context)
    #expect(map.bits.words.0 == 0x10000)
    #expect(map.bits.words.1 == 128 && map.bits.words.2 == 100 && map.bits.words.3 == 256)
    #expect(map.bits.words.4 == 64 && map.bits.words.5 == 64)
    #expect(map.bits.words.6 == 9 | 3 << 8)
    #expect(map.bits.words.7 == 3 | 3 << 8)
  }

  @Test func `a tensor of one axis is encoded`() throws {
    let machine = try Machine()
    let map = try TensorMap(
      TensorMapDescription(
        .u8, memory: DeviceView(address: 256, byteCount: 4096), dimensions: [4096],
        byteStrides: [], box: [256]), in: machine.context())
    #expect(map.bits.words.1 == 4096)
  }

  @Test func `a broken description and an old device do not reach the driver`() throws {
    var configuration = FakeDriver.Configuration()
    configuration.capability = 86
    let machine = try Machine(configuration)
    let context = try machine.context()
    var description = Self.good
    description.box[1] = 300
    let bad = description
    machine.fake.forgetCalls()
    let error = thrown { () throws(CUDAError) in _ = try TensorMap(bad, in: context) }
    #expect(
      error?.description == """
        TensorMap.init: 2 requirements do not hold:
          - box[1] must be from 1 to 256; found 300.
          - tensor maps need a device of compute capability 9.0 or newer; found Fake 0, 8.6.
        """)
    #expect(machine.fake.calls == [])
  }
}

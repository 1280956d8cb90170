import ApusDSL
import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import ApusTutorial
import Foundation

/// 2^x.
func power(_ x: Double) -> Double { exp2(x) }

/// The launches of the tutorial's levels.
enum Levels {
  static let seed: UInt64 = 7

  static func vectorAdd(count: Int) -> Sample {
    Sample(kernel: VectorAdd(), grid: GridSize((count + 127) / 128)) { memory in
      let x = memory.bind("x", elements: (0..<count).map { Float($0) })
      let y = memory.bind("y", elements: (0..<count).map { Float(3 * $0 + 1) })
      let z = memory.bindOutput("z", byteCount: 4 * count)
      return ([.pointer(x), .pointer(y), .pointer(z), .u32(count)], z)
    }
  }

  static func rowSoftmax(_ x: Matrix) -> Sample {
    Sample(
      kernel: RowSoftmax(columns: x.columns), grid: GridSize((x.rows + 3) / 4)
    ) { memory in
      let xs = memory.bind("x", elements: x.values)
      let ys = memory.bindOutput("y", byteCount: 4 * x.values.count)
      return ([.pointer(xs), .pointer(ys), .u32(x.rows)], ys)
    }
  }

  static func transposingCopy(rows: Int, columns: Int) -> Sample {
    Sample(kernel: TransposingCopy(), grid: GridSize(columns / 32, rows / 32)) { memory in
      let x = memory.bind("x", elements: (0..<rows * columns).map { Float($0) })
      let y = memory.bindOutput("y", byteCount: 4 * rows * columns)
      return ([.pointer(x), .pointer(y), .u32(rows), .u32(columns)], y)
    }
  }

  static func warpProduct(_ a: Matrix, _ b: Matrix) -> Sample {
    Sample(kernel: WarpProduct(columns: b.rows), grid: GridSize(1)) { memory in
      let c = memory.bindOutput("c", byteCount: 4 * a.rows * b.rows)
      return (
        [a.bind("a", &memory), b.bind("b", &memory), .pointer(c), .u32(a.columns)], c
      )
    }
  }

  /// Levels 5 and 6 have the same parameters.
  static func attention(_ kernel: any Kernel, blocks: Int, _ data: AttentionSample) -> Sample {
    Sample(kernel: kernel, grid: GridSize(blocks)) { memory in
      let o = memory.bindOutput("o", byteCount: 4 * data.q.values.count)
      return (
        [
          data.q.bind("q", &memory), data.k.bind("k", &memory), data.v.bind("v", &memory),
          .pointer(o), .u32(data.k.rows), .f32(data.scale),
        ], o
      )
    }
  }

  static func warpgroupProduct(_ a: Matrix, _ b: Matrix) -> Sample {
    Sample(kernel: WarpgroupProduct(columns: b.rows), grid: GridSize(1)) { memory in
      let maps = [a.bindMap("a", box: 64, &memory), b.bindMap("b", box: b.rows, &memory)]
      let c = memory.bindOutput("c", byteCount: 4 * a.rows * b.rows)
      return (maps + [.pointer(c), .u32(a.columns / 64)], c)
    }
  }

  static func roleAttention(_ data: AttentionSample, stages: Int = 2) -> Sample {
    Sample(kernel: RoleAttention(stages: stages), grid: GridSize(data.q.rows / 64)) { memory in
      let maps = [
        data.q.bindMap("q", box: 64, &memory), data.k.bindMap("k", box: 64, &memory),
        data.v.bindMap("v", box: 64, &memory),
      ]
      let o = memory.bindOutput("o", byteCount: 4 * data.q.values.count)
      return (
        maps + [
          .pointer(o), .u32(data.k.rows / RoleAttention.keysPerTile), .f32(data.scale),
        ], o
      )
    }
  }

  /// A launch of each level, the smallest that shows all of its code at work.
  static func all() -> [Sample] {
    var random = SplitMix64(seed: seed)
    let pipeline = AttentionSample(queries: 64, keys: 96, seed: seed)
    return [
      vectorAdd(count: 300), rowSoftmax(.bfloats(5, 64, &random)),
      transposingCopy(rows: 64, columns: 96),
      warpProduct(.integers(16, 128, &random), .integers(16, 128, &random)),
      attention(
        WarpAttention(), blocks: 1, AttentionSample(queries: 16, keys: 64, seed: seed)),
      attention(PipelinedAttention(), blocks: 1, pipeline),
      warpgroupProduct(.integers(64, 128, &random), .integers(16, 128, &random)),
      roleAttention(AttentionSample(queries: 64, keys: 192, seed: seed)),
    ]
  }
}

import Apus

let pages = PageTable(  // Two requests, 20 and 48 tokens, in a cache of 8 pages of 16 tokens.
  pageSize: 16, blocks: [5, 2, -1, 0, 7, 3], pagesPerRequest: 3, lengths: [20, 48])
let plan = try BatchDecode.plan(
  shape: AttentionShape(qoHeadCount: 32, kvHeadCount: 8, headDimQK: 128),
  types: AttentionTypes(q: .bf16, kv: .e4m3), pages: pages, on: CPUBackend())
let numbers = { (count: Int) in (0..<count).map { Float($0 * 37 % 101) / 50 - 1 } }
let q = try Tensor(numbers(2 * 32 * 128), .bf16, shape: [2, 32, 128])
let k = try Tensor(numbers(8 * 16 * 8 * 128), .e4m3, shape: [8, 16, 8, 128])
let v = try Tensor(numbers(8 * 16 * 8 * 128).reversed(), .e4m3, shape: [8, 16, 8, 128])
let o = try Tensor(zeros: .bf16, shape: [2, 32, 128])
let lse = try Tensor(zeros: .f32, shape: [2, 32])
try plan.run(q: q, k: k, v: v, o: o, lse: lse)
print(o.values.prefix(4), lse.values.prefix(4))

// MARK: - Check
try checkDecode(plan.problem, pages: pages, q: q, k: k, v: v, o: o, lse: lse)
try checkSnippets()

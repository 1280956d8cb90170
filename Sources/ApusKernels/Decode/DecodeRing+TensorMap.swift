internal import ApusDSL
internal import ApusIR

/// Steps that arrive by tensor copies.
///
/// One map serves any page size that is a multiple of 16: its outermost axis counts 16-token tiles,
/// of which a page advances it by `pagePitch`. The elected lane issues the copies of a step right
/// after the warp has read the one before in that stage; nothing but the full barrier is needed.
struct TensorMapRing: DecodeRing {
  let context: DecodeContext
  let walk: any DecodeWalk
  let full: MBarriers
  let ring: Value<U32>
  let stage, parity: Variable<U32>

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }
  private var boxBytes: Int { kernel.tilesPerBox * kernel.tileBytes }

  /// What the plan says about the first steps.
  private let seeds: [Value<U32>]

  /// Shared memory, barriers and the cursor at the first step; all threads take part.
  ///
  /// - Parameter others: barriers of the kernel to initialise with the ring's.
  init(_ context: DecodeContext, _ first: DecodeItemValues, others: [MBarriers]) {
    self.context = context
    let block = context.block
    let kernel = context.kernel
    // Loads first: their latency covers that of the barriers.
    let start = context.parameters.seeds[
      (block.blockIndex() * kernel.warps + context.warp) * DecodeSeeds.wordCount]
    seeds = (0..<DecodeSeeds.wordCount / 4).flatMap {
      block.load(start[4 * $0], count: 4, Caching(isReadOnly: true))
    }
    if let keyMap = context.parameters.keyMap, let valueMap = context.parameters.valueMap {
      block.when(block.threadIndex == 0) {
        block.prefetch(keyMap)
        block.prefetch(valueMap)
      }
    }
    let bytes = kernel.stages * kernel.stageBytes
    let shared = block.shared(
      "ring", U32.self, count: kernel.warps * bytes / 4, alignment: 1024)
    full = block.mbarriers("full", count: kernel.warps * kernel.stages, arrivals: 1)
    block.initialise([full] + others)
    ring = context.warp * bytes + shared.pointer.address
    stage = block.variable(0, as: U32.self, "stage")
    parity = block.variable(0, as: U32.self, "parity")
    walk =
      kernel.lookahead == .window ? WindowWalk(context, first) : StepWalk(context, first)
  }

  func start(_ wait: () -> Void) {
    walk.prepare(skipping: kernel.stages)
    wait()
    for index in 0..<kernel.stages {
      let unit = seeds[DecodeSeeds.unitOffset + index]
      let head = unit & 0xFFFF
      let pages = (0..<kernel.boxes).map { seeds[index * kernel.boxes + $0] }
      copy(
        places(pages, firstRest: unit >> 16),
        head: kernel.mode == .heads ? head + context.warp : head, outer: unit >> 16,
        if: pages[0] != DecodeSeeds.none, stage: context.u32(index))
    }
    walk.begin(skipping: kernel.stages)
  }

  /// Places of a step from its pages, and from the first tile within its first one.
  private func places(_ pages: [Value<U32>], firstRest: Value<U32>) -> [Value<U32>] {
    guard kernel.isPaged else { return pages }
    let parameters = context.parameters
    var rest = firstRest
    return pages.enumerated().map { box, page in
      if box > 0 {
        let next = rest + kernel.tilesPerBox
        rest = select(next >= parameters.pageLength, context.u32(0), next)
      }
      let place = page * parameters.pagePitch + rest
      return box == 0 ? place : select(page == DecodeSeeds.none, page, place)
    }
  }

  /// Copies a step into a stage, in one elected lane.
  private func copy(
    _ places: [Value<U32>], head: Value<U32>, outer: Value<U32>, if exists: Value<Pred>,
    stage: Value<U32>
  ) {
    let barrier = full[context.warp * kernel.stages + stage]
    let target = SharedPointer<U32>(address: ring + stage * kernel.stageBytes)
    let elected = block.electOne()
    guard let keyMap = context.parameters.keyMap, let valueMap = context.parameters.valueMap
    else { return }
    block.when(elected & exists) {
      block.arrive(barrier, expecting: kernel.stageBytes)
      let zero = block.constant(0, as: S32.self)
      for (box, place) in places.enumerated() {
        let (row, last) = kernel.isPaged ? (zero, place) : (place.bitcast(to: S32.self), outer)
        let coordinates = [
          zero, row, zero, head.bitcast(to: S32.self), last.bitcast(to: S32.self),
        ]
        block.loadTensor(
          keyMap, at: coordinates, to: target.advanced(bytes: box * boxBytes),
          signalling: barrier, policy: kernel.keepsKeys ? nil : CachePolicy.evictFirst)
        block.loadTensor(
          valueMap, at: coordinates,
          to: target.advanced(bytes: kernel.stageBytes / 2 + box * boxBytes),
          signalling: barrier, policy: kernel.keepsKeys ? nil : CachePolicy.evictFirst)
      }
    }
  }

  func acquire() -> Value<U32> {
    let stage = stage.value
    block.wait(full[context.warp * kernel.stages + stage], parity: parity.value)
    return ring + stage * kernel.stageBytes
  }

  func release() {
    block.syncWarp()
    let place = walk.place()
    copy(
      place.boxes, head: place.head, outer: place.outer, if: place.exists, stage: stage.value)
    walk.advance()
    let next = stage.value + 1
    let isThrough = next == context.u32(kernel.stages)
    let parity = parity.value
    block.assign(self.parity, select(isThrough, parity ^ 1, parity))
    block.assign(stage, select(isThrough, context.u32(0), next))
  }
}

extension TensorMapRing {
  /// Nothing is in flight: every step that was copied has been read.
  func finish() {}
}

/// The first steps of each warp, so that K and V are one load away from the plan: 16 words, the
/// page (or row) of each box and from `unitOffset` on the unit of each step, whose upper half is the
/// first tile within the first page.
enum DecodeSeeds {
  static let wordCount = 16
  static let unitOffset = 12
  /// The place of a box without tokens: before the tensor, where copies bring zeros and read
  /// nothing.
  static let none = Int(UInt32.max) - 0xFFFF
}

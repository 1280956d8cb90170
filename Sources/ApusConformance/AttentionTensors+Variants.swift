internal import ApusCore
internal import ApusNumerics

extension AttentionTensors {
  /// Bits of o and lse, request after request: what bitwise properties compare.
  func outputBits(requests: Range<Int>? = nil, of given: AttentionProblem? = nil) -> [UInt32] {
    let problem = given ?? problem
    var bits: [UInt32] = []
    for r in requests ?? 0..<problem.batch {
      for row in problem.qoIndptr.rows(r) {
        for head in 0..<problem.shape.qoHeadCount {
          for e in 0..<problem.shape.headDimVO {
            bits.append(arguments.o.bits(at: arguments.o.offset([row, head, e])))
          }
          if let lse = arguments.lse { bits.append(lse.bits(at: lse.offset([row, head]))) }
        }
      }
    }
    return bits
  }

  /// Poisons outputs again, for another run over the same inputs.
  func resetOutputs() {
    for name in ["o", "lse"] {
      guard let buffer = memory.buffer(name) else { continue }
      _ = buffer.bytes.initializeMemory(as: UInt8.self, repeating: HostBuffer.poison)
    }
  }

  /// Inputs, as views of their whole buffers.
  private var inputs: [(name: String, view: TensorView)] {
    arguments.namedTensors.filter { !Self.outputs.contains($0.name) }
  }

  /// Writes zeros wherever inputs still hold poison: slots, pages, rows and gaps that nobody owns.
  func clearPoison() {
    for (_, view) in inputs {
      let size = view.scalarType.byteCount
      let poison = UInt32(truncatingIfNeeded: (UInt64(1) << UInt64(8 * size)) - 1)
      for at in 0..<view.byteCount / size where view.bits(at: at) == poison {
        for byte in 0..<size {
          view.mutableHostPointer?.storeBytes(
            of: 0, toByteOffset: at * size + byte, as: UInt8.self)
        }
      }
    }
  }

  /// Poisons the keys and values that no query sees; false when every key is seen.
  func poisonUnseenKeys() -> Bool {
    var found = false
    for r in 0..<problem.batch {
      let (qo, kv) = (problem.qoLength(r), problem.kvLength(r))
      for token in 0..<kv {
        let isSeen = (0..<qo).contains {
          problem.mask.allows(request: r, $0, token, qoLength: qo, kvLength: kv)
        }
        if isSeen { continue }
        found = true
        for head in 0..<problem.shape.kvHeadCount {
          for part in parts {
            let offset = problem.cacheOffset(part.view, r, token, head)
            for e in 0..<(part.view.shape.last ?? 0) { part.view.poison(at: offset + e) }
          }
        }
      }
    }
    return found
  }

  /// Moves every page elsewhere, tokens and token scales together, and rewrites the table.
  func movePages(_ random: inout CaseRandom) {
    guard case .paged(let table) = problem.geometry else { return }
    let outputs = Self.outputs
    let paged = arguments.namedTensors.filter { name, view in
      !outputs.contains(name) && ["k", "v", "kv", "ckv", "kpe", "latent"].contains(name)
        || ["kScale", "vScale"].contains(name) && view.shape.count > 1
    }
    guard let pages = paged.first?.view.shape.first else { return }
    let destination = random.permutation(pages)
    for (name, view) in paged {
      guard let buffer = memory.buffer(name) else { continue }
      let old = [UInt8](buffer.bytes)
      let span = view.selecting(0, axis: 0).requiredByteCount ?? 0
      let stride = view.strides[0] * view.scalarType.byteCount
      for page in 0..<pages {
        for byte in 0..<span {
          buffer.bytes[destination[page] * stride + byte] = old[page * stride + byte]
        }
      }
    }
    let moved = (0..<table.batch).map { r in
      (0..<table.pageCount(r)).map { Int32(destination[table.page(r, $0)]) }
    }
    problem.geometry = .paged(source.pageTable(moved, pageSize: table.pageSize))
  }

  /// The same tensors restricted to one request.
  func alone(_ r: Int) -> (problem: AttentionProblem, arguments: AttentionArguments) {
    var (problem, arguments) = (problem, arguments)
    func only(_ indptr: RaggedIndptr) -> RaggedIndptr {
      RaggedIndptr([indptr.offsets[r], indptr.offsets[r + 1]])
    }
    problem.qoIndptr = only(problem.qoIndptr)
    if let mask = problem.mask.custom {
      problem.mask.custom = CustomMask(
        bytes: mask.bytes, byteIndptr: only(mask.byteIndptr), bitOrder: mask.bitOrder)
    }
    switch problem.geometry {
    case .ragged(let indptr): problem.geometry = .ragged(only(indptr))
    case .padded(let maxLength, let lengths):
      problem.geometry = .padded(maxLength: maxLength, lengths: [lengths[r]])
      arguments.kv = arguments.kv.mapped { $0.keepingFirst(r) }
      arguments.scales.k = arguments.scales.k.keepingFirst(r)
      arguments.scales.v = arguments.scales.v.keepingFirst(r)
    case .paged(let table):
      let pages = (0..<table.pageCount(r)).map { Int32(table.page(r, $0)) }
      let size = table.pageSize
      switch table.form {
      case .csr:
        problem.geometry = .paged(
          PageTable(
            pageSize: size, indptr: RaggedIndptr([0, pages.count]), indices: pages,
            lastPageLength: [Int32(table.length(r) - Swift.max(pages.count - 1, 0) * size)]))
      case .blockTable:
        problem.geometry = .paged(
          PageTable(
            pageSize: size, blocks: pages, pagesPerRequest: pages.count,
            lengths: [table.length(r)]))
      }
    }
    return (problem, arguments)
  }
}

extension KVOperand {
  fileprivate func mapped(_ change: (TensorView) -> TensorView) -> KVOperand {
    switch self {
    case .separate(let k, let v): .separate(k: change(k), v: change(v))
    case .combined(let kv): .combined(change(kv))
    case .latent(let ckv, let kpe): .latent(ckv: change(ckv), kpe: change(kpe))
    case .packedLatent(let latent): .packedLatent(change(latent))
    }
  }
}

extension Scale {
  fileprivate func keepingFirst(_ r: Int) -> Scale {
    guard case .tokenHead(let view) = self else { return self }
    return .tokenHead(view.keepingFirst(r))
  }
}

extension TensorView {
  /// Slab `r` of the first dimension as a tensor of one slab.
  fileprivate func keepingFirst(_ r: Int) -> TensorView {
    let slab = selecting(r, axis: 0)
    return TensorView(
      address: slab.address, byteCount: slab.byteCount, scalarType: scalarType,
      shape: [1] + slab.shape, strides: [strides[0]] + slab.strides, memory: memory)
  }
}

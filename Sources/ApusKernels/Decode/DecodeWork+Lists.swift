internal import ApusCore

/// Records and seeds in the form that kernels read.
extension DecodeWork {
  /// First KV head of a unit, and the request along the outermost axis of padded caches.
  private func unitWord(_ request: Int, _ unit: Int, _ isPadded: Bool) -> Int {
    let head = unit % headItems * kernel.headsPerItem
    return isPadded ? head | request << 16 : head
  }

  private var isPadded: Bool {
    if case .padded = problem.geometry { true } else { false }
  }

  /// Writes the records: the first of each block at its index, the others behind. Blocks that the
  /// schedule has no work for get a record without rows and steps.
  func writeItems(
    _ schedule: DecodeSchedule, blocks: Int, to words: UnsafeMutableBufferPointer<UInt32>
  ) {
    let bases = bases
    let queryRows = problem.qoIndptr.offsets
    let maskStarts = problem.mask.custom?.byteIndptr.offsets
    let (isPadded, group, tilesPerStep) = (isPadded, problem.shape.groupSize, kernel.tilesPerStep)
    let pieces = schedule.pieces
    func write(_ item: DecodeItem, _ index: Int) {
      item.write(
        to: UnsafeMutableBufferPointer(
          rebasing: words[
            index * DecodeItem.wordCount..<(index + 1) * DecodeItem.wordCount]))
    }
    var extra = blocks
    for block in 0..<schedule.blockCount {
      let range = schedule.blockOffsets[block]..<schedule.blockOffsets[block + 1]
      var total = 0
      for index in range { total += pieces[index].count }
      var end = 0
      for index in range {
        let piece = pieces[index]
        end += piece.count
        let isLast = index == range.upperBound - 1
        let own = index == range.lowerBound ? block : extra
        if index != range.lowerBound { extra += 1 }
        let request = Int(piece.request)
        let first = firstSteps[request] + Int(piece.start)
        var item = DecodeItem()
        item.end = end
        item.tokens = max(
          0, min(ends[request], (first + piece.count) * stepTokens) - first * stepTokens)
        item.firstTile = first * tilesPerStep
        item.base = bases[request]
        item.unit = unitWord(request, Int(piece.unit), isPadded)
        item.total = total
        item.next = isLast ? own : extra
        item.queryRow = queryRows[request]
        item.splits = Int(piece.splits)
        item.slot = Int(piece.slot)
        item.split = Int(piece.split)
        item.isLast = isLast
        item.counter = Int(piece.counter)
        item.qoLength = qoLengths[request]
        item.firstRow = Int(piece.unit) / headItems * kernel.rows
        item.rowCount = min(kernel.rows, item.qoLength * group - item.firstRow)
        item.kvLength = kvLengths[request]
        item.maskStart = maskStarts?[request] ?? 0
        write(item, own)
      }
    }
    for block in schedule.blockCount..<max(blocks, schedule.blockCount) {
      write(.idle(block: block), block)
    }
  }

  /// Writes where the first steps of each warp lie; the list's size says how many blocks there are.
  func writeSeeds(
    _ schedule: DecodeSchedule, to words: UnsafeMutableBufferPointer<UInt32>
  ) {
    words.update(repeating: UInt32(DecodeSeeds.none))
    let seeds = SeedWriter(work: self, isPadded: isPadded, bases: bases, words: words)
    guard case .paged(let table) = problem.geometry else {
      return seeds.write(schedule, tilesPerPage: 1) { _, _ in nil }
    }
    let tiles = table.pageSize / 16
    switch table.form {
    case .csr(let indptr, let indices, _):
      let first = indptr.offsets.first ?? 0
      let bases = bases
      indices.withUnsafeBufferPointer { all in
        seeds.write(schedule, tilesPerPage: tiles) { all[first + bases[$0] + $1] }
      }
    case .blockTable(let blocks, let width, _):
      blocks.withUnsafeBufferPointer { all in
        seeds.write(schedule, tilesPerPage: tiles) { all[$0 * width + $1] }
      }
    }
  }

  /// Seeds of all blocks into words that say that there are none.
  private struct SeedWriter {
    let work: DecodeWork
    let isPadded: Bool
    let bases: [Int]
    let words: UnsafeMutableBufferPointer<UInt32>

    /// - Parameter page: the page of a request's n-th; nil without pages.
    @inline(__always)
    func write(
      _ schedule: DecodeSchedule, tilesPerPage: Int, page: (_ request: Int, _ index: Int) -> Int32?
    ) {
      let kernel = work.kernel
      let (warps, stages, interleaves) =
        (kernel.warps, kernel.stages, kernel.mode.interleavesTokens)
      let stride = interleaves ? warps : 1
      let pieces = schedule.pieces
      for block in 0..<schedule.blockCount {
        let range = schedule.blockOffsets[block]..<schedule.blockOffsets[block + 1]
        // Warps that do not interleave begin with the same steps.
        for warp in 0..<(interleaves ? warps : 1) {
          let target = (block * warps + warp) * DecodeSeeds.wordCount
          var step = warp
          var begin = 0
          var index = range.lowerBound
          for stage in 0..<stages {
            while index < range.upperBound, step >= begin + pieces[index].count {
              begin += pieces[index].count
              index += 1
            }
            guard index < range.upperBound else { break }
            place(pieces[index], step - begin, stage, target, tilesPerPage, page)
            step += stride
          }
        }
        if interleaves { continue }
        let first = block * warps * DecodeSeeds.wordCount
        for word in first..<first + DecodeSeeds.wordCount {
          for warp in 1..<max(warps, 1) { words[word + warp * DecodeSeeds.wordCount] = words[word] }
        }
      }
    }

    @inline(__always)
    private func place(
      _ piece: DecodeSchedule.Piece, _ step: Int, _ stage: Int, _ target: Int, _ tilesPerPage: Int,
      _ page: (_ request: Int, _ index: Int) -> Int32?
    ) {
      let kernel = work.kernel
      let request = Int(piece.request)
      let first = (work.firstSteps[request] + Int(piece.start) + step) * kernel.tilesPerStep
      var unit = work.unitWord(request, Int(piece.unit), isPadded)
      for box in 0..<kernel.boxes {
        let tile = first + box * kernel.tilesPerBox
        guard tile * 16 < work.ends[request] else { continue }
        let place: UInt32
        if let page = page(request, tile / tilesPerPage) {
          place = UInt32(bitPattern: page)
          if box == 0 { unit |= (tile % tilesPerPage) << 16 }
        } else {
          place = UInt32(truncatingIfNeeded: bases[request] + 16 * tile)
        }
        words[target + stage * kernel.boxes + box] = place
      }
      words[target + DecodeSeeds.unitOffset + stage] = UInt32(truncatingIfNeeded: unit)
    }
  }
}

import ApusIR

/// Global memory while a launch runs: every buffer and mapped range by pointer.
final class DeviceMemory {
  /// Bytes that an access may lie in.
  struct Region {
    let start: UInt64
    let byteCount: Int
    let bytes: UnsafeMutablePointer<UInt8>
    /// One byte each, 1 for a written one; nil if all are.
    let written: UnsafeMutablePointer<UInt8>?
    let isWritable: Bool
    /// Stamps of the bytes from `start` − `pageOffset` on.
    let pages: GlobalStamps
    let pageOffset: Int
  }

  /// A range within one region.
  struct Place {
    let bytes: UnsafeMutablePointer<UInt8>
    var written: UnsafeMutablePointer<UInt8>?
    var pages: GlobalStamps?
    /// First byte, as `pages` counts.
    var start = 0
  }

  enum Located {
    case place(Place)
    case readOnly(String)
    case outOfBounds
  }

  private var regions: [Region] = []
  private var names: [String] = []
  private var stamps: [GlobalStamps] = []
  private var owned: [UnsafeMutablePointer<UInt8>] = []
  /// `regions`, and that of the last access: the next one is mostly there too.
  private let table: UnsafeMutableBufferPointer<Region>
  private let last: UnsafeMutablePointer<Region>

  init(_ memory: GlobalMemory) {
    table = .allocate(capacity: memory.buffers.count + memory.mappings.count)
    last = .allocate(capacity: 1)
    for buffer in memory.buffers {
      let count = buffer.bytes.count
      regions.append(
        Region(
          start: buffer.address, byteCount: count, bytes: copy(buffer.bytes),
          written: buffer.isWritten.contains(false) ? copy(buffer.isWritten) : nil,
          isWritable: buffer.isWritable,
          pages: stamps(count), pageOffset: 0))
      names.append(buffer.name)
    }
    addMappings(memory.mappings)
    _ = table.initialize(from: regions)
    let none = UnsafeMutablePointer<UInt8>(owned.first ?? allocate(1))
    last.initialize(
      to: Region(
        start: .max, byteCount: 0, bytes: none, written: nil, isWritable: false,
        pages: stamps(0), pageOffset: 0))
  }

  /// Whether the region of the last access may be written.
  var lastIsWritable: Bool { last.pointee.isWritable }

  deinit {
    table.deallocate()
    last.deallocate()
    for pointer in owned { pointer.deallocate() }
    for pages in stamps { pages.deallocate() }
  }

  private func stamps(_ byteCount: Int) -> GlobalStamps {
    let result = GlobalStamps(byteCount: byteCount)
    stamps.append(result)
    return result
  }

  private func allocate(_ count: Int) -> UnsafeMutablePointer<UInt8> {
    let pointer = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, count))
    owned.append(pointer)
    return pointer
  }

  private func copy<Element: BitwiseCopyable>(_ elements: [Element]) -> UnsafeMutablePointer<UInt8>
  {
    let pointer = allocate(elements.count)
    elements.withUnsafeBytes { bytes in
      if let base = bytes.baseAddress { memory(pointer, base, bytes.count) }
    }
    return pointer
  }

  private func memory(
    _ target: UnsafeMutablePointer<UInt8>, _ source: UnsafeRawPointer, _ count: Int
  ) {
    UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: count)
  }

  /// Ranges that overlap, directly or through others, share one array of flags.
  private func addMappings(_ mappings: [GlobalMemory.Mapping]) {
    let sorted = mappings.sorted { $0.address < $1.address }
    var first = 0
    while first < sorted.count {
      let base = sorted[first].address
      var end = base + UInt(sorted[first].byteCount)
      var next = first + 1
      while next < sorted.count, sorted[next].address < end {
        end = max(end, sorted[next].address + UInt(sorted[next].byteCount))
        next += 1
      }
      let group = sorted[first..<next]
      var flags: UnsafeMutablePointer<UInt8>?
      if group.contains(where: { !$0.isWritten.isEmpty }) {
        let count = Int(end - base)
        let pointer = allocate(count)
        pointer.initialize(repeating: 0, count: count)
        for mapping in group {
          let offset = Int(mapping.address - base)
          if mapping.isWritten.isEmpty {
            (pointer + offset).update(repeating: 1, count: mapping.byteCount)
          }
          for (index, isWritten) in mapping.isWritten.enumerated() where isWritten {
            pointer[offset + index] = 1
          }
        }
        flags = pointer
      }
      let pages = stamps(Int(end - base))
      for mapping in group {
        guard let bytes = UnsafeMutablePointer<UInt8>(bitPattern: mapping.address) else { continue }
        regions.append(
          Region(
            start: UInt64(mapping.address), byteCount: mapping.byteCount, bytes: bytes,
            written: flags.map { $0 + Int(mapping.address - base) },
            isWritable: mapping.isWritable, pages: pages,
            pageOffset: Int(mapping.address - base)))
        names.append(mapping.name)
      }
      first = next
    }
  }

  /// Hands contents and flags back to the value the launch started with.
  func store(to memory: inout GlobalMemory) {
    for index in memory.buffers.indices where memory.buffers[index].isWritable {
      let region = regions[index]
      memory.buffers[index].bytes.withUnsafeMutableBytes {
        $0.copyMemory(from: UnsafeRawBufferPointer(start: region.bytes, count: region.byteCount))
      }
      guard let written = region.written else { continue }
      memory.buffers[index].isWritten.withUnsafeMutableBytes {
        $0.copyMemory(from: UnsafeRawBufferPointer(start: written, count: region.byteCount))
      }
    }
    for index in memory.mappings.indices where !memory.mappings[index].isWritten.isEmpty {
      let mapping = memory.mappings[index]
      let region = regions.first {
        $0.start == UInt64(mapping.address) && $0.byteCount == mapping.byteCount
      }
      guard let written = region?.written else { continue }
      memory.mappings[index].isWritten.withUnsafeMutableBytes {
        $0.copyMemory(from: UnsafeRawBufferPointer(start: written, count: mapping.byteCount))
      }
    }
  }

  /// A region that holds the whole range and, for a write, allows it.
  @inline(__always)
  func locate(_ address: UInt64, byteCount: Int, writes: Bool) -> Located {
    if !writes || last.pointee.isWritable, let place = place(last.pointee, address, byteCount) {
      return .place(place)
    }
    return search(address, byteCount: byteCount, writes: writes)
  }

  private func search(_ address: UInt64, byteCount: Int, writes: Bool) -> Located {
    var readOnly: String?
    for (index, region) in table.enumerated() {
      guard let place = place(region, address, byteCount) else { continue }
      if writes, !region.isWritable {
        readOnly = names[index]
        continue
      }
      last.pointee = region
      return .place(place)
    }
    return readOnly.map { .readOnly($0) } ?? .outOfBounds
  }

  @inline(__always)
  private func place(_ region: Region, _ address: UInt64, _ byteCount: Int) -> Place? {
    guard byteCount >= 0, byteCount <= region.byteCount, address >= region.start,
      address - region.start <= UInt64(region.byteCount - byteCount)
    else { return nil }
    let offset = Int(address - region.start)
    return Place(
      bytes: region.bytes + offset, written: region.written.map { $0 + offset },
      pages: region.pages, start: region.pageOffset + offset)
  }
}

extension DeviceMemory.Place {
  /// The place `offset` bytes on.
  static func + (place: Self, offset: Int) -> Self {
    Self(
      bytes: place.bytes + offset, written: place.written.map { $0 + offset }, pages: place.pages,
      start: place.start + offset)
  }

  /// Whether all of the first bytes were written.
  @inline(__always)
  func isWritten(_ byteCount: Int) -> Bool {
    guard let written else { return true }
    let raw = UnsafeRawPointer(written)
    var index = 0
    while index + 8 <= byteCount {
      if raw.loadUnaligned(fromByteOffset: index, as: UInt64.self) != 0x0101_0101_0101_0101 {
        return false
      }
      index += 8
    }
    while index < byteCount {
      if written[index] == 0 { return false }
      index += 1
    }
    return true
  }

  /// Little-endian bytes: 1, 2, 4 or 8.
  @inline(__always)
  func load(_ byteCount: Int) -> UInt64 {
    let raw = UnsafeRawPointer(bytes)
    switch byteCount {
    case 1: return UInt64(bytes[0])
    case 2: return UInt64(UInt16(littleEndian: raw.loadUnaligned(as: UInt16.self)))
    case 4: return UInt64(UInt32(littleEndian: raw.loadUnaligned(as: UInt32.self)))
    default: return UInt64(littleEndian: raw.loadUnaligned(as: UInt64.self))
    }
  }

  /// Writes little-endian bytes: 1, 2, 4 or 8.
  @inline(__always)
  func store(_ bits: UInt64, _ byteCount: Int) {
    Self.put(bits, byteCount, UnsafeMutableRawPointer(bytes))
    if let written { Self.put(0x0101_0101_0101_0101, byteCount, UnsafeMutableRawPointer(written)) }
  }

  @inline(__always)
  private static func put(_ bits: UInt64, _ byteCount: Int, _ target: UnsafeMutableRawPointer) {
    switch byteCount {
    case 1: target.storeBytes(of: UInt8(truncatingIfNeeded: bits), as: UInt8.self)
    case 2:
      target.storeBytes(of: UInt16(truncatingIfNeeded: bits).littleEndian, as: UInt16.self)
    case 4:
      target.storeBytes(of: UInt32(truncatingIfNeeded: bits).littleEndian, as: UInt32.self)
    default: target.storeBytes(of: bits.littleEndian, as: UInt64.self)
    }
  }

  /// Writes bytes.
  func store(_ data: UnsafeRawBufferPointer) {
    guard let base = data.baseAddress else { return }
    UnsafeMutableRawPointer(bytes).copyMemory(from: base, byteCount: data.count)
    written?.update(repeating: 1, count: data.count)
  }
}

internal import Apus
internal import CApus

/// Runs the body of an exported function: its error becomes a status and the thread's message.
func perform(_ body: () throws(ApusError) -> Void) -> apus_status {
  do throws(ApusError) {
    try body()
    return APUS_OK
  } catch {
    error.description.withCString { capus_set_last_error($0) }
    return switch error {
    case .argument, .index: APUS_INVALID_ARGUMENT
    case .unsupported: APUS_UNSUPPORTED
    case .environment: APUS_ENVIRONMENT
    case .bug: APUS_INTERNAL
    }
  }
}

/// An error of one requirement.
func violation(
  _ operation: String, _ requirement: String, found: String, remedy: String? = nil
) -> ApusError {
  .argument(ArgumentError(operation: operation, requirement, found: found, remedy: remedy))
}

/// The pointee's place of a result.
func required<Value>(
  _ pointer: UnsafeMutablePointer<Value>?, _ name: String, _ operation: String
) throws(ApusError) -> UnsafeMutablePointer<Value> {
  guard let pointer else {
    throw violation(operation, "\(name) must point to its result", found: "a null pointer")
  }
  return pointer
}

/// Copies text into a caller's buffer, cut to its capacity at a character and always terminated.
func copyText(
  _ text: String, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt,
  _ length: UnsafeMutablePointer<Int>?
) {
  let bytes = Array(text.utf8)
  length?.pointee = bytes.count
  guard let buffer, capacity > 0 else { return }
  var count = min(bytes.count, Int(clamping: capacity) - 1)
  while count > 0, count < bytes.count, bytes[count] & 0xc0 == 0x80 { count -= 1 }
  for index in 0..<count { buffer[index] = CChar(bitPattern: bytes[index]) }
  buffer[count] = 0
}

/// A structure of the ABI, which states the size that its caller knows.
protocol SizedStructure {
  init()
  var struct_size: Int { get }
}

extension apus_attention_problem: SizedStructure {}
extension apus_attention_arguments: SizedStructure {}
extension apus_append_problem: SizedStructure {}
extension apus_append_arguments: SizedStructure {}
extension apus_append_lists: SizedStructure {}
extension apus_plan_capacity: SizedStructure {}
extension apus_rope: SizedStructure {}

/// The caller's structure: what an older header lacks is zero, what a newer one adds must be zero.
func read<Structure: SizedStructure>(
  _ pointer: UnsafePointer<Structure>?, _ name: String, _ operation: String
) throws(ApusError) -> Structure {
  guard let pointer else {
    throw violation(operation, "\(name) must be given", found: "a null pointer")
  }
  let raw = UnsafeRawPointer(pointer)
  let stated = raw.loadUnaligned(as: Int.self)
  let known = MemoryLayout<Structure>.size
  // Every version's size is a multiple of the alignment; any other would cut a field in two, and half
  // a pointer would be followed.
  guard stated >= MemoryLayout<Int>.size, stated <= 1 << 16,
    stated.isMultiple(of: MemoryLayout<Structure>.alignment)
  else {
    throw violation(
      operation, "struct_size of \(name) must be the size of its structure", found: "\(stated)",
      remedy: "Start from APUS_INIT.")
  }
  var result = Structure()
  withUnsafeMutableBytes(of: &result) { bytes in
    bytes.copyMemory(from: UnsafeRawBufferPointer(start: raw, count: min(stated, known)))
  }
  if stated > known {
    let extra = UnsafeRawBufferPointer(start: raw + known, count: stated - known)
    guard extra.allSatisfy({ $0 == 0 }) else {
      throw violation(
        operation, "fields of \(name) beyond this library's must be zero",
        found: "a structure of \(stated) bytes where \(known) are known",
        remedy: "Use a newer library.")
    }
  }
  return result
}

// The libFuzzer target for NPY headers. Compiled into one module with ApusIO's sources, so it may
// use what is internal there.

/// Parses arbitrary bytes as a file. Refusing them is fine; accepting them means every promise of
/// the header must hold, and writing the array again must give a file with the same content.
@c(LLVMFuzzerTestOneInput)
public func fuzzNPY(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = UnsafeRawBufferPointer(start: data, count: count)
  let header: NPYHeader
  do throws(FileError) {
    header = try NPYHeader.parse(bytes)
  } catch {
    check(!error.description.isEmpty, "an error without a description")
    return 0
  }
  check(header.byteRange.upperBound == bytes.count, "the elements do not fill the file")
  check(header.shape.count <= maximumRank, "the rank limit was passed")
  check(
    header.scalarType.byteCount(ofShape: header.shape) == header.byteRange.count,
    "shape and size disagree")
  let content = TensorContent(
    name: "", scalarType: header.scalarType, shape: header.shape,
    bytes: Array(bytes[header.byteRange]))
  do throws(FileError.Reason) {
    let file = Array(try NPYWriter.chunks(content).joined())
    let again = try file.withUnsafeBufferPointer { (bytes) throws(FileError.Reason) in
      try NPYHeader(UnsafeRawBufferPointer(bytes))
    }
    check(again.byteRange.lowerBound % 64 == 0, "the elements are not aligned to 64")
    check(again.scalarType == header.scalarType && again.shape == header.shape, "the type changed")
    check(Array(file[again.byteRange]) == content.bytes, "the elements changed")
  } catch {
    check(false, "an accepted file could not be written and read again: \(error)")
  }
  return 0
}

/// Stops with a message, which a failing `precondition` does not print in optimised builds.
private func check(_ condition: Bool, _ message: @autoclosure () -> String) {
  if !condition { fatalError(message()) }
}

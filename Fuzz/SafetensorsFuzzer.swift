// The libFuzzer target for safetensors headers. Compiled into one module with ApusIO's sources, so
// it may use what is internal there.

/// Parses arbitrary bytes as a file. Refusing them is fine; accepting them means every promise of
/// the header must hold, and writing the tensors again must give a file with the same content.
@c(LLVMFuzzerTestOneInput)
public func fuzzSafetensors(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = UnsafeRawBufferPointer(start: data, count: count)
  let header: SafetensorsHeader
  do throws(FileError) {
    header = try SafetensorsHeader.parse(bytes)
  } catch {
    check(!error.description.isEmpty, "an error without a description")
    return 0
  }
  var covered = header.dataOffset
  for tensor in header.tensors {
    check(tensor.byteRange.lowerBound == covered, "an overlap or a hole was accepted")
    check(tensor.shape.count <= maximumRank, "the rank limit was passed")
    check(
      tensor.scalarType.byteCount(ofShape: tensor.shape) == tensor.byteRange.count,
      "shape and size disagree")
    covered = tensor.byteRange.upperBound
  }
  check(covered == bytes.count, "trailing data was accepted")
  checkRoundTrip(header, bytes)
  return 0
}

private func checkRoundTrip(_ header: SafetensorsHeader, _ bytes: UnsafeRawBufferPointer) {
  let contents = header.tensors.map {
    TensorContent(
      name: $0.name, scalarType: $0.scalarType, shape: $0.shape, bytes: Array(bytes[$0.byteRange]))
  }
  do throws(FileError.Reason) {
    let chunks = try SafetensorsWriter.chunks(contents, metadata: header.metadata)
    let file = Array(chunks.joined())
    let again = try file.withUnsafeBufferPointer { (bytes) throws(FileError.Reason) in
      try SafetensorsHeader(UnsafeRawBufferPointer(bytes))
    }
    check(again.metadata == header.metadata, "metadata changed")
    check(again.dataOffset % 8 == 0, "the written header is not padded to 8")
    let written = again.tensors.map {
      TensorContent(
        name: $0.name, scalarType: $0.scalarType, shape: $0.shape, bytes: Array(file[$0.byteRange]))
    }
    check(Set(written) == Set(contents), "tensors changed")
  } catch {
    check(false, "an accepted file could not be written and read again: \(error)")
  }
}

/// Stops with a message, which a failing `precondition` does not print in optimised builds.
private func check(_ condition: Bool, _ message: @autoclosure () -> String) {
  if !condition { fatalError(message()) }
}

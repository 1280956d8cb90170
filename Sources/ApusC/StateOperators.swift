internal import Apus
public import CApus

/// See `apus.h`.
@_cdecl("apus_merge_state")
public func mergeState(
  _ backend: UInt64, _ vA: UnsafePointer<DLTensor>?, _ sA: UnsafePointer<DLTensor>?,
  _ vB: UnsafePointer<DLTensor>?, _ sB: UnsafePointer<DLTensor>?, _ v: UnsafePointer<DLTensor>?,
  _ s: UnsafePointer<DLTensor>?, _ convention: apus_lse_convention,
  _ stream: UnsafePointer<apus_stream>?
) -> apus_status {
  merge("apus_merge_state", backend, convention, stream) { (reader) throws(ApusError) in
    .two(
      aV: try reader.view(vA, "v_a"), aS: try reader.view(sA, "s_a"),
      bV: try reader.view(vB, "v_b"), bS: try reader.view(sB, "s_b"), v: try reader.view(v, "v"),
      s: try reader.view(s, "s"))
  }
}

/// See `apus.h`.
@_cdecl("apus_merge_state_in_place")
public func mergeStateInPlace(
  _ backend: UInt64, _ v: UnsafePointer<DLTensor>?, _ s: UnsafePointer<DLTensor>?,
  _ vOther: UnsafePointer<DLTensor>?, _ sOther: UnsafePointer<DLTensor>?,
  _ mask: UnsafePointer<DLTensor>?, _ convention: apus_lse_convention,
  _ stream: UnsafePointer<apus_stream>?
) -> apus_status {
  merge("apus_merge_state_in_place", backend, convention, stream) { (reader) throws(ApusError) in
    .inPlace(
      v: try reader.view(v, "v"), s: try reader.view(s, "s"),
      otherV: try reader.view(vOther, "v_other"), otherS: try reader.view(sOther, "s_other"),
      mask: try reader.optionalView(mask, "mask"))
  }
}

/// See `apus.h`.
@_cdecl("apus_merge_states")
public func mergeStates(
  _ backend: UInt64, _ states: UnsafePointer<DLTensor>?, _ logits: UnsafePointer<DLTensor>?,
  _ v: UnsafePointer<DLTensor>?, _ s: UnsafePointer<DLTensor>?, _ convention: apus_lse_convention,
  _ stream: UnsafePointer<apus_stream>?
) -> apus_status {
  merge("apus_merge_states", backend, convention, stream) { (reader) throws(ApusError) in
    .many(
      states: try reader.view(states, "states"), logits: try reader.view(logits, "logits"),
      v: try reader.view(v, "v"), s: try reader.view(s, "s"))
  }
}

private func merge(
  _ operation: String, _ backend: UInt64, _ convention: apus_lse_convention,
  _ stream: UnsafePointer<apus_stream>?,
  _ states: (TensorReader) throws(ApusError) -> MergeArguments.States
) -> apus_status {
  perform { () throws(ApusError) in
    let backend = try Handles.backends.object(backend, operation)
    let reader = TensorReader(operation: operation)
    let arguments = MergeArguments(
      try states(reader), convention: try reader.convention(convention))
    try MergeStates.run(arguments, on: backend, stream: executionStream(stream))
  }
}

/// See `apus.h`.
@_cdecl("apus_rotate")
public func rotate(
  _ backend: UInt64, _ q: UnsafePointer<DLTensor>?, _ k: UnsafePointer<DLTensor>?,
  _ qOut: UnsafePointer<DLTensor>?, _ kOut: UnsafePointer<DLTensor>?, _ positions: apus_int_list,
  _ rope: UnsafePointer<apus_rope>?, _ cosSinCache: UnsafePointer<DLTensor>?,
  _ interleaved: Int32, _ stream: UnsafePointer<apus_stream>?
) -> apus_status {
  rotate("apus_rotate", backend, rope, cosSinCache, interleaved, stream) {
    (reader, source) throws(ApusError) in
    RotaryArguments(
      q: try reader.view(q, "q"), k: try reader.view(k, "k"),
      qOut: try reader.view(qOut, "q_out"), kOut: try reader.view(kOut, "k_out"),
      positions: try reader.integers(positions, "positions"), source: source)
  }
}

/// See `apus.h`.
@_cdecl("apus_rotate_by")
public func rotateBy(
  _ backend: UInt64, _ q: UnsafePointer<DLTensor>?, _ k: UnsafePointer<DLTensor>?,
  _ qOut: UnsafePointer<DLTensor>?, _ kOut: UnsafePointer<DLTensor>?,
  _ positions: UnsafePointer<DLTensor>?, _ rope: UnsafePointer<apus_rope>?,
  _ cosSinCache: UnsafePointer<DLTensor>?, _ interleaved: Int32,
  _ stream: UnsafePointer<apus_stream>?
) -> apus_status {
  rotate("apus_rotate_by", backend, rope, cosSinCache, interleaved, stream) {
    (reader, source) throws(ApusError) in
    RotaryArguments(
      q: try reader.view(q, "q"), k: try reader.view(k, "k"),
      qOut: try reader.view(qOut, "q_out"), kOut: try reader.view(kOut, "k_out"),
      positions: try reader.view(positions, "positions"), source: source)
  }
}

/// Rotates by the arguments that `read` makes of a reader and the angles.
private func rotate(
  _ operation: String, _ backend: UInt64, _ rope: UnsafePointer<apus_rope>?,
  _ cosSinCache: UnsafePointer<DLTensor>?, _ interleaved: Int32,
  _ stream: UnsafePointer<apus_stream>?,
  _ read: (TensorReader, RotarySource) throws(ApusError) -> RotaryArguments
) -> apus_status {
  perform { () throws(ApusError) in
    let backend = try Handles.backends.object(backend, operation)
    let reader = TensorReader(operation: operation)
    let source = try reader.rotarySource(rope, cosSinCache, interleaved)
    try Rotary.run(try read(reader, source), on: backend, stream: executionStream(stream))
  }
}

extension TensorReader {
  /// Frequencies or a table, exactly one of them.
  fileprivate func rotarySource(
    _ rope: UnsafePointer<apus_rope>?, _ cosSinCache: UnsafePointer<DLTensor>?,
    _ interleaved: Int32
  ) throws(ApusError) -> RotarySource {
    switch (rope, cosSinCache) {
    case (let rope?, nil): return .frequencies(try self.rope(rope))
    case (nil, let cache?):
      return .cosSinCache(
        try view(cache, "cos_sin_cache"), pairing: interleaved != 0 ? .interleaved : .half)
    default:
      throw violation(
        operation, "either rope or cos_sin_cache must be given",
        found: rope == nil ? "neither" : "both")
    }
  }
}

/// See `apus.h`.
@_cdecl("apus_pack_bits")
public func packBits(
  _ backend: UInt64, _ flags: UnsafePointer<DLTensor>?, _ packed: UnsafePointer<DLTensor>?,
  _ indptr: apus_int_list, _ bitOrder: apus_bit_order, _ stream: UnsafePointer<apus_stream>?
) -> apus_status {
  perform { () throws(ApusError) in
    let operation = "apus_pack_bits"
    let backend = try Handles.backends.object(backend, operation)
    let reader = TensorReader(operation: operation)
    let order = try reader.bitOrder(bitOrder)
    let flags = try reader.view(flags, "flags")
    let packed = try reader.view(packed, "packed")
    let arguments =
      indptr.count == 0
      ? PackBitsArguments(flags: flags, packed: packed, bitOrder: order)
      : PackBitsArguments(
        flags: flags, packed: packed,
        indptr: RaggedIndptr(try reader.integers(indptr, "indptr")), bitOrder: order)
    try PackBits.run(arguments, on: backend, stream: executionStream(stream))
  }
}

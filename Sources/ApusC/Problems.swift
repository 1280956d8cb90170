internal import Apus
internal import ApusNumerics
internal import CApus

extension TensorReader {
  /// The problem that a structure states; validation is the planner's.
  func problem(_ source: apus_attention_problem) throws(ApusError) -> AttentionProblem {
    let q = try source.q_type.elementType("q_type", operation)
    guard let q else {
      throw violation(operation, "q_type must be given", found: "APUS_TYPE_DEFAULT")
    }
    let latent: LatentShape? =
      source.latent_ckv == 0 && source.latent_kpe == 0
      ? nil : LatentShape(ckv: Int(source.latent_ckv), kpe: Int(source.latent_kpe))
    let headDimQK = Int(source.head_dim_qk)
    let headDimVO =
      source.head_dim_vo == 0
      ? latent.map(\.ckv) ?? headDimQK : Int(source.head_dim_vo)
    return AttentionProblem(
      shape: AttentionShape(
        qoHeadCount: Int(source.qo_head_count), kvHeadCount: Int(source.kv_head_count),
        headDimQK: headDimQK, headDimVO: headDimVO),
      types: AttentionTypes(
        q: q, kv: try source.kv_type.elementType("kv_type", operation),
        o: try source.o_type.elementType("o_type", operation)),
      qoIndptr: RaggedIndptr(try integers(source.qo_indptr, "qo_indptr")),
      geometry: try geometry(source), layout: try layout(source.layout), latent: latent,
      mask: try mask(source), modification: try modification(source),
      lseConvention: try convention(source.lse_convention), options: try options(source))
  }

  private func geometry(_ source: apus_attention_problem) throws(ApusError) -> KVGeometry {
    switch source.geometry {
    case APUS_RAGGED:
      return .ragged(RaggedIndptr(try integers(source.kv_indptr, "kv_indptr")))
    case APUS_PADDED:
      var lengths = try integers(source.kv_lengths, "kv_lengths")
      let maxLength = Int(source.max_length)
      if lengths.isEmpty {
        lengths = [Int](
          repeating: maxLength, count: max(0, Int(source.qo_indptr.count) - 1))
      }
      return .padded(maxLength: maxLength, lengths: lengths)
    case APUS_PAGED:
      return .paged(
        try pageTable(
          pageSize: source.page_size, indptr: source.page_indptr, indices: source.page_indices,
          lastPageLength: source.last_page_length, blocks: source.block_table,
          pagesPerRequest: source.pages_per_request, lengths: source.kv_lengths))
    default:
      throw violation(
        operation, "geometry must be one of apus_geometry, 0…2",
        found: "\(source.geometry.rawValue)")
    }
  }

  /// Pages in one of two forms: lists per request, or a dense table.
  func pageTable(
    pageSize: Int64, indptr: apus_int_list, indices: apus_int_list, lastPageLength: apus_int_list,
    blocks: apus_int_list, pagesPerRequest: Int64, lengths: apus_int_list
  ) throws(ApusError) -> PageTable {
    if indptr.count > 0 {
      return PageTable(
        pageSize: Int(pageSize), indptr: RaggedIndptr(try integers(indptr, "page_indptr")),
        indices: try integers32(indices, "page_indices"),
        lastPageLength: try integers32(lastPageLength, "last_page_length"))
    }
    return PageTable(
      pageSize: Int(pageSize), blocks: try integers32(blocks, "block_table"),
      pagesPerRequest: Int(pagesPerRequest), lengths: try integers(lengths, "kv_lengths"))
  }

  /// The layout of a cache.
  func layout(_ source: apus_layout) throws(ApusError) -> KVLayout {
    switch source {
    case APUS_NHD: return .nhd
    case APUS_HND: return .hnd
    default:
      throw violation(
        operation, "layout must be one of apus_layout, 0 or 1", found: "\(source.rawValue)")
    }
  }

  /// The order of bits.
  func bitOrder(_ source: apus_bit_order) throws(ApusError) -> BitOrder {
    switch source {
    case APUS_BITS_LITTLE: return .little
    case APUS_BITS_BIG: return .big
    default:
      throw violation(
        operation, "bit_order must be one of apus_bit_order, 0 or 1", found: "\(source.rawValue)")
    }
  }

  /// Base and empty row.
  func convention(_ source: apus_lse_convention) throws(ApusError) -> LSEConvention {
    switch source {
    case APUS_LSE_BASE_2: return .base2
    case APUS_LSE_NATURAL: return .natural
    case APUS_LSE_NATURAL_POSITIVE_INFINITY: return .flashMLA
    default:
      throw violation(
        operation, "lse_convention must be one of apus_lse_convention, 0…2",
        found: "\(source.rawValue)")
    }
  }

  /// 32 GiB of mask bits would be a count that was never set.
  private static let greatestMaskByteCount = 1 << 32

  private func mask(_ source: apus_attention_problem) throws(ApusError) -> AttentionMask {
    var mask = AttentionMask(
      isCausal: source.is_causal != 0,
      windowLeft: source.has_window != 0 ? Int(source.window_left) : nil)
    if let bits = source.mask_bits {
      let offsets = RaggedIndptr(try integers(source.mask_indptr, "mask_indptr"))
      guard source.mask_byte_count >= 0, offsets.end >= 0,
        source.mask_byte_count >= offsets.end, offsets.end <= Self.greatestMaskByteCount
      else {
        throw violation(
          operation,
          "mask_byte_count must hold the bytes of mask_indptr, at most "
            + "\(Self.greatestMaskByteCount)",
          found: "\(source.mask_byte_count) for \(offsets.end)")
      }
      mask.custom = CustomMask(
        bytes: Array(UnsafeBufferPointer(start: bits, count: offsets.end)), byteIndptr: offsets,
        bitOrder: try bitOrder(source.mask_bit_order))
    }
    return mask
  }

  private func modification(
    _ source: apus_attention_problem
  ) throws(ApusError) -> ScoreModification {
    let heads = Int(source.qo_head_count)
    return ScoreModification(
      softmaxScale: source.has_softmax_scale != 0 ? source.softmax_scale : nil,
      logitsSoftCap: source.logits_soft_cap == 0 ? nil : source.logits_soft_cap,
      alibiSlopes: source.alibi_slopes.map { slopes in
        (0..<max(0, min(heads, 65_536))).map { slopes[$0] }
      },
      rope: source.rope == nil ? nil : try rope(source.rope))
  }

  /// A rotary embedding.
  func rope(_ pointer: UnsafePointer<apus_rope>?) throws(ApusError) -> RotaryEmbedding {
    let source = try read(pointer, "rope", operation)
    return RotaryEmbedding(
      pairing: source.interleaved != 0 ? .interleaved : .half,
      rotaryDim: source.rotary_dim == 0 ? nil : Int(source.rotary_dim),
      scale: source.scale == 0 ? 1 : source.scale,
      theta: source.theta == 0 ? 10_000 : source.theta,
      llama31: source.is_llama31 == 0
        ? nil
        : RotaryEmbedding.Llama31(
          lowFrequencyFactor: source.low_frequency_factor,
          highFrequencyFactor: source.high_frequency_factor,
          oldContextLength: source.old_context_length))
  }

  private func options(_ source: apus_attention_problem) throws(ApusError) -> ExecutionOptions {
    var precision = Precision.fast
    if source.is_accurate != 0 {
      precision = .accurate
    } else if source.tolerance != 0 {
      precision = .automatic(tolerance: source.tolerance)
    }
    guard source.reserved == 0 else {
      throw violation(operation, "reserved must be 0", found: "\(source.reserved)")
    }
    return ExecutionOptions(
      precision: precision, splitSize: source.split_size == 0 ? nil : Int(source.split_size),
      disablesSplitKV: source.disables_split_kv != 0,
      isBatchInvariant: source.is_batch_invariant != 0,
      useTensorCores: try tensorCores(source.use_tensor_cores))
  }

  private func tensorCores(_ source: apus_tensor_core_use) throws(ApusError) -> TensorCoreUse {
    switch source {
    case APUS_TENSOR_CORES_AUTOMATIC: return .automatic
    case APUS_TENSOR_CORES_NEVER: return .never
    case APUS_TENSOR_CORES_ALWAYS: return .always
    default:
      throw violation(
        operation, "use_tensor_cores must be one of apus_tensor_core_use, 0…2",
        found: "\(source.rawValue)")
    }
  }

  /// The scale of one operand.
  func scale(_ source: apus_scale, _ name: String) throws(ApusError) -> Scale {
    switch (source.per_head, source.per_token_head) {
    case (nil, nil): return source.value == 0 ? .one : .tensor(source.value)
    case (let head?, nil): return .head(try view(head, name, as: .f32))
    case (nil, let tokenHead?): return .tokenHead(try view(tokenHead, name, as: .f32))
    case (_?, _?):
      throw violation(
        operation, "\(name) must be per head or per token and head", found: "both tensors")
    }
  }
}

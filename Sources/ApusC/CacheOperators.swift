internal import Apus
internal import ApusNumerics
public import CApus

/// See `apus.h`.
@_cdecl("apus_append")
public func append(
  _ backend: UInt64, _ problem: UnsafePointer<apus_append_problem>?,
  _ arguments: UnsafePointer<apus_append_arguments>?, _ stream: UnsafePointer<apus_stream>?
) -> apus_status {
  perform { () throws(ApusError) in
    let operation = "apus_append"
    let backend = try Handles.backends.object(backend, operation)
    let reader = TensorReader(operation: operation)
    let problem = try reader.append(read(problem, "problem", operation))
    let source = try read(arguments, "arguments", operation)
    let type = ScalarType(problem.sourceType)
    let arguments = AppendArguments(
      keys: try reader.view(source.keys, "keys", as: type),
      values: try reader.view(source.values, "values", as: type),
      cache: try reader.cache(
        k: source.k, v: source.v, kv: source.kv, as: ScalarType(problem.cacheType),
        isLatent: problem.isLatent),
      kScale: try reader.scale(source.k_scale, "k_scale"),
      vScale: try reader.scale(source.v_scale, "v_scale"))
    try Append.run(problem, arguments, on: backend, stream: executionStream(stream))
  }
}

extension TensorReader {
  fileprivate func append(_ source: apus_append_problem) throws(ApusError) -> AppendProblem {
    guard let sourceType = try source.source_type.elementType("source_type", operation) else {
      throw violation(operation, "source_type must be given", found: "APUS_TYPE_DEFAULT")
    }
    let cacheType = try source.cache_type.elementType("cache_type", operation) ?? sourceType
    let layout = try layout(source.layout)
    let (heads, k) = (Int(source.kv_head_count), Int(source.head_dim_k))
    let v = source.is_latent == 0 && source.head_dim_v == 0 ? k : Int(source.head_dim_v)
    let latent = source.is_latent == 0 ? nil : LatentShape(ckv: k, kpe: v)
    if source.lists != nil {
      let lists = try lists(source)
      if let latent {
        return AppendProblem(
          latent: latent, latentHeadCount: heads, sourceType: sourceType, cacheType: cacheType,
          layout: layout, lists: lists)
      }
      return AppendProblem(
        kvHeadCount: heads, headDimK: k, headDimV: v, sourceType: sourceType,
        cacheType: cacheType, layout: layout, lists: lists)
    }
    let table = try pageTable(
      pageSize: source.page_size, indptr: source.page_indptr, indices: source.page_indices,
      lastPageLength: source.last_page_length, blocks: source.block_table,
      pagesPerRequest: source.pages_per_request, lengths: source.kv_lengths)
    let batchIndices = try integers32(source.batch_indices, "batch_indices")
    let positions = try integers32(source.positions, "positions")
    if let latent {
      return AppendProblem(
        latent: latent, latentHeadCount: heads, sourceType: sourceType, cacheType: cacheType,
        layout: layout, table: table, batchIndices: batchIndices, positions: positions)
    }
    return AppendProblem(
      kvHeadCount: heads, headDimK: k, headDimV: v, sourceType: sourceType, cacheType: cacheType,
      layout: layout, table: table, batchIndices: batchIndices, positions: positions)
  }

  /// Lists in the memory of the back end.
  private func lists(_ source: apus_append_problem) throws(ApusError) -> AppendLists {
    let given: [(name: String, list: apus_int_list)] = [
      ("page_indptr", source.page_indptr), ("page_indices", source.page_indices),
      ("last_page_length", source.last_page_length), ("block_table", source.block_table),
      ("kv_lengths", source.kv_lengths), ("batch_indices", source.batch_indices),
      ("positions", source.positions),
    ]
    if let other = given.first(where: { $0.list.count != 0 }) {
      throw violation(
        operation, "\(other.name) must be empty beside lists", found: "\(other.list.count) of them")
    }
    let lists = try read(source.lists, "lists", operation)
    let pages: AppendLists.Pages
    switch (lists.page_indptr, lists.page_indices, lists.block_table) {
    case (let indptr?, let indices?, nil):
      pages = .csr(
        indptr: try view(indptr, "page_indptr"), indices: try view(indices, "page_indices"))
    case (nil, nil, let blocks?):
      pages = .blockTable(try view(blocks, "block_table"))
    default:
      throw violation(
        operation, "lists must have page_indptr and page_indices, or block_table",
        found: lists.block_table == nil ? "a part" : "both")
    }
    return AppendLists(
      pageSize: Int(source.page_size), pages: pages,
      batchIndices: try view(lists.batch_indices, "batch_indices"),
      positions: try view(lists.positions, "positions"))
  }

  fileprivate func scale(
    _ source: apus_append_scale, _ name: String
  ) throws(ApusError) -> AppendScale {
    switch (source.per_head, source.dynamic_per_token_head) {
    case (nil, nil): return source.value == 0 ? .one : .tensor(source.value)
    case (let head?, nil): return .head(try view(head, name, as: .f32))
    case (nil, let dynamic?): return .dynamicTokenHead(try view(dynamic, name, as: .f32))
    case (_?, _?):
      throw violation(
        operation, "\(name) must be per head or dynamic per token and head",
        found: "both tensors")
    }
  }
}

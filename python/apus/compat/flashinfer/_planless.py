"""Calls without a plan: paged caches by block tables, for decode and for prefill."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import apus

from ._attention_core import PlannedAttention, Settings
from ._values import (
    check_backend,
    check_layout,
    check_tensor,
    fail,
    host_indptr,
    host_integers,
    output_type,
    reject,
    torch_dtype,
    unsupported,
)

_CACHES = "caches of f32, f16, bf16, e4m3, e5m2 with one block table for k and v"


def split_cache(cache: Any, operation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """k and v of a pair, of `[pages, 2, …]`, or of `[pages, 1, …]`, which both share."""
    if isinstance(cache, (tuple, list)) and len(cache) == 2:
        return cache[0], cache[1]
    if isinstance(cache, torch.Tensor) and cache.ndim == 5 and cache.shape[1] in (1, 2):
        return cache[:, 0], cache[:, -1]
    found = tuple(cache.shape) if isinstance(cache, torch.Tensor) else type(cache).__name__
    fail(operation, "kv_cache must be a pair, or [pages, 1 or 2, …] of 5 dimensions", found)


def attend(
    operation: str, query: torch.Tensor, kv_cache: Any, workspace: torch.Tensor | None,
    block_tables: torch.Tensor, seq_lens: torch.Tensor, qo_indptr: np.ndarray, *,
    bmm1_scale: Any, bmm2_scale: Any, window_left: int, causal: bool, out: torch.Tensor | None,
    out_dtype: Any, sinks: torch.Tensor | None, kv_layout: str, o_scale: Any = None,
    lse: torch.Tensor | None = None, return_lse: bool = False,
) -> Any:
    """One plan and its run.

    Args:
        query: `[rows, num_qo_heads, head_dim]`.
        block_tables: `[batch_size, pages_per_request]`.
        seq_lens: `[batch_size]`.
        bmm1_scale: multiplies q·k; bmm2_scale multiplies o. Numbers or f32 tensors of one element.
        o_scale: divides o.
    """
    check_layout(operation, kv_layout)
    k, v = split_cache(kv_cache, operation)
    if query.ndim != 3 or k.ndim != 4 or v.ndim != 4:
        found = f"{query.ndim}, {k.ndim} and {v.ndim}"
        fail(operation, "query must have 3 dimensions, k and v caches 4", found)
    if k.dtype == torch.uint8:
        unsupported(operation, "a cache of uint8 (NVFP4)", _CACHES)
    token_axis, head_axis = (1, 2) if kv_layout == "NHD" else (2, 1)
    table = torch.as_tensor(block_tables)
    lengths = host_integers(seq_lens, operation, "seq_lens")
    if table.ndim != 2 or table.shape[0] != lengths.size:
        requirement = f"block_tables must be [{lengths.size}, pages]"
        fail(operation, requirement, tuple(table.shape))
    if qo_indptr.size != lengths.size + 1:
        requirement = f"there must be queries for {lengths.size} requests"
        fail(operation, requirement, qo_indptr.size - 1)
    if out_dtype == "nvfp4" or (out_dtype is not None and not _is_dtype(out_dtype)):
        unsupported(operation, f"out_dtype={out_dtype!r}", "f32, f16, bf16, e4m3, e5m2")
    if out_dtype is not None:
        o_type = torch_dtype(out_dtype)
    else:
        o_type = query.dtype if out is None else out.dtype
    if out is not None:
        shape = (*query.shape[:2], v.shape[-1])
        check_tensor(operation, "out", out, shape, o_type, query.device)
    # A scale on the device multiplies per head; a number goes into the plan.
    on_device = isinstance(bmm1_scale, torch.Tensor)
    settings = Settings(
        operation=operation, num_qo_heads=query.shape[1], num_kv_heads=k.shape[head_axis],
        head_dim_qk=query.shape[2], head_dim_vo=v.shape[3], q_dtype=query.dtype,
        kv_dtype=k.dtype, o_dtype=o_type, kv_layout=kv_layout, causal=causal,
        window_left=window_left, sm_scale=1.0 if on_device else float(bmm1_scale),
    )
    geometry = {
        "page_size": k.shape[token_axis],
        "block_table": table.detach().cpu().to(torch.int32).contiguous().numpy(),
        "kv_lengths": lengths,
    }
    planned = PlannedAttention(
        apus.backend_of(query), settings, geometry, qo_indptr, lengths, {}
    )
    return planned.run(
        query, {"k": k, "v": v}, q_scale=bmm1_scale if on_device else None,
        v_scale=bmm2_scale, o_scale=None if o_scale == 1.0 else o_scale, out=out, lse=lse,
        return_lse=return_lse, sinks=sinks, workspace=workspace,
    )


def _is_dtype(value: Any) -> bool:
    return isinstance(value, (str, torch.dtype))


def _query_offsets(
    operation: str, rows: int, batch: int, q_len_per_req: int | None, cum_seq_lens_q: Any
) -> np.ndarray:
    if cum_seq_lens_q is not None:
        return host_indptr(cum_seq_lens_q, operation, "cum_seq_lens_q")
    if q_len_per_req is None:
        fail(operation, "q_len_per_req or cum_seq_lens_q must be given", "neither")
    if rows != batch * q_len_per_req:
        requirement = f"query must hold {batch} · {q_len_per_req} rows (batch_size · q_len_per_req)"
        fail(operation, requirement, rows)
    return np.arange(batch + 1) * q_len_per_req


def trtllm_batch_decode_with_kv_cache(
    query: torch.Tensor, kv_cache: Any, workspace_buffer: torch.Tensor,
    block_tables: torch.Tensor, seq_lens: torch.Tensor, max_seq_len: int,
    bmm1_scale: float | torch.Tensor = 1.0, bmm2_scale: float | torch.Tensor = 1.0,
    window_left: int = -1, out: torch.Tensor | None = None, out_dtype: Any = None,
    o_sf_scale: float | None = None, o_sf_vec_size: int | None = None,
    sinks: torch.Tensor | None = None, kv_layout: str = "HND", enable_pdl: bool | None = None,
    backend: str = "auto", q_len_per_req: int | None = 1, o_scale: float | None = 1.0,
    mask: torch.Tensor | None = None, max_q_len: int | None = None,
    cum_seq_lens_q: torch.Tensor | None = None,
    skip_softmax_threshold_scale_factor: float | None = None, kv_cache_sf: Any = None,
    uses_shared_paged_kv_idx: bool = True, lse: torch.Tensor | None = None,
    return_lse: bool = False, bmm1_scale_log2: torch.Tensor | None = None,
    multi_ctas_kv_counter_buffer: torch.Tensor | None = None,
    enable_block_sparse_attention: bool = False, cp_world: int = 1, cp_rank: int = 0,
    causal_seqlens_kv_global: torch.Tensor | None = None,
    bf16q_fp8kv_transform_mode: str | None = None, request_order: torch.Tensor | None = None,
    request_order_plan: Any = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Decode over a paged cache by a block table, q_len_per_req queries per request.

    Args:
        query: `[batch_size · q_len_per_req, num_qo_heads, head_dim]`, or rows by cum_seq_lens_q.
        kv_cache: `[pages, 2, num_kv_heads, page_size, head_dim]` (HND), with 1 instead of 2 where k
            and v are the same, or a pair.
        workspace_buffer: used where it is large enough.
        block_tables: `[batch_size, pages_per_request]`.
        seq_lens: `[batch_size]`, with the new tokens.
        bmm1_scale: multiplies q·k: softmax scale, times q's and k's scales.
        bmm2_scale: multiplies o: v's scale.
        o_scale: divides o.

    Returns:
        o of the shape of query, with `return_lse` also f32 `[rows, num_qo_heads]`, base 2.
    """
    operation = "trtllm_batch_decode_with_kv_cache"
    check_backend(operation, backend)
    reject(
        operation, "causal decode over dense block tables", mask=mask, kv_cache_sf=kv_cache_sf,
        o_sf_scale=o_sf_scale, o_sf_vec_size=o_sf_vec_size, bmm1_scale_log2=bmm1_scale_log2,
        enable_block_sparse_attention=enable_block_sparse_attention,
        causal_seqlens_kv_global=causal_seqlens_kv_global, request_order=request_order,
        uses_separate_paged_kv_idx=not uses_shared_paged_kv_idx, cp_world=cp_world != 1,
    )
    offsets = _query_offsets(
        operation, query.shape[0], len(seq_lens),
        max_q_len if q_len_per_req is None else q_len_per_req, cum_seq_lens_q,
    )
    return attend(
        operation, query, kv_cache, workspace_buffer, block_tables, seq_lens, offsets,
        bmm1_scale=bmm1_scale, bmm2_scale=bmm2_scale, window_left=window_left, causal=True,
        out=out, out_dtype=out_dtype, sinks=sinks, kv_layout=kv_layout, o_scale=o_scale, lse=lse,
        return_lse=return_lse,
    )


def xqa_batch_decode_with_kv_cache(
    query: torch.Tensor, kv_cache: Any, workspace_buffer: torch.Tensor,
    block_tables: torch.Tensor, seq_lens: torch.Tensor, max_seq_len: int,
    bmm1_scale: float | torch.Tensor = 1.0, bmm2_scale: float | torch.Tensor = 1.0,
    window_left: int = -1, out: torch.Tensor | None = None, sinks: torch.Tensor | None = None,
    kv_layout: str = "NHD", enable_pdl: bool | None = None, q_len_per_req: int | None = 1,
    o_scale: float | None = 1.0, mask: torch.Tensor | None = None, kv_cache_sf: Any = None,
    q_cu_seq_lens: torch.Tensor | None = None,
) -> torch.Tensor:
    """As `trtllm_batch_decode_with_kv_cache`, with NHD by default and without lse."""
    operation = "xqa_batch_decode_with_kv_cache"
    reject(operation, "causal decode", mask=mask, kv_cache_sf=kv_cache_sf)
    offsets = _query_offsets(operation, query.shape[0], len(seq_lens), q_len_per_req, q_cu_seq_lens)
    return attend(
        operation, query, kv_cache, workspace_buffer, block_tables, seq_lens, offsets,
        bmm1_scale=bmm1_scale, bmm2_scale=bmm2_scale, window_left=window_left, causal=True,
        out=out, out_dtype=None, sinks=sinks, kv_layout=kv_layout, o_scale=o_scale,
    )


def cudnn_batch_decode_with_kv_cache(
    q: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, scale: float,
    workspace_buffer: torch.Tensor, *, max_sequence_kv: int,
    actual_seq_lens_kv: torch.Tensor | None = None, block_tables: torch.Tensor | None = None,
    is_cuda_graph_compatible: bool = False, batch_offsets_q: torch.Tensor | None = None,
    batch_offsets_o: torch.Tensor | None = None, batch_offsets_k: torch.Tensor | None = None,
    batch_offsets_v: torch.Tensor | None = None, out: torch.Tensor | None = None,
    return_lse: bool = False, lse: torch.Tensor | None = None, q_len_per_req: int = 1,
    window_left: int = -1, sinks: torch.Tensor | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Decode over a paged cache `[pages, num_kv_heads, page_size, head_dim]` by a block table.

    Args:
        q: `[batch_size · q_len_per_req, num_qo_heads, head_dim]`.
        scale: multiplies q·k.
        actual_seq_lens_kv: `[batch_size]`, also with further dimensions of 1.
        block_tables: `[batch_size, pages_per_request]`, also with further dimensions of 1.

    Returns:
        o of the shape of q, with `return_lse` also f32 `[rows, num_qo_heads]`, base 2.
    """
    operation = "cudnn_batch_decode_with_kv_cache"
    reject(
        operation, "dense rows of q and out", batch_offsets_q=batch_offsets_q,
        batch_offsets_o=batch_offsets_o, batch_offsets_k=batch_offsets_k,
        batch_offsets_v=batch_offsets_v,
    )
    if actual_seq_lens_kv is None or block_tables is None:
        fail(operation, "actual_seq_lens_kv and block_tables must be given", "None")
    lengths = actual_seq_lens_kv.reshape(-1)
    offsets = _query_offsets(operation, q.shape[0], len(lengths), q_len_per_req, None)
    return attend(
        operation, q, (k_cache, v_cache), workspace_buffer,
        block_tables.reshape(len(lengths), -1) if len(lengths) else block_tables, lengths, offsets,
        bmm1_scale=scale, bmm2_scale=None, window_left=window_left, causal=q_len_per_req > 1,
        out=out, out_dtype=None, sinks=sinks, kv_layout="HND", lse=lse, return_lse=return_lse,
    )


def trtllm_batch_context_with_kv_cache(
    query: torch.Tensor, kv_cache: Any, workspace_buffer: torch.Tensor,
    block_tables: torch.Tensor, seq_lens: torch.Tensor, max_q_len: int, max_kv_len: int,
    bmm1_scale: float | torch.Tensor, bmm2_scale: float | torch.Tensor, batch_size: int,
    cum_seq_lens_q: torch.Tensor, cum_seq_lens_kv: torch.Tensor, window_left: int = -1,
    out: torch.Tensor | None = None, out_dtype: Any = None, o_sf_scale: float | None = None,
    o_sf_vec_size: int | None = None, kv_layout: str = "HND", enable_pdl: bool | None = None,
    sinks: torch.Tensor | None = None, kv_cache_sf: Any = None,
    skip_softmax_threshold_scale_factor: float | None = None,
    uses_shared_paged_kv_idx: bool = True, causal: bool = True, lse: torch.Tensor | None = None,
    return_lse: bool = False, multi_ctas_kv_counter_buffer: torch.Tensor | None = None,
    use_fp16_softmax: bool | None = None, uses_spcompress: bool | None = None,
    backend: str = "trtllm-gen",
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Prefill over a paged cache by a block table.

    Args:
        query: `[cum_seq_lens_q[-1], num_qo_heads, head_dim]`.
        kv_cache: `[pages, 2, num_kv_heads, page_size, head_dim]` (HND), with 1 instead of 2 where k
            and v are the same, or a pair.
        block_tables: `[batch_size, pages_per_request]`.
        seq_lens: `[batch_size]`, keys of each request.
        bmm1_scale: multiplies q·k: softmax scale, times q's and k's scales.
        bmm2_scale: multiplies o: v's scale.
        cum_seq_lens_q: `[batch_size + 1]`.

    Returns:
        o of the shape of query, with `return_lse` also f32 `[rows, num_qo_heads]`, base 2.
    """
    operation = "trtllm_batch_context_with_kv_cache"
    check_backend(operation, backend)
    reject(
        operation, "dense block tables", kv_cache_sf=kv_cache_sf, o_sf_scale=o_sf_scale,
        o_sf_vec_size=o_sf_vec_size, uses_separate_paged_kv_idx=not uses_shared_paged_kv_idx,
    )
    if len(seq_lens) != batch_size:
        fail(operation, f"seq_lens must hold batch_size = {batch_size} lengths", len(seq_lens))
    return attend(
        operation, query, kv_cache, workspace_buffer, block_tables, seq_lens,
        host_indptr(cum_seq_lens_q, operation, "cum_seq_lens_q"), bmm1_scale=bmm1_scale,
        bmm2_scale=bmm2_scale, window_left=window_left, causal=causal, out=out,
        out_dtype=out_dtype, sinks=sinks, kv_layout=kv_layout, lse=lse, return_lse=return_lse,
    )


def trtllm_ragged_attention_deepseek(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, workspace_buffer: torch.Tensor,
    seq_lens: torch.Tensor, max_q_len: int, max_kv_len: int, bmm1_scale: float | torch.Tensor,
    bmm2_scale: float | torch.Tensor, o_sf_scale: float, batch_size: int, window_left: int,
    cum_seq_lens_q: torch.Tensor, cum_seq_lens_kv: torch.Tensor, enable_pdl: bool | None,
    is_causal: bool, return_lse: bool, attention_sinks: torch.Tensor | None = None,
    skip_softmax_threshold_scale_factor: float | None = None, out: torch.Tensor | None = None,
    lse: torch.Tensor | None = None, sage_attn_sfs: tuple[Any, ...] = (None, None, None, None),
    num_elts_per_sage_attn_blk: tuple[int, ...] = (0, 0, 0, 0), backend: str = "trtllm-gen",
    q_seq_lens_cpu: torch.Tensor | None = None, kv_seq_lens_cpu: torch.Tensor | None = None,
    use_fp16_softmax: bool | None = None, uses_spcompress: bool | None = None,
    skip_all_rows_active_check: bool = True,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Prefill over contiguous keys and values, of MLA before absorption or of any other heads.

    Args:
        query: `[cum_seq_lens_q[-1], num_qo_heads, head_dim_qk]`.
        key: `[cum_seq_lens_kv[-1], num_kv_heads, head_dim_qk]`; value likewise, of head_dim_vo.
        bmm1_scale: multiplies q·k; bmm2_scale multiplies o.
        cum_seq_lens_q, cum_seq_lens_kv: `[batch_size + 1]`.

    Returns:
        o `[rows, num_qo_heads, head_dim_vo]`, bf16 for a query of 8 bits, with `return_lse` also
        f32 `[rows, num_qo_heads]`, base 2.
    """
    operation = "trtllm_ragged_attention_deepseek"
    check_backend(operation, backend)
    reject(
        operation, "q, k and v with one scale each",
        sage_attn_sfs=any(sf is not None for sf in sage_attn_sfs),
    )
    offsets = host_indptr(cum_seq_lens_q, operation, "cum_seq_lens_q")
    kv_offsets = host_indptr(cum_seq_lens_kv, operation, "cum_seq_lens_kv")
    if offsets.size != batch_size + 1 or kv_offsets.size != batch_size + 1:
        requirement = f"cum_seq_lens_q and cum_seq_lens_kv must hold {batch_size + 1} offsets"
        fail(operation, requirement, f"{offsets.size} and {kv_offsets.size}")
    if query.ndim != 3 or key.ndim != 3 or value.ndim != 3:
        found = f"{query.ndim}, {key.ndim} and {value.ndim}"
        fail(operation, "query, key and value must have 3 dimensions", found)
    on_device = isinstance(bmm1_scale, torch.Tensor)
    settings = Settings(
        operation=operation, num_qo_heads=query.shape[1], num_kv_heads=key.shape[1],
        head_dim_qk=query.shape[2], head_dim_vo=value.shape[2], q_dtype=query.dtype,
        kv_dtype=key.dtype,
        o_dtype=output_type(query.dtype, torch.bfloat16) if out is None else out.dtype,
        causal=is_causal, window_left=window_left,
        sm_scale=1.0 if on_device else float(bmm1_scale),
    )
    planned = PlannedAttention(
        apus.backend_of(query), settings, {"kv_indptr": kv_offsets}, offsets,
        np.diff(kv_offsets), {},
    )
    return planned.run(
        query, {"k": key, "v": value}, q_scale=bmm1_scale if on_device else None,
        v_scale=bmm2_scale, out=out, lse=lse, return_lse=return_lse, sinks=attention_sinks,
        workspace=workspace_buffer,
    )

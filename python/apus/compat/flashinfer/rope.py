"""flashinfer.rope: rotary embeddings of q and k (arXiv 2104.09864)."""

from __future__ import annotations

from typing import Any

import torch

import apus
from apus._device_lists import is_on_device

from ._pages import cache_arguments
from ._values import FP8_TYPES, check_layout, fail
from .page import append_paged_kv_cache, append_paged_mla_kv_cache

__all__ = [
    "apply_llama31_rope",
    "apply_llama31_rope_inplace",
    "apply_llama31_rope_pos_ids",
    "apply_llama31_rope_pos_ids_inplace",
    "apply_rope",
    "apply_rope_inplace",
    "apply_rope_pos_ids",
    "apply_rope_pos_ids_inplace",
    "apply_rope_with_cos_sin_cache",
    "apply_rope_with_cos_sin_cache_inplace",
    "mla_rope_quantize_fp8",
    "rope_quantize_fp8",
    "rope_quantize_fp8_append_paged_kv_cache",
]

Pair = tuple[torch.Tensor, torch.Tensor]


def _positions(indptr: torch.Tensor, offsets: torch.Tensor, rows: int) -> torch.Tensor:
    """Position of each row: row r of request i is at `offsets[i] + r`.

    Where the lists are, without a wait; every row gets one of a request, whatever they hold.
    """
    if len(offsets) == 0:
        return torch.zeros(rows, dtype=torch.int64, device=indptr.device)
    starts = indptr.to(torch.int64)
    index = torch.arange(rows, dtype=torch.int64, device=indptr.device)
    request = torch.bucketize(index, starts[1:], right=True).clamp(max=len(offsets) - 1)
    first = offsets.to(device=indptr.device, dtype=torch.int64) - starts[:-1]
    return index + first[request]


def _checked_positions(
    indptr: torch.Tensor, offsets: torch.Tensor, q: torch.Tensor, operation: str
) -> torch.Tensor:
    if len(offsets) != len(indptr) - 1:
        fail(operation, f"offsets must hold {len(indptr) - 1} values (batch_size)", len(offsets))
    if not is_on_device(indptr) and (int(indptr[-1]) != q.shape[0] or int(indptr[0]) != 0):
        found = f"{int(indptr[0])}…{int(indptr[-1])}"
        fail(operation, f"indptr must run from 0 to {q.shape[0]} (rows of q)", found)
    return _positions(indptr, offsets, q.shape[0])


def _rotated(
    q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor, in_place: bool,
    rotary_dim: int | None, interleave: bool, rope_scale: float, rope_theta: float,
    llama31: tuple[float, float, float] | None = None,
) -> Pair:
    rope = apus.Rope(
        interleaved=interleave, rotary_dim=rotary_dim or 0, scale=rope_scale, theta=rope_theta,
        llama31=llama31,
    )
    outputs = {"q_out": q, "k_out": k} if in_place else {}
    return apus.rotate(q, k, positions, rope=rope, **outputs)


def apply_rope(
    q: torch.Tensor, k: torch.Tensor, indptr: torch.Tensor, offsets: torch.Tensor,
    rotary_dim: int | None = None, interleave: bool = False, rope_scale: float = 1,
    rope_theta: float = 1e4,
) -> Pair:
    """Rotates q and k of a ragged batch.

    Args:
        q: `[nnz, num_q_heads, head_dim]`; k: `[nnz, num_k_heads, head_dim]`.
        indptr: `[batch_size + 1]`; offsets: `[batch_size]`, position of a request's first row.
        rotary_dim: leading elements that turn; None is all.
        interleave: pairs are neighbours instead of halves.
        rope_scale: positions are divided by it.

    Returns:
        New tensors of the shapes of q and k.
    """
    positions = _checked_positions(indptr, offsets, q, "apply_rope")
    return _rotated(q, k, positions, False, rotary_dim, interleave, rope_scale, rope_theta)


def apply_rope_inplace(
    q: torch.Tensor, k: torch.Tensor, indptr: torch.Tensor, offsets: torch.Tensor,
    rotary_dim: int | None = None, interleave: bool = False, rope_scale: float = 1,
    rope_theta: float = 1e4,
) -> None:
    """`apply_rope` into q and k."""
    positions = _checked_positions(indptr, offsets, q, "apply_rope_inplace")
    _rotated(q, k, positions, True, rotary_dim, interleave, rope_scale, rope_theta)


def apply_rope_pos_ids(
    q: torch.Tensor, k: torch.Tensor, pos_ids: torch.Tensor, rotary_dim: int | None = None,
    interleave: bool = False, rope_scale: float = 1, rope_theta: float = 1e4,
) -> Pair:
    """`apply_rope` by the positions of all rows, `[nnz]`."""
    return _rotated(q, k, pos_ids, False, rotary_dim, interleave, rope_scale, rope_theta)


def apply_rope_pos_ids_inplace(
    q: torch.Tensor, k: torch.Tensor, pos_ids: torch.Tensor, rotary_dim: int | None = None,
    interleave: bool = False, rope_scale: float = 1, rope_theta: float = 1e4,
) -> None:
    """`apply_rope_pos_ids` into q and k."""
    _rotated(q, k, pos_ids, True, rotary_dim, interleave, rope_scale, rope_theta)


def apply_llama31_rope(
    q: torch.Tensor, k: torch.Tensor, indptr: torch.Tensor, offsets: torch.Tensor,
    rotary_dim: int | None = None, interleave: bool = False, rope_scale: float = 8,
    rope_theta: float = 5e5, low_freq_factor: float = 1, high_freq_factor: float = 4,
    old_context_len: int = 8192,
) -> Pair:
    """`apply_rope` with the frequencies of Llama 3.1: low ones are divided by rope_scale, those
    between the factors partly."""
    llama31 = (low_freq_factor, high_freq_factor, old_context_len)
    positions = _checked_positions(indptr, offsets, q, "apply_llama31_rope")
    return _rotated(
        q, k, positions, False, rotary_dim, interleave, rope_scale, rope_theta, llama31
    )


def apply_llama31_rope_inplace(
    q: torch.Tensor, k: torch.Tensor, indptr: torch.Tensor, offsets: torch.Tensor,
    rotary_dim: int | None = None, interleave: bool = False, rope_scale: float = 8,
    rope_theta: float = 5e5, low_freq_factor: float = 1, high_freq_factor: float = 4,
    old_context_len: int = 8192,
) -> None:
    """`apply_llama31_rope` into q and k."""
    llama31 = (low_freq_factor, high_freq_factor, old_context_len)
    positions = _checked_positions(indptr, offsets, q, "apply_llama31_rope_inplace")
    _rotated(q, k, positions, True, rotary_dim, interleave, rope_scale, rope_theta, llama31)


def apply_llama31_rope_pos_ids(
    q: torch.Tensor, k: torch.Tensor, pos_ids: torch.Tensor, rotary_dim: int | None = None,
    interleave: bool = False, rope_scale: float = 8, rope_theta: float = 5e5,
    low_freq_factor: float = 1, high_freq_factor: float = 4, old_context_len: int = 8192,
) -> Pair:
    """`apply_llama31_rope` by the positions of all rows, `[nnz]`."""
    llama31 = (low_freq_factor, high_freq_factor, old_context_len)
    return _rotated(q, k, pos_ids, False, rotary_dim, interleave, rope_scale, rope_theta, llama31)


def apply_llama31_rope_pos_ids_inplace(
    q: torch.Tensor, k: torch.Tensor, pos_ids: torch.Tensor, rotary_dim: int | None = None,
    interleave: bool = False, rope_scale: float = 8, rope_theta: float = 5e5,
    low_freq_factor: float = 1, high_freq_factor: float = 4, old_context_len: int = 8192,
) -> None:
    """`apply_llama31_rope_pos_ids` into q and k."""
    llama31 = (low_freq_factor, high_freq_factor, old_context_len)
    _rotated(q, k, pos_ids, True, rotary_dim, interleave, rope_scale, rope_theta, llama31)


def apply_rope_with_cos_sin_cache(
    positions: torch.Tensor, query: torch.Tensor, key: torch.Tensor, head_size: int,
    cos_sin_cache: torch.Tensor, is_neox: bool = True,
) -> Pair:
    """Rotates by a table.

    Args:
        positions: `[nnz]`.
        query: `[nnz, num_q_heads · head_size]`; key: `[nnz, num_k_heads · head_size]`.
        cos_sin_cache: f32 `[max_position, rotary_dim]`, cosines then sines.
        is_neox: pairs are halves instead of neighbours.

    Returns:
        New tensors of the shapes of query and key.
    """
    query_out, key_out = torch.empty_like(query), torch.empty_like(key)
    _by_table(positions, query, key, query_out, key_out, head_size, cos_sin_cache, is_neox)
    return query_out, key_out


def apply_rope_with_cos_sin_cache_inplace(
    positions: torch.Tensor, query: torch.Tensor, key: torch.Tensor, head_size: int,
    cos_sin_cache: torch.Tensor, is_neox: bool = True,
) -> None:
    """`apply_rope_with_cos_sin_cache` into query and key."""
    _by_table(positions, query, key, query, key, head_size, cos_sin_cache, is_neox)


def _by_table(
    positions: torch.Tensor, query: torch.Tensor, key: torch.Tensor, query_out: torch.Tensor,
    key_out: torch.Tensor, head_size: int, cos_sin_cache: torch.Tensor, is_neox: bool,
) -> None:
    operation = "apply_rope_with_cos_sin_cache"
    if cos_sin_cache.dtype != torch.float32:
        fail(operation, "cos_sin_cache must be float32", cos_sin_cache.dtype)
    q, k, q_out, k_out = (
        _heads(t, head_size, operation) for t in (query, key, query_out, key_out)
    )
    apus.rotate(
        q, k, positions, cos_sin_cache=cos_sin_cache, interleaved=not is_neox, q_out=q_out,
        k_out=k_out,
    )


def _heads(tensor: torch.Tensor, head_size: int, operation: str) -> torch.Tensor:
    if tensor.ndim not in (2, 3) or tensor[0:1].numel() % head_size:
        fail(operation, f"rows must be heads of {head_size} elements", tuple(tensor.shape))
    if tensor.ndim == 3:
        return tensor
    return tensor.unflatten(1, (tensor.shape[1] // head_size, head_size))


def rope_quantize_fp8(
    q_rope: torch.Tensor, k_rope: torch.Tensor, q_nope: torch.Tensor | None,
    k_nope: torch.Tensor | None, cos_sin_cache: torch.Tensor, pos_ids: torch.Tensor,
    is_neox: bool = True, quantize_dtype: torch.dtype | None = None, quant_scale_q: float = 1.0,
    quant_scale_kv: float = 1.0, q_rope_out: torch.Tensor | None = None,
    k_rope_out: torch.Tensor | None = None, q_nope_out: torch.Tensor | None = None,
    k_nope_out: torch.Tensor | None = None, enable_pdl: bool = False, backend: str = "cuda",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rotates the rope parts, multiplies all parts by their scale, and stores them in 8 bits.

    The rotation is Apus's; the conversion runs on torch operations.

    Args:
        q_rope: `[nnz, num_q_heads, rope_dim]`; k_rope: `[nnz, num_k_heads, rope_dim]`, or `[nnz,
            rope_dim]` for MLA.
        q_nope, k_nope: the parts that do not turn, or None.
        cos_sin_cache: f32 `[max_position, rope_dim]`; pos_ids: `[nnz]`.
        quantize_dtype: that of the outputs given, else e4m3.

    Returns:
        q_rope, k_rope, q_nope, k_nope in 8 bits.
    """
    operation = "rope_quantize_fp8"
    if cos_sin_cache.dtype != torch.float32:
        fail(operation, "cos_sin_cache must be float32", cos_sin_cache.dtype)
    outputs = (q_rope_out, k_rope_out, q_nope_out, k_nope_out)
    if quantize_dtype is None:
        given = [out.dtype for out in outputs if out is not None]
        quantize_dtype = given[0] if given else torch.float8_e4m3fn
    if quantize_dtype not in FP8_TYPES:
        fail(operation, "quantize_dtype must be float8_e4m3fn or float8_e5m2", quantize_dtype)
    keys = k_rope.unsqueeze(1) if k_rope.ndim == 2 else k_rope
    q_wide, k_wide = q_rope.to(torch.float32), keys.to(torch.float32)
    apus.rotate(
        q_wide, k_wide, pos_ids, cos_sin_cache=cos_sin_cache, interleaved=not is_neox,
        q_out=q_wide, k_out=k_wide,
    )
    if q_nope is None:
        q_nope = q_rope.new_empty((*q_rope.shape[:-1], 0))
    if k_nope is None:
        k_nope = k_rope.new_empty((*k_rope.shape[:-1], 0))
    parts = (
        (q_wide, quant_scale_q), (k_wide.view(k_rope.shape), quant_scale_kv),
        (q_nope, quant_scale_q), (k_nope, quant_scale_kv),
    )
    results = []
    for (part, scale), out in zip(parts, outputs):
        limit = torch.finfo(quantize_dtype).max
        stored = (part.to(torch.float32) * scale).clamp(-limit, limit).to(quantize_dtype)
        results.append(stored if out is None else out.copy_(stored))
    return results[0], results[1], results[2], results[3]


def mla_rope_quantize_fp8(
    q_rope: torch.Tensor, k_rope: torch.Tensor, q_nope: torch.Tensor | None,
    k_nope: torch.Tensor | None, cos_sin_cache: torch.Tensor, pos_ids: torch.Tensor,
    is_neox: bool = True, quantize_dtype: torch.dtype | None = None, quant_scale_q: float = 1.0,
    quant_scale_kv: float = 1.0, q_rope_out: torch.Tensor | None = None,
    k_rope_out: torch.Tensor | None = None, q_nope_out: torch.Tensor | None = None,
    k_nope_out: torch.Tensor | None = None, enable_pdl: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """`rope_quantize_fp8` under its name for MLA."""
    return rope_quantize_fp8(
        q_rope, k_rope, q_nope, k_nope, cos_sin_cache, pos_ids, is_neox, quantize_dtype,
        quant_scale_q, quant_scale_kv, q_rope_out, k_rope_out, q_nope_out, k_nope_out,
    )


def rope_quantize_fp8_append_paged_kv_cache(
    q_rope: torch.Tensor, k_rope: torch.Tensor, q_nope: torch.Tensor | None,
    k_nope: torch.Tensor | None, v: torch.Tensor | None, cos_sin_cache: torch.Tensor,
    pos_ids: torch.Tensor, paged_kv_cache: Any, kv_indices: torch.Tensor,
    kv_indptr: torch.Tensor, batch_indices: torch.Tensor, positions: torch.Tensor,
    is_neox: bool = True, quantize_dtype: torch.dtype | None = None, quant_scale_q: float = 1.0,
    quant_scale_kv: float = 1.0, page_size: int = 16, kv_layout: str = "NHD",
    q_rope_out: torch.Tensor | None = None, q_nope_out: torch.Tensor | None = None,
    enable_pdl: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`rope_quantize_fp8`, with k and v written into a paged cache of 8 bits.

    Args:
        v: `[nnz, num_k_heads, head_dim]` scaled by quant_scale_kv; None for MLA, whose cache is the
            pair (k_nope part, k_rope part).

    Returns:
        q_rope and q_nope in 8 bits.
    """
    operation = "rope_quantize_fp8_append_paged_kv_cache"
    check_layout(operation, kv_layout)
    q_rope_8, k_rope_8, q_nope_8, k_nope_8 = rope_quantize_fp8(
        q_rope, k_rope, q_nope, k_nope, cos_sin_cache, pos_ids, is_neox, quantize_dtype,
        quant_scale_q, quant_scale_kv, q_rope_out, None, q_nope_out, None,
    )
    pages = kv_indptr[1:] - kv_indptr[:-1]
    full = torch.full_like(pages, page_size)
    if k_rope.ndim == 2:
        append_paged_mla_kv_cache(
            k_nope_8, k_rope_8, batch_indices, positions, *paged_kv_cache, kv_indices, kv_indptr,
            full,
        )
        return q_rope_8, q_nope_8
    if v is None:
        fail(operation, "v must be given but for MLA", None)
    limit = torch.finfo(q_rope_8.dtype).max
    values = (v.to(torch.float32) * quant_scale_kv).clamp(-limit, limit).to(q_rope_8.dtype)
    keys = torch.cat((k_rope_8.view(torch.uint8), k_nope_8.view(torch.uint8)), dim=-1)
    caches = cache_arguments(paged_kv_cache, kv_layout, operation)
    pair = tuple(caches["kv"].unbind(1)) if "kv" in caches else (caches["k"], caches["v"])
    append_paged_kv_cache(
        keys.view(q_rope_8.dtype), values, batch_indices, positions, pair, kv_indices, kv_indptr,
        full, kv_layout,
    )
    return q_rope_8, q_nope_8

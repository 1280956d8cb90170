"""The functions beneath: `flash_mla_cuda` of the first release, `flash_mla.cuda` of the current
one.

Tensors need not be on CUDA here.
"""

from __future__ import annotations

from typing import Any, Optional

import torch

from ..flash_attn._checks import require
from . import flash_mla_interface as _interface


def get_mla_metadata(
    seqlens_k: torch.Tensor, num_heads_per_head_k: int, num_heads_k: int
) -> list[torch.Tensor]:
    """[tile_scheduler_metadata `(parts, 8)`, num_splits `(batch + 1,)`], int32."""
    return list(_interface.get_mla_metadata(seqlens_k, num_heads_per_head_k, num_heads_k))


def fwd_kvcache_mla(
    q: torch.Tensor,
    kcache: torch.Tensor,
    vcache_: Optional[torch.Tensor],
    head_size_v: int,
    seqlens_k: torch.Tensor,
    block_table: torch.Tensor,
    softmax_scale: float,
    is_causal: bool,
    tile_scheduler_metadata: torch.Tensor,
    num_splits: torch.Tensor,
) -> list[torch.Tensor]:
    """[out `(batch, s_q, h_q, head_size_v)`, lse `(batch, h_q, s_q)`] of the first release.

    vcache_ is None or the leading head_size_v values of kcache's rows.
    """
    if vcache_ is not None:
        require(
            vcache_.data_ptr() == kcache.data_ptr(), "fwd_kvcache_mla",
            "vcache_ must be None or a view of kcache", "a tensor of its own")
    return list(_interface.flash_mla_with_kvcache(
        q, kcache, block_table, seqlens_k, head_size_v, tile_scheduler_metadata, num_splits,
        softmax_scale, is_causal))


def dense_decode_fwd(
    q: torch.Tensor,
    kcache: torch.Tensor,
    head_size_v: int,
    seqlens_k: torch.Tensor,
    block_table: torch.Tensor,
    softmax_scale: float,
    is_causal: bool,
    tile_scheduler_metadata: Optional[torch.Tensor],
    num_splits: Optional[torch.Tensor],
) -> list[Any]:
    """[out, lse, tile_scheduler_metadata, num_splits] of the current release; None makes
    metadata."""
    if tile_scheduler_metadata is None:
        tile_scheduler_metadata, num_splits = _interface._tensors(q.shape[0], q.device)
    out, lse = _interface.flash_mla_with_kvcache(
        q, kcache, block_table, seqlens_k, head_size_v, tile_scheduler_metadata, num_splits,
        softmax_scale, is_causal)
    return [out, lse, tile_scheduler_metadata, num_splits]


def sparse_decode_fwd(
    q: torch.Tensor,
    kv: torch.Tensor,
    indices: torch.Tensor,
    topk_length: Optional[torch.Tensor],
    attn_sink: Optional[torch.Tensor],
    tile_scheduler_metadata: Optional[torch.Tensor],
    num_splits: Optional[torch.Tensor],
    extra_kv: Optional[torch.Tensor],
    extra_indices: Optional[torch.Tensor],
    extra_topk_length: Optional[torch.Tensor],
    d_v: int,
    sm_scale: float,
) -> list[Any]:
    """[out, lse, tile_scheduler_metadata, num_splits] over an FP8 cache by lists of tokens."""
    if tile_scheduler_metadata is None:
        tile_scheduler_metadata, num_splits = _interface._tensors(q.shape[0], q.device)
    out, lse = _interface.flash_mla_with_kvcache(
        q, kv, None, None, d_v, tile_scheduler_metadata, num_splits, sm_scale, False, True, indices,
        attn_sink, extra_kv, extra_indices, topk_length, extra_topk_length)
    return [out, lse, tile_scheduler_metadata, num_splits]


def sparse_prefill_fwd(
    q: torch.Tensor,
    kv: torch.Tensor,
    indices: torch.Tensor,
    sm_scale: float,
    d_v: int,
    attn_sink: Optional[torch.Tensor],
    topk_length: Optional[torch.Tensor],
) -> list[torch.Tensor]:
    """[out, max_logits, lse] of `flash_mla_sparse_fwd`."""
    return list(_interface.flash_mla_sparse_fwd(
        q, kv, indices, sm_scale, d_v, attn_sink, topk_length))


__all__ = [
    "dense_decode_fwd",
    "fwd_kvcache_mla",
    "get_mla_metadata",
    "sparse_decode_fwd",
    "sparse_prefill_fwd",
]

"""FlashAttention 2's functions, forward only. `out` and `lse` follow its conventions.

lse is natural; a row that sees no key has out = 0 and lse = +inf. `deterministic` is accepted and
has no effect: the forward pass is deterministic. `num_splits` 1 keeps the keys of a row together;
other values leave the choice to the planner. Beyond the original, tensors may lie on the CPU, may
be float32, and blocks may have any size.
"""

from __future__ import annotations

from typing import Any, Optional, Union

import torch

from . import _dense
from ._checks import require, require_forward, require_no_dropout, require_rank

_LSE = "natural_positive_infinity"


def _result(out: torch.Tensor, lse: torch.Tensor, return_attn_probs: bool) -> Any:
    """out, or (out, lse, S): S is empty, as it is without dropout."""
    if not return_attn_probs:
        return out
    return out, lse, torch.empty(0, dtype=out.dtype, device=out.device)


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Optional[torch.Tensor] = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    """Attention of a batch of equally long sequences.

    q `(batch, seqlen_q, nheads, headdim)`, k and v `(batch, seqlen_k, nheads_k, headdim)` with
    nheads a multiple of nheads_k; causal and window are aligned at the bottom right. alibi_slopes
    `(nheads,)` or `(batch, nheads)`. Returns out as q, with `return_attn_probs` also lse
    `(batch, nheads, seqlen_q)` and an empty tensor.
    """
    name = "flash_attn_func"
    require_forward(name, q=q, k=k, v=v)
    require_no_dropout(name, dropout_p)
    out, lse = _dense.batched(
        name, q, k, v, softmax_scale=softmax_scale, causal=causal, window=window_size,
        softcap=softcap, alibi_slopes=alibi_slopes, lse=_LSE)
    return _result(out, lse, return_attn_probs)


def flash_attn_kvpacked_func(
    q: torch.Tensor,
    kv: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Optional[torch.Tensor] = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    """`flash_attn_func` with k and v in one tensor kv `(batch, seqlen_k, 2, nheads_k, headdim)`."""
    name = "flash_attn_kvpacked_func"
    require_rank(name, "kv", kv, "batch", "seqlen_k", "2", "nheads_k", "headdim")
    require(kv.shape[2] == 2, name, "kv must hold two tensors in dimension 2", kv.shape[2])
    return flash_attn_func(
        q, kv[:, :, 0], kv[:, :, 1], dropout_p, softmax_scale, causal, window_size, softcap,
        alibi_slopes, deterministic, return_attn_probs)


def flash_attn_qkvpacked_func(
    qkv: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Optional[torch.Tensor] = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    """`flash_attn_func` with all three in one tensor qkv `(batch, seqlen, 3, nheads, headdim)`."""
    name = "flash_attn_qkvpacked_func"
    require_rank(name, "qkv", qkv, "batch", "seqlen", "3", "nheads", "headdim")
    require(qkv.shape[2] == 3, name, "qkv must hold three tensors in dimension 2", qkv.shape[2])
    return flash_attn_func(
        qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], dropout_p, softmax_scale, causal, window_size,
        softcap, alibi_slopes, deterministic, return_attn_probs)


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Optional[torch.Tensor] = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Optional[torch.Tensor] = None,
) -> Any:
    """Attention of sequences of different lengths, one after the other.

    q `(total_q, nheads, headdim)`, k and v `(total_k, nheads_k, headdim)`, sequence i from
    `cu_seqlens[i]` to `cu_seqlens[i + 1]`. With block_table `(batch, blocks)`, k and v are
    `(num_blocks, block_size, nheads_k, headdim)` and cu_seqlens_k gives lengths alone. Returns out
    as q, with `return_attn_probs` also lse `(nheads, total_q)` and an empty tensor. The maxima are
    accepted and not needed.
    """
    name = "flash_attn_varlen_func"
    require_forward(name, q=q, k=k, v=v)
    require_no_dropout(name, dropout_p)
    out, lse = _dense.varlen(
        name, q, k, v, cu_seqlens_q, cu_seqlens_k, block_table=block_table,
        softmax_scale=softmax_scale, causal=causal, window=window_size, softcap=softcap,
        alibi_slopes=alibi_slopes, lse=_LSE)
    return _result(out, lse, return_attn_probs)


def flash_attn_varlen_kvpacked_func(
    q: torch.Tensor,
    kv: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Optional[torch.Tensor] = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    """`flash_attn_varlen_func` with k and v in one tensor kv `(total_k, 2, nheads_k, headdim)`."""
    name = "flash_attn_varlen_kvpacked_func"
    require_rank(name, "kv", kv, "total_k", "2", "nheads_k", "headdim")
    require(kv.shape[1] == 2, name, "kv must hold two tensors in dimension 1", kv.shape[1])
    return flash_attn_varlen_func(
        q, kv[:, 0], kv[:, 1], cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p,
        softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic,
        return_attn_probs)


def flash_attn_varlen_qkvpacked_func(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Optional[torch.Tensor] = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    """`flash_attn_varlen_func` with all three in one tensor qkv `(total, 3, nheads, headdim)`."""
    name = "flash_attn_varlen_qkvpacked_func"
    require_rank(name, "qkv", qkv, "total", "3", "nheads", "headdim")
    require(qkv.shape[1] == 3, name, "qkv must hold three tensors in dimension 1", qkv.shape[1])
    return flash_attn_varlen_func(
        qkv[:, 0], qkv[:, 1], qkv[:, 2], cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, dropout_p,
        softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic,
        return_attn_probs)


def flash_attn_with_kvcache(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    k: Optional[torch.Tensor] = None,
    v: Optional[torch.Tensor] = None,
    rotary_cos: Optional[torch.Tensor] = None,
    rotary_sin: Optional[torch.Tensor] = None,
    cache_seqlens: Optional[Union[int, torch.Tensor]] = None,
    cache_batch_idx: Optional[torch.Tensor] = None,
    cache_leftpad: Optional[torch.Tensor] = None,
    block_table: Optional[torch.Tensor] = None,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    rotary_interleaved: bool = True,
    alibi_slopes: Optional[torch.Tensor] = None,
    num_splits: int = 0,
    return_softmax_lse: bool = False,
) -> Any:
    """Attention over a KV cache, which first takes in k and v, if given, in place.

    q `(batch, seqlen_q, nheads, headdim)`; caches `(batch_cache, seqlen_cache, nheads_k, headdim)`,
    or `(num_blocks, block_size, nheads_k, headdim)` with block_table `(batch, blocks)`; k and v
    `(batch, seqlen_new, nheads_k, headdim)` go behind the cache_seqlens keys that are there.
    rotary_cos, rotary_sin `(positions, rotary_dim / 2)` rotate k at cache_seqlens, cache_seqlens +
    1, …, and q likewise, or all at cache_seqlens where neither causal nor a window tells its rows
    apart. cache_batch_idx `(batch,)` picks cache rows, cache_leftpad `(batch,)` their first keys.
    Returns out as q, with `return_softmax_lse` also lse `(batch, nheads, seqlen_q)`.
    """
    name = "flash_attn_with_kvcache"
    require_forward(name, q=q, k_cache=k_cache, v_cache=v_cache, k=k, v=v)
    out, lse = _dense.with_cache(
        name, q, k_cache, v_cache, k=k, v=v, qv=None, rotary_cos=rotary_cos, rotary_sin=rotary_sin,
        cache_seqlens=cache_seqlens, cache_batch_idx=cache_batch_idx, cache_leftpad=cache_leftpad,
        table=block_table, table_name="block_table", cu_seqlens_q=None, cu_seqlens_k_new=None,
        rotary_seqlens=None, softmax_scale=softmax_scale, causal=causal, window=window_size,
        chunk=0, softcap=softcap, rotary_interleaved=rotary_interleaved, alibi_slopes=alibi_slopes,
        disable_split_kv=num_splits == 1, lse=_LSE)
    return (out, lse) if return_softmax_lse else out


__all__ = [
    "flash_attn_func",
    "flash_attn_kvpacked_func",
    "flash_attn_qkvpacked_func",
    "flash_attn_varlen_func",
    "flash_attn_varlen_kvpacked_func",
    "flash_attn_varlen_qkvpacked_func",
    "flash_attn_with_kvcache",
]

"""FlashAttention 3's functions (module `flash_attn_interface` there), forward only.

lse is natural; a row that sees no key has out = 0 and lse = -inf. FP8 queries give bfloat16
outputs. Accepted without effect: `pack_gqa`, `sm_margin`, `scheduler_metadata` and `deterministic`,
which are about how kernels are launched. `num_splits` 1 keeps the keys of a row together; other
values leave the choice to the planner. Beyond the original, tensors may lie on the CPU, may be
float32, and head dimensions need no table.
"""

from __future__ import annotations

from typing import Any, Optional, Union

import torch

from . import _dense
from ._checks import require, require_forward, require_rank

_LSE = "natural"


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    qv: Optional[torch.Tensor] = None,
    q_descale: Optional[torch.Tensor] = None,
    k_descale: Optional[torch.Tensor] = None,
    v_descale: Optional[torch.Tensor] = None,
    window_size: tuple[int, int] = (-1, -1),
    attention_chunk: int = 0,
    softcap: float = 0.0,
    num_splits: int = 1,
    pack_gqa: Optional[bool] = None,
    deterministic: bool = False,
    sm_margin: int = 0,
    return_attn_probs: bool = False,
) -> Any:
    """Attention of a batch of equally long sequences.

    q `(batch, seqlen_q, nheads, headdim)`, k `(batch, seqlen_k, nheads_k, headdim)`, v with a head
    dimension of its own. With qv `(batch, seqlen_q, nheads, headdim_v)` scores are q·k + qv·v
    (absorbed MLA). Descales `(batch, nheads_k)` multiply stored numbers. A query sees the keys of
    its chunk of attention_chunk positions alone, if that is not 0. Returns out `(batch, seqlen_q,
    nheads, headdim_v)`, with `return_attn_probs` also lse `(batch, nheads, seqlen_q)`.
    """
    name = "flash_attn_func"
    require_forward(name, q=q, k=k, v=v, qv=qv)
    out, lse = _dense.batched(
        name, q, k, v, qv=qv, softmax_scale=softmax_scale, causal=causal, window=window_size,
        chunk=attention_chunk, softcap=softcap, descales=(q_descale, k_descale, v_descale),
        disable_split_kv=num_splits == 1, lse=_LSE)
    return (out, lse) if return_attn_probs else out


def flash_attn_qkvpacked_func(
    qkv: torch.Tensor,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    q_descale: Optional[torch.Tensor] = None,
    k_descale: Optional[torch.Tensor] = None,
    v_descale: Optional[torch.Tensor] = None,
    window_size: tuple[int, int] = (-1, -1),
    attention_chunk: int = 0,
    softcap: float = 0.0,
    deterministic: bool = False,
    num_heads_q: Optional[int] = None,
    sm_margin: int = 0,
    return_attn_probs: bool = False,
) -> Any:
    """`flash_attn_func` with all three in one tensor.

    qkv `(batch, seqlen, 3, nheads, headdim)`, or `(batch, seqlen, num_heads_q + 2 * nheads_k,
    headdim)`, which needs num_heads_q.
    """
    name = "flash_attn_qkvpacked_func"
    if qkv.dim() == 5:
        require(qkv.shape[2] == 3, name, "qkv must hold three tensors in dimension 2", qkv.shape[2])
        q, k, v = qkv.unbind(2)
    else:
        require_rank(name, "qkv", qkv, "batch", "seqlen", "nheads + 2 * nheads_k", "headdim")
        heads = num_heads_q or 0
        require(
            0 < heads < qkv.shape[2] and (qkv.shape[2] - heads) % 2 == 0, name,
            "num_heads_q must leave an even number of heads for k and v",
            f"{num_heads_q} of {qkv.shape[2]}",
        )
        rest = (qkv.shape[2] - heads) // 2
        q, k, v = qkv.split([heads, rest, rest], dim=2)
    return flash_attn_func(
        q, k, v, softmax_scale, causal, None, q_descale, k_descale, v_descale, window_size,
        attention_chunk, softcap, sm_margin=sm_margin, return_attn_probs=return_attn_probs)


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    seqused_q: Optional[torch.Tensor] = None,
    seqused_k: Optional[torch.Tensor] = None,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    qv: Optional[torch.Tensor] = None,
    q_descale: Optional[torch.Tensor] = None,
    k_descale: Optional[torch.Tensor] = None,
    v_descale: Optional[torch.Tensor] = None,
    window_size: tuple[int, int] = (-1, -1),
    attention_chunk: int = 0,
    softcap: float = 0.0,
    num_splits: int = 1,
    pack_gqa: Optional[bool] = None,
    deterministic: bool = False,
    sm_margin: int = 0,
    return_attn_probs: bool = False,
) -> Any:
    """Attention of sequences of different lengths, one after the other.

    q `(total_q, nheads, headdim)`, k and v `(total_k, nheads_k, …)`, sequence i from
    `cu_seqlens[i]` to `cu_seqlens[i + 1]`, or its first `seqused[i]` rows. Returns out as q with
    v's head dimension (0 in unused rows), with `return_attn_probs` also lse `(nheads, total_q)`.
    The maxima are accepted and not needed.
    """
    name = "flash_attn_varlen_func"
    require_forward(name, q=q, k=k, v=v, qv=qv)
    out, lse = _dense.varlen(
        name, q, k, v, cu_seqlens_q, cu_seqlens_k, seqused_q=seqused_q, seqused_k=seqused_k, qv=qv,
        softmax_scale=softmax_scale, causal=causal, window=window_size, chunk=attention_chunk,
        softcap=softcap, descales=(q_descale, k_descale, v_descale),
        disable_split_kv=num_splits == 1, lse=_LSE)
    return (out, lse) if return_attn_probs else out


def flash_attn_combine(
    out_partial: torch.Tensor,
    lse_partial: torch.Tensor,
    out: Optional[torch.Tensor] = None,
    out_dtype: Optional[torch.dtype] = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merges results over disjoint keys.

    out_partial float32 `(num_splits, batch, seqlen, nheads, headdim)` and lse_partial float32
    `(num_splits, batch, seqlen, nheads)`, or both with `total_q` in place of batch and seqlen.
    Returns out and lse without the first dimension.
    """
    require_forward("flash_attn_combine", out_partial=out_partial, lse_partial=lse_partial)
    return _dense.combine("flash_attn_combine", out_partial, lse_partial, out, out_dtype, _LSE)


def flash_attn_with_kvcache(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    k: Optional[torch.Tensor] = None,
    v: Optional[torch.Tensor] = None,
    qv: Optional[torch.Tensor] = None,
    rotary_cos: Optional[torch.Tensor] = None,
    rotary_sin: Optional[torch.Tensor] = None,
    cache_seqlens: Optional[Union[int, torch.Tensor]] = None,
    cache_batch_idx: Optional[torch.Tensor] = None,
    cache_leftpad: Optional[torch.Tensor] = None,
    page_table: Optional[torch.Tensor] = None,
    cu_seqlens_q: Optional[torch.Tensor] = None,
    cu_seqlens_k_new: Optional[torch.Tensor] = None,
    max_seqlen_q: Optional[int] = None,
    rotary_seqlens: Optional[torch.Tensor] = None,
    q_descale: Optional[torch.Tensor] = None,
    k_descale: Optional[torch.Tensor] = None,
    v_descale: Optional[torch.Tensor] = None,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    attention_chunk: int = 0,
    softcap: float = 0.0,
    rotary_interleaved: bool = True,
    scheduler_metadata: Optional[torch.Tensor] = None,
    num_splits: int = 0,
    pack_gqa: Optional[bool] = None,
    sm_margin: int = 0,
    return_softmax_lse: bool = False,
) -> Any:
    """Attention over a KV cache, which first takes in k and v, if given, in place.

    q `(batch, seqlen_q, nheads, headdim)`, or `(total_q, nheads, headdim)` with cu_seqlens_q;
    caches `(batch_cache, seqlen_cache, nheads_k, …)`, or `(num_pages, page_size, nheads_k, …)` with
    page_table `(batch, pages)`; k and v `(batch, seqlen_new, nheads_k, …)`, or rows with
    cu_seqlens_k_new. Rotation starts at rotary_seqlens `(batch,)`, by default cache_seqlens.
    Returns out with v's head dimension; with `return_softmax_lse` a tuple of out, lse `(batch,
    nheads, seqlen_q)` or `(nheads, total_q)`, and two empty tensors in the place of split results.
    """
    name = "flash_attn_with_kvcache"
    require_forward(name, q=q, k_cache=k_cache, v_cache=v_cache, k=k, v=v, qv=qv)
    out, lse = _dense.with_cache(
        name, q, k_cache, v_cache, k=k, v=v, qv=qv, rotary_cos=rotary_cos, rotary_sin=rotary_sin,
        cache_seqlens=cache_seqlens, cache_batch_idx=cache_batch_idx, cache_leftpad=cache_leftpad,
        table=page_table, table_name="page_table", cu_seqlens_q=cu_seqlens_q,
        cu_seqlens_k_new=cu_seqlens_k_new, rotary_seqlens=rotary_seqlens,
        softmax_scale=softmax_scale, causal=causal, window=window_size, chunk=attention_chunk,
        softcap=softcap, rotary_interleaved=rotary_interleaved,
        descales=(q_descale, k_descale, v_descale), disable_split_kv=num_splits == 1, lse=_LSE)
    if not return_softmax_lse:
        return out
    return out, lse, torch.empty(0, device=out.device), torch.empty(0, device=out.device)


def get_scheduler_metadata(
    batch_size: int,
    max_seqlen_q: int,
    max_seqlen_k: int,
    num_heads_q: int,
    num_heads_kv: int,
    headdim: int,
    cache_seqlens: torch.Tensor,
    qkv_dtype: torch.dtype = torch.bfloat16,
    headdim_v: Optional[int] = None,
    cu_seqlens_q: Optional[torch.Tensor] = None,
    cu_seqlens_k_new: Optional[torch.Tensor] = None,
    cache_leftpad: Optional[torch.Tensor] = None,
    page_size: Optional[int] = None,
    max_seqlen_k_new: int = 0,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    attention_chunk: int = 0,
    has_softcap: bool = False,
    num_splits: int = 0,
    pack_gqa: Optional[bool] = None,
    sm_margin: int = 0,
) -> torch.Tensor:
    """A placeholder, int32 `(batch_size + 1,)` of zeros: Apus plans in the call that attends.

    Programs may keep it, copy it between buffers, and pass it as `scheduler_metadata`.
    """
    device = cache_seqlens.device if isinstance(cache_seqlens, torch.Tensor) else "cpu"
    return torch.zeros(batch_size + 1, dtype=torch.int32, device=device)


__all__ = [
    "flash_attn_combine",
    "flash_attn_func",
    "flash_attn_qkvpacked_func",
    "flash_attn_varlen_func",
    "flash_attn_with_kvcache",
    "get_scheduler_metadata",
]

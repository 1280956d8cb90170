"""FlashMLA's functions: decode over a latent cache, dense or by lists of tokens, and prefill.

lse is natural, and +inf where a query sees no key (its output is 0). Both spellings of metadata
work: the tensors of the first release and the object of the current one. Beyond the original,
tensors may lie on the CPU, pages may have any size, lists any length, and heads any number.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Union

import numpy as np
import torch

from ..flash_attn import _attend, _dense
from ..flash_attn._checks import (
    require,
    require_forward,
    require_no_dropout,
    require_rank,
    require_same,
    require_shape,
    unsupported,
)
from ..flash_attn._plans import host_ints, plan_for, type_name
from . import _formats, _sparse

_EMPTY = "natural_positive_infinity"


@dataclasses.dataclass
class FlashMLASchedMeta:
    """What `get_mla_metadata` of the current release returns.

    It remembers the shapes of its first call, as reuse is for calls with the same shapes and
    lengths. The two tensors are placeholders: Apus plans by itself.
    """

    @dataclasses.dataclass
    class Config:
        """Shapes and options of the first call."""

        b: int
        s_q: int
        h_q: int
        page_block_size: int
        h_k: int
        causal: bool
        is_fp8_kvcache: bool
        topk: Optional[int]
        extra_page_block_size: Optional[int]
        extra_topk: Optional[int]

    have_initialized: bool = False
    config: Optional[Config] = None
    tile_scheduler_metadata: Optional[torch.Tensor] = None
    num_splits: Optional[torch.Tensor] = None


def _tensors(batch: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Placeholders of the first release's shapes: one part, and one split per request."""
    parts = torch.zeros((1, 8), dtype=torch.int32, device=device)
    return parts, torch.arange(batch + 1, dtype=torch.int32, device=device)


def get_mla_metadata(*args: Any, **kwargs: Any) -> tuple[Any, Optional[torch.Tensor]]:
    """Metadata for `flash_mla_with_kvcache`.

    With the first release's arguments (cache_seqlens `(batch,)` int32, num_heads_per_head_k =
    s_q * h_q // h_kv, num_heads_k, and those that followed): two int32 tensors,
    tile_scheduler_metadata `(parts, 8)` and num_splits `(batch + 1,)`. Without arguments, as in the
    current release: `(FlashMLASchedMeta(), None)`. Either is accepted wherever metadata is.
    """
    cache_seqlens = args[0] if args else kwargs.get("cache_seqlens")
    if cache_seqlens is None:
        return FlashMLASchedMeta(), None
    name = "get_mla_metadata"
    require_rank(name, "cache_seqlens", cache_seqlens, "batch_size")
    require(
        cache_seqlens.dtype == torch.int32, name, "cache_seqlens must be int32",
        cache_seqlens.dtype)
    return _tensors(cache_seqlens.shape[0], cache_seqlens.device)


def _check_metadata(
    name: str, metadata: Any, num_splits: Any, config: FlashMLASchedMeta.Config, device: Any
) -> None:
    if isinstance(metadata, FlashMLASchedMeta):
        require(
            num_splits is None, name, "num_splits must be None beside a FlashMLASchedMeta",
            type(num_splits).__name__)
        if metadata.have_initialized:
            require(
                metadata.config == config, name,
                "a FlashMLASchedMeta must be reused with the shapes of its first call",
                f"{metadata.config} and {config}")
            return
        metadata.have_initialized, metadata.config = True, config
        metadata.tile_scheduler_metadata, metadata.num_splits = _tensors(config.b, device)
        return
    require(
        isinstance(metadata, torch.Tensor) and metadata.dim() == 2 and metadata.shape[1] == 8, name,
        "tile_scheduler_metadata must be what get_mla_metadata returned", type(metadata).__name__)
    require(
        isinstance(num_splits, torch.Tensor) and tuple(num_splits.shape) == (config.b + 1,), name,
        f"num_splits must be ({config.b + 1},)",
        tuple(num_splits.shape) if isinstance(num_splits, torch.Tensor) else num_splits)


def flash_mla_with_kvcache(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    block_table: Optional[torch.Tensor],
    cache_seqlens: Optional[torch.Tensor],
    head_dim_v: int,
    tile_scheduler_metadata: Union[FlashMLASchedMeta, torch.Tensor],
    num_splits: Optional[torch.Tensor] = None,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    is_fp8_kvcache: bool = False,
    indices: Optional[torch.Tensor] = None,
    attn_sink: Optional[torch.Tensor] = None,
    extra_k_cache: Optional[torch.Tensor] = None,
    extra_indices_in_kvcache: Optional[torch.Tensor] = None,
    topk_length: Optional[torch.Tensor] = None,
    extra_topk_length: Optional[torch.Tensor] = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over a paged latent cache, whose rows are keys and, up to head_dim_v, values.

    q `(batch, seq_len_q, num_heads_q, head_dim)`; k_cache `(num_blocks, page_block_size,
    num_heads_k, head_dim)`. Returns out `(batch, seq_len_q, num_heads_q, head_dim_v)` and lse
    `(batch, num_heads_q, seq_len_q)` float32.

    Dense: block_table `(batch, blocks)` and cache_seqlens `(batch,)`; causal is aligned at the
    bottom right. With is_fp8_kvcache, rows of 656 or 584 bytes are widened to bfloat16 first;
    float8_e4m3fn of head_dim values needs no widening.

    Sparse: indices `(batch, seq_len_q, topk)` are `block * page_block_size + offset`, others than
    those of the cache (such as -1) count as absent, and topk_length `(batch,)` ends the list. The
    extra cache joins with lists of its own. attn_sink `(num_heads_q,)` float32 scales the output by
    exp(lse) / (exp(lse) + exp(sink)) and leaves lse. FP8 rows are widened to bfloat16 in torch.
    """
    name = "flash_mla_with_kvcache"
    require_forward(name, q=q, k_cache=k_cache)
    require_rank(name, "q", q, "batch_size", "seq_len_q", "num_heads_q", "head_dim")
    require_rank(
        name, "k_cache", k_cache, "num_blocks", "page_block_size", "num_heads_k", "head_dim")
    require_same(name, "device", q=q, k_cache=k_cache)
    config = FlashMLASchedMeta.Config(
        q.shape[0], q.shape[1], q.shape[2], k_cache.shape[1], k_cache.shape[2], causal,
        is_fp8_kvcache, None if indices is None else indices.shape[-1],
        None if extra_k_cache is None else extra_k_cache.shape[1],
        None if extra_indices_in_kvcache is None else extra_indices_in_kvcache.shape[-1])
    _check_metadata(name, tile_scheduler_metadata, num_splits, config, q.device)
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    if indices is not None:
        require(not causal, name, "causal must be False beside indices", causal)
        out, lse = _sparse_decode(
            name, q, k_cache, indices, topk_length, attn_sink, extra_k_cache,
            extra_indices_in_kvcache, extra_topk_length, head_dim_v, scale, is_fp8_kvcache)
    else:
        for key, value in {
            "attn_sink": attn_sink, "extra_k_cache": extra_k_cache, "topk_length": topk_length,
            "extra_indices_in_kvcache": extra_indices_in_kvcache,
            "extra_topk_length": extra_topk_length,
        }.items():
            require(value is None, name, f"{key} must be None without indices", "a tensor")
        out, lse = _dense_decode(
            name, q, k_cache, block_table, cache_seqlens, head_dim_v, scale, causal, is_fp8_kvcache)
    shape = (q.shape[0], q.shape[1], q.shape[2])
    return out.view(*shape, head_dim_v), lse.view(shape).transpose(1, 2).contiguous()


def _dense_decode(
    name: str, q: torch.Tensor, k_cache: torch.Tensor, block_table: Any, cache_seqlens: Any,
    head_dim_v: int, scale: float, causal: bool, is_fp8: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """out `(rows, heads, head_dim_v)` and lse `(rows, heads)`."""
    require(
        block_table is not None and cache_seqlens is not None, name,
        "block_table and cache_seqlens must be given without indices", "None")
    batch, len_q, heads, dim = q.shape
    table = host_ints(name, "block_table", block_table)
    require(
        table.ndim == 2 and table.shape[0] == batch, name,
        f"block_table must be ({batch}, blocks)", f"shape {table.shape}")
    lengths = _attend.lengths(
        name, "cache_seqlens", cache_seqlens, batch, table.shape[1] * int(k_cache.shape[1]))
    _dense._require_table(name, "block_table", table, lengths, k_cache)
    if is_fp8 and k_cache.shape[-1] != dim:
        width = _formats.width(name, "k_cache", k_cache)
        require(dim == width, name, f"q must have {width} values per head for this cache", dim)
        size = int(k_cache.shape[1])
        tokens = []
        for request in range(batch):
            position = np.arange(lengths[request])
            block = table[request, position // size].astype(np.int64)
            tokens.append(block * size + position % size)
        cache, lists = _sparse.gather_fp8(k_cache, tokens)
        keys = _attend.rows(cache.unsqueeze(1), cache.unsqueeze(1), lists)
    else:
        require(
            k_cache.shape[-1] == dim, name, "q and k_cache must have the same head dimension",
            f"{dim} and {k_cache.shape[-1]}")
        if not is_fp8:
            require_same(name, "dtype", q=q, k_cache=k_cache)
        keys = _attend.paged(k_cache, k_cache, table, lengths)
    kv_heads = int(keys.k.shape[2])
    require(
        heads % kv_heads == 0, name, "num_heads_q must be a multiple of num_heads_k",
        f"{heads} and {kv_heads}")
    require(
        1 <= head_dim_v <= dim, name, f"head_dim_v must be in 1…{dim} (head_dim)", head_dim_v)
    rows = _dense.innermost(q.reshape(batch * len_q, heads, dim))
    out = torch.empty((batch * len_q, heads, head_dim_v), dtype=q.dtype, device=q.device)
    lse = torch.empty((batch * len_q, heads), dtype=torch.float32, device=q.device)
    if rows.shape[0] == 0:
        return out, lse
    if keys.k.shape[0] == 0:
        return out.zero_(), lse.fill_(torch.inf)
    plan = plan_for(
        q.device,
        qo_head_count=heads,
        kv_head_count=kv_heads,
        head_dim_qk=dim,
        head_dim_vo=head_dim_v,
        q_type=type_name(name, "q", q),
        kv_type=type_name(name, "k_cache", keys.k),
        qo_indptr=np.arange(batch + 1, dtype=np.int64) * len_q,
        latent=(head_dim_v, dim - head_dim_v),
        causal=causal and len_q > 1,
        softmax_scale=float(scale),
        lse=_EMPTY,
        **keys.geometry,
    )
    plan.run(rows, kv=keys.k, out=out, lse=lse)
    return out, lse


def _sparse_decode(
    name: str, q: torch.Tensor, k_cache: torch.Tensor, indices: torch.Tensor, topk_length: Any,
    attn_sink: Optional[torch.Tensor], extra_k_cache: Optional[torch.Tensor],
    extra_indices: Optional[torch.Tensor], extra_topk_length: Any, head_dim_v: int, scale: float,
    is_fp8: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """out `(rows, heads, head_dim_v)` and lse `(rows, heads)`."""
    require(
        (extra_k_cache is None) == (extra_indices is None), name,
        "extra_k_cache and extra_indices_in_kvcache must come together", "one of them")
    batch, len_q, heads, dim = q.shape
    parts, lists = [], [np.zeros(0, dtype=np.int64)] * (batch * len_q)
    scopes: list[tuple[str, torch.Tensor, str, Any, str, Any]] = [
        ("k_cache", k_cache, "indices", indices, "topk_length", topk_length)]
    if extra_k_cache is not None:
        scopes.append((
            "extra_k_cache", extra_k_cache, "extra_indices_in_kvcache", extra_indices,
            "extra_topk_length", extra_topk_length))
    start = 0
    for cache_name, cache, list_name, table, length_name, length in scopes:
        require(
            table.dim() == 3 and tuple(table.shape[:2]) == (batch, len_q), name,
            f"{list_name} must be ({batch}, {len_q}, topk)", f"shape {tuple(table.shape)}")
        tokens = _sparse.listed(
            name, list_name, table.reshape(batch * len_q, -1), length_name, length, len_q,
            int(cache.shape[0]) * int(cache.shape[1]))
        if is_fp8:
            width = _formats.width(name, cache_name, cache)
            require(
                dim == width, name, f"q must have {width} values per head for {cache_name}", dim)
            rows, tokens = _sparse.gather_fp8(cache, tokens)
        else:
            require_shape(name, cache_name, cache, (*cache.shape[:2], 1, dim))
            require_same(name, "dtype", q=q, k_cache=cache)
            rows = cache.reshape(-1, dim)
        parts.append(rows)
        lists = [np.concatenate([old, new + start]) for old, new in zip(lists, tokens)]
        start += int(rows.shape[0])
    rows = parts[0] if len(parts) == 1 else torch.cat(parts)
    return _sparse.attend_listed(
        name, _dense.innermost(q.reshape(batch * len_q, heads, dim)), rows, lists,
        head_dim_v=head_dim_v, softmax_scale=scale, sinks=attn_sink)


def flash_mla_sparse_fwd(
    q: torch.Tensor,
    kv: torch.Tensor,
    indices: torch.Tensor,
    sm_scale: float,
    d_v: int = 512,
    attn_sink: Optional[torch.Tensor] = None,
    topk_length: Optional[torch.Tensor] = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prefill in which each query token attends to a list of tokens.

    q `(s_q, h_q, d_qk)`, kv `(s_kv, 1, d_qk)`, indices `(s_q, 1, topk)` int32 (-1 or ≥ s_kv:
    absent), topk_length `(s_q,)`. Returns out `(s_q, h_q, d_v)`, max_logits and lse `(s_q, h_q)`
    float32; a token without keys has 0, -inf and +inf. The maxima are computed in torch.
    """
    name = "flash_mla_sparse_fwd"
    require_forward(name, q=q, kv=kv)
    require_rank(name, "q", q, "s_q", "h_q", "d_qk")
    require_rank(name, "kv", kv, "s_kv", "h_kv", "d_qk")
    if kv.shape[1] != 1:
        unsupported(name, "h_kv must be 1", kv.shape[1])
    require(
        kv.shape[2] == q.shape[2], name, "q and kv must have the same head dimension",
        f"{q.shape[2]} and {kv.shape[2]}")
    require_same(name, "dtype", q=q, kv=kv)
    require_same(name, "device", q=q, kv=kv)
    require(
        indices.dim() == 3 and tuple(indices.shape[:2]) == (q.shape[0], 1), name,
        f"indices must be ({q.shape[0]}, 1, topk)", f"shape {tuple(indices.shape)}")
    tokens = _sparse.listed(
        name, "indices", indices[:, 0], "topk_length", topk_length, 1, int(kv.shape[0]))
    rows, q = _dense.innermost(kv[:, 0]), _dense.innermost(q)
    out, lse = _sparse.attend_listed(
        name, q, rows, tokens, head_dim_v=d_v, softmax_scale=sm_scale, sinks=attn_sink)
    return out, _sparse.max_logits(q, rows, tokens, sm_scale), lse


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_qo: torch.Tensor,
    cu_seqlens_kv: torch.Tensor,
    max_seqlen_qo: int,
    max_seqlen_kv: int,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    deterministic: bool = False,
    is_varlen: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Dense prefill: q `(total_q, heads, d)`, k and v `(total_kv, heads_k, …)`.

    Returns out `(total_q, heads, d_v)` and lse `(total_q, heads)`, natural, -inf without keys.
    """
    name = "flash_attn_varlen_func"
    require_forward(name, q=q, k=k, v=v)
    require_no_dropout(name, dropout_p)
    out, lse = _dense.varlen(
        name, q, k, v, cu_seqlens_qo, cu_seqlens_kv, softmax_scale=softmax_scale, causal=causal)
    return out, lse.t()


def flash_attn_varlen_qkvpacked_func(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    head_dim_qk: int,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    deterministic: bool = False,
    is_varlen: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`flash_attn_varlen_func` with qkv `(total, heads, 2 * head_dim_qk + head_dim_v)`."""
    return flash_attn_varlen_func(
        qkv[..., :head_dim_qk], qkv[..., head_dim_qk : 2 * head_dim_qk],
        qkv[..., 2 * head_dim_qk :], cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, dropout_p,
        softmax_scale, causal, deterministic, is_varlen)


def flash_attn_varlen_kvpacked_func(
    q: torch.Tensor,
    kv: torch.Tensor,
    cu_seqlens_qo: torch.Tensor,
    cu_seqlens_kv: torch.Tensor,
    max_seqlen_qo: int,
    max_seqlen_kv: int,
    head_dim_qk: int,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    deterministic: bool = False,
    is_varlen: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`flash_attn_varlen_func` with kv `(total_kv, heads_k, head_dim_qk + head_dim_v)`."""
    return flash_attn_varlen_func(
        q, kv[..., :head_dim_qk], kv[..., head_dim_qk:], cu_seqlens_qo, cu_seqlens_kv,
        max_seqlen_qo, max_seqlen_kv, dropout_p, softmax_scale, causal, deterministic, is_varlen)


__all__ = [
    "FlashMLASchedMeta",
    "flash_attn_varlen_func",
    "flash_attn_varlen_kvpacked_func",
    "flash_attn_varlen_qkvpacked_func",
    "flash_mla_sparse_fwd",
    "flash_mla_with_kvcache",
    "get_mla_metadata",
]

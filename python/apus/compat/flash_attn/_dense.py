"""The three shapes of a call that both releases share: batched, ragged, and with a cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import apus

from . import _attend
from ._checks import require, require_rank, require_same, require_shape, unsupported
from ._plans import device_name, host_ints, type_name


def innermost(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, copied if its last dimension is strided."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with its head dimension filled up by zeros to a multiple of 8."""
    rest = -tensor.shape[-1] % 8
    return torch.nn.functional.pad(tensor, (0, rest)) if rest else tensor


def _require_heads(operation: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    require_same(operation, "dtype", q=q, k=k, v=v)
    require_same(operation, "device", q=q, k=k, v=v)
    require(
        q.shape[-1] == k.shape[-1], operation, "q and k must have the same head dimension",
        f"{q.shape[-1]} and {k.shape[-1]}",
    )
    require(
        tuple(k.shape[:-1]) == tuple(v.shape[:-1]), operation,
        "k and v must agree but for the head dimension",
        f"{tuple(k.shape)} and {tuple(v.shape)}",
    )


def default_scale(q: torch.Tensor, qv: torch.Tensor | None = None) -> float:
    """1 / √(head dimension), that of both parts where the query has two."""
    return (q.shape[-1] + (0 if qv is None else qv.shape[-1])) ** -0.5


def _row_major_lse(lse: torch.Tensor, batch: int, length: int) -> torch.Tensor:
    """(rows, heads) → (batch, heads, length)."""
    return lse.view(batch, length, lse.shape[1]).transpose(1, 2).contiguous()


def batched(
    operation: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *,
    qv: torch.Tensor | None = None, softmax_scale: float | None = None, **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """q `(batch, len_q, heads, dim)`, k and v `(batch, len_k, heads_k, dim)`.

    Returns out `(batch, len_q, heads, dim_v)` and lse `(batch, heads, len_q)`.
    """
    require_rank(operation, "q", q, "batch", "seqlen_q", "nheads", "headdim")
    require_rank(operation, "k", k, "batch", "seqlen_k", "nheads_k", "headdim")
    require_rank(operation, "v", v, "batch", "seqlen_k", "nheads_k", "headdim_v")
    _require_heads(operation, q, k, v)
    batch, len_q, heads, _ = q.shape
    require(
        k.shape[0] == batch, operation, "q and k must have the same batch size",
        f"{batch} and {k.shape[0]}",
    )
    scale = default_scale(q, qv) if softmax_scale is None else softmax_scale
    dim_v = v.shape[-1]
    q, k, v, q_rope = _parts(operation, q, k, v, qv)
    lengths = np.full(batch, k.shape[1], dtype=np.int64)
    out, lse = _attend.attend(
        operation, q.reshape(batch * len_q, heads, q.shape[-1]),
        np.arange(batch + 1, dtype=np.int64) * len_q, _attend.padded(k, v, lengths),
        softmax_scale=scale,
        q_rope=None if q_rope is None else q_rope.reshape(batch * len_q, heads, -1),
        **options,
    )
    out = out.view(batch, len_q, heads, out.shape[-1])[..., :dim_v]
    return out, _row_major_lse(lse, batch, len_q)


def _parts(
    operation: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, qv: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """(query, k, v, rotary query): with qv, the latent part leads and q is the rotary part."""
    q, k, v = innermost(q), innermost(k), innermost(v)
    if qv is None:
        return _widened(q), _widened(k), _widened(v), None
    require_shape(operation, "qv", qv, (*q.shape[:-1], v.shape[-1]))
    require_same(operation, "dtype", q=q, qv=qv)
    return innermost(qv), k, v, q


def varlen(
    operation: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cu_seqlens_q: Any,
    cu_seqlens_k: Any, *, seqused_q: Any = None, seqused_k: Any = None, block_table: Any = None,
    qv: torch.Tensor | None = None, softmax_scale: float | None = None, **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """q `(total_q, heads, dim)`; k and v `(total_k, heads_k, dim)`, or pages with a block table.

    Returns out `(total_q, heads, dim_v)` and lse `(heads, total_q)`. Rows beyond `seqused_q` are
    zero.
    """
    require_rank(operation, "q", q, "total_q", "nheads", "headdim")
    axes = ("total_k",) if block_table is None else ("num_blocks", "page_block_size")
    require_rank(operation, "k", k, *axes, "nheads_k", "headdim")
    require_rank(operation, "v", v, *axes, "nheads_k", "headdim_v")
    _require_heads(operation, q, k, v)
    starts_q = _attend.indptr(operation, "cu_seqlens_q", cu_seqlens_q)
    starts_k = _attend.indptr(operation, "cu_seqlens_k", cu_seqlens_k)
    batch = len(starts_q) - 1
    require(
        len(starts_k) == batch + 1, operation,
        "cu_seqlens_q and cu_seqlens_k must have the same length",
        f"{len(starts_q)} and {len(starts_k)}",
    )
    require(
        int(starts_q[-1]) <= q.shape[0], operation, "cu_seqlens_q must end within q",
        f"{int(starts_q[-1])} of {q.shape[0]} rows",
    )
    scale = default_scale(q, qv) if softmax_scale is None else softmax_scale
    total, dim_v = q.shape[0], v.shape[-1]
    q, k, v, q_rope = _parts(operation, q, k, v, qv)
    longest = int(np.diff(starts_k).max()) if batch else 0
    if block_table is not None:
        table = host_ints(operation, "block_table", block_table)
        require(
            table.ndim == 2 and table.shape[0] == batch, operation,
            f"block_table must be ({batch}, blocks)", f"shape {table.shape}",
        )
        lengths = np.diff(starts_k)
        if seqused_k is not None:
            limit = table.shape[1] * k.shape[1]
            lengths = _attend.lengths(operation, "seqused_k", seqused_k, batch, limit)
        _require_table(operation, "block_table", table, lengths, k)
        keys = _attend.paged(k, v, table, lengths)
    else:
        require(
            int(starts_k[-1]) <= k.shape[0], operation, "cu_seqlens_k must end within k",
            f"{int(starts_k[-1])} of {k.shape[0]} rows",
        )
        keys = _attend.ragged(k, v, starts_k)
        if seqused_k is not None:
            used = _attend.lengths(operation, "seqused_k", seqused_k, batch, longest)
            keys = _attend.rows(k, v, [
                np.arange(start, start + count) for start, count in zip(starts_k[:-1], used)
            ])
    if seqused_q is None:
        out, lse = _attend.attend(
            operation, q, starts_q, keys, softmax_scale=scale, q_rope=q_rope, **options)
        return out[..., :dim_v], lse.t()
    used_q = _attend.lengths(
        operation, "seqused_q", seqused_q, batch, int(np.diff(starts_q).max()) if batch else 0)
    index = torch.as_tensor(
        np.concatenate([
            np.arange(start, start + count) for start, count in zip(starts_q[:-1], used_q)
        ] or [np.zeros(0, dtype=np.int64)]),
        device=q.device,
    )
    part, part_lse = _attend.attend(
        operation, q[index], np.concatenate([[0], np.cumsum(used_q)]), keys, softmax_scale=scale,
        q_rope=None if q_rope is None else q_rope[index], **options)
    out = part.new_zeros((total, *part.shape[1:]))
    lse = part_lse.new_zeros((total, part_lse.shape[1]))
    out[index], lse[index] = part, part_lse
    return out[..., :dim_v], lse.t()


def _require_table(
    operation: str, name: str, table: np.ndarray, lengths: np.ndarray, k: torch.Tensor
) -> None:
    """Every page that a length reaches exists."""
    page_size, pages = int(k.shape[1]), int(k.shape[0])
    used = -(-lengths // max(page_size, 1))
    require(
        bool((used <= table.shape[1]).all()), operation,
        f"{name} must have a column for every block of {page_size} keys",
        f"{table.shape[1]} columns for {int(lengths.max()) if len(lengths) else 0} keys",
    )
    entries = table[np.arange(table.shape[1])[None, :] < used[:, None]]
    bad = entries[(entries < 0) | (entries >= pages)]
    require(
        len(bad) == 0, operation, f"{name} must name blocks in 0…{pages - 1}",
        int(bad[0]) if len(bad) else 0,
    )


def rotate_rows(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, positions: np.ndarray,
    interleaved: bool, *, conjugate: bool = False, out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rotary embedding of rows x `(rows, heads, dim)` at their positions.

    cos, sin: `(positions, rotary_dim / 2)`, applied in f32 and rounded once.
    """
    table = torch.cat([cos.float(), -sin.float() if conjugate else sin.float()], dim=-1)
    if out is None:
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if x.shape[0] == 0 or x.shape[1] == 0:
        return out
    # The operator rotates queries and keys together; here there is one tensor, so a scratch copy of
    # one head takes the other place.
    scratch = x[:, :1].clone()
    apus.rotate(
        x, scratch, positions, cos_sin_cache=table.contiguous(), interleaved=interleaved,
        q_out=out, k_out=scratch)
    return out


def with_cache(
    operation: str, q: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, *,
    k: torch.Tensor | None, v: torch.Tensor | None, qv: torch.Tensor | None,
    rotary_cos: torch.Tensor | None, rotary_sin: torch.Tensor | None, cache_seqlens: Any,
    cache_batch_idx: Any, cache_leftpad: Any, table: Any, table_name: str, cu_seqlens_q: Any,
    cu_seqlens_k_new: Any, rotary_seqlens: Any, softmax_scale: float | None, causal: bool,
    window: tuple[int, int], chunk: int, rotary_interleaved: bool, **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Appends new keys and values to a cache in place, then attends over it.

    Caches `(batch, length, heads_k, dim)`, or `(blocks, block_size, heads_k, dim)` with a block
    table of any block size. Returns out as q with v's head dimension, and lse `(batch, heads,
    len_q)`, `(heads, total_q)` where `cu_seqlens_q` makes q ragged.
    """
    require_rank(operation, "k_cache", k_cache, "batch", "seqlen", "nheads_k", "headdim")
    require_rank(operation, "v_cache", v_cache, "batch", "seqlen", "nheads_k", "headdim_v")
    _require_heads(operation, q, k_cache, v_cache)
    for name, cache in (("k_cache", k_cache), ("v_cache", v_cache)):
        require(
            cache.stride(-1) == 1, operation, f"{name} must have a contiguous last dimension",
            f"stride {cache.stride(-1)}",
        )
    ragged_q = cu_seqlens_q is not None
    if ragged_q:
        require_rank(operation, "q", q, "total_q", "nheads", "headdim")
        starts_q = _attend.indptr(operation, "cu_seqlens_q", cu_seqlens_q)
    else:
        require_rank(operation, "q", q, "batch", "seqlen_q", "nheads", "headdim")
        starts_q = np.arange(q.shape[0] + 1, dtype=np.int64) * q.shape[1]
    batch = len(starts_q) - 1
    require(
        k_cache.shape[-1] % 8 == 0 and v_cache.shape[-1] % 8 == 0, operation,
        "head dimensions of a cache must be multiples of 8",
        f"{k_cache.shape[-1]} and {v_cache.shape[-1]}",
    )

    blocks = _blocks(operation, k_cache, batch, cache_batch_idx, table, table_name)
    capacity = blocks.shape[1] * int(k_cache.shape[1])
    if cache_seqlens is None:
        require(
            k is None, operation, "cache_seqlens must be given when k is", "None")
        used = np.full(batch, capacity, dtype=np.int64)
    else:
        if isinstance(cache_seqlens, int):
            cache_seqlens = [cache_seqlens] * batch
        used = _attend.lengths(operation, "cache_seqlens", cache_seqlens, batch, capacity)

    # Rotation: the new keys, and the queries at the positions that follow the cache.
    flat_q = q if ragged_q else q.reshape(-1, *q.shape[2:])
    new_counts = np.zeros(batch, dtype=np.int64)
    if k is not None or v is not None:
        new_keys, new_values, new_counts = _new_rows(
            operation, q, k_cache, v_cache, k, v, cu_seqlens_k_new, batch)
    if rotary_cos is not None or rotary_sin is not None:
        if rotary_cos is None or rotary_sin is None or k is None:
            raise ValueError(
                f"{operation}: rotary_cos and rotary_sin must come together and with k and v; "
                f"found rotary_cos {rotary_cos is not None}, rotary_sin {rotary_sin is not None}, "
                f"k {k is not None}.")
        require_shape(operation, "rotary_sin", rotary_sin, tuple(rotary_cos.shape))
        base = used
        if rotary_seqlens is not None:
            base = host_ints(operation, "rotary_seqlens", rotary_seqlens).astype(np.int64)
            require(
                base.shape == (batch,), operation, f"rotary_seqlens must be ({batch},)", base.shape)
        moves = causal or window[0] >= 0 or window[1] >= 0 or chunk > 0
        flat_q = rotate_rows(
            innermost(flat_q), rotary_cos, rotary_sin,
            _positions(base, np.diff(starts_q), moves), rotary_interleaved)
        new_keys = rotate_rows(
            innermost(new_keys), rotary_cos, rotary_sin, _positions(base, new_counts, True),
            rotary_interleaved)

    total = used + new_counts
    require(
        bool((total <= capacity).all()), operation,
        f"the cache must have room for cache_seqlens and the new keys, {capacity} per request",
        int(total.max()) if batch else 0,
    )
    _require_table(
        operation, table_name if table is not None else "cache_batch_idx", blocks, total, k_cache)
    skipped = None
    if cache_leftpad is not None:
        skipped = _left_padding(operation, cache_leftpad, total)
    if qv is not None:
        require_shape(operation, "qv", qv, (*q.shape[:-1], v_cache.shape[-1]))
    where = _attend.paged(k_cache, v_cache, blocks, total)
    # Everything is checked before the cache changes.
    _attend.check(operation, int(q.shape[-2]), where, **options)
    if int(new_counts.sum()):
        apus.append(
            innermost(new_keys), innermost(new_values), k=k_cache, v=v_cache, layout="NHD",
            batch_indices=np.repeat(np.arange(batch, dtype=np.int32), new_counts),
            positions=_positions(used, new_counts, True).astype(np.int32), **where.geometry)

    keys = _cache_keys(
        k_cache, v_cache, blocks, total, skipped, where,
        direct=table is None and cache_batch_idx is None)
    scale = default_scale(q, qv) if softmax_scale is None else softmax_scale
    flat_q = innermost(flat_q)
    q_rope = None
    if qv is not None:
        q_rope, flat_q = flat_q, innermost(qv if ragged_q else qv.reshape(-1, *qv.shape[2:]))
    out, lse = _attend.attend(
        operation, flat_q, starts_q, keys, softmax_scale=scale, causal=causal, window=window,
        chunk=chunk, q_rope=q_rope, **options)
    if ragged_q:
        return out, lse.t()
    shape = (batch, q.shape[1], q.shape[2], v_cache.shape[-1])
    return out.view(shape), _row_major_lse(lse, batch, q.shape[1])


def _blocks(
    operation: str, k_cache: torch.Tensor, batch: int, cache_batch_idx: Any, table: Any,
    table_name: str,
) -> np.ndarray:
    """The block table `(batch, blocks)`: a cache without one has one block per request."""
    if table is not None:
        require(
            cache_batch_idx is None, operation,
            f"cache_batch_idx must be None beside {table_name}", "both",
        )
        blocks = host_ints(operation, table_name, table)
        require(
            blocks.ndim == 2 and blocks.shape[0] == batch, operation,
            f"{table_name} must be ({batch}, blocks)", f"shape {blocks.shape}",
        )
        return blocks
    if cache_batch_idx is not None:
        index = host_ints(operation, "cache_batch_idx", cache_batch_idx)
        require(
            index.shape == (batch,), operation, f"cache_batch_idx must be ({batch},)", index.shape)
        return index[:, None]
    require(
        k_cache.shape[0] == batch, operation, "q and k_cache must have the same batch size",
        f"{batch} and {k_cache.shape[0]}",
    )
    return np.arange(batch)[:, None]


def _positions(base: np.ndarray, counts: np.ndarray, moves: bool) -> np.ndarray:
    """`base[r] + i` for row i of request r; `base[r]` for all where positions do not move."""
    step = 1 if moves else 0
    parts = [start + step * np.arange(count) for start, count in zip(base, counts)]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, dtype=np.int64)


def _new_rows(
    operation: str, q: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor,
    k: torch.Tensor | None, v: torch.Tensor | None, cu_seqlens_k_new: Any, batch: int,
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """New keys and values as rows, and how many each request gets."""
    if k is None or v is None:
        raise ValueError(
            f"{operation}: k and v must come together; found {'k' if v is None else 'v'} alone.")
    require_same(operation, "dtype", q=q, k=k, v=v)
    require_same(operation, "device", q=q, k=k, v=v)
    heads = k_cache.shape[2]
    if cu_seqlens_k_new is None:
        require_rank(operation, "k", k, "batch", "seqlen_new", "nheads_k", "headdim")
        require_shape(operation, "k", k, (batch, k.shape[1], heads, k_cache.shape[-1]))
        require_shape(operation, "v", v, (batch, k.shape[1], heads, v_cache.shape[-1]))
        counts = np.full(batch, k.shape[1], dtype=np.int64)
        return k.reshape(-1, *k.shape[2:]), v.reshape(-1, *v.shape[2:]), counts
    starts = _attend.indptr(operation, "cu_seqlens_k_new", cu_seqlens_k_new)
    require(
        len(starts) == batch + 1, operation, f"cu_seqlens_k_new must be ({batch + 1},)",
        f"({len(starts)},)",
    )
    count = int(starts[-1])
    require_shape(operation, "k", k, (k.shape[0], heads, k_cache.shape[-1]))
    require_shape(operation, "v", v, (k.shape[0], heads, v_cache.shape[-1]))
    require(
        count <= k.shape[0], operation, "cu_seqlens_k_new must end within k",
        f"{count} of {k.shape[0]} rows",
    )
    return k[int(starts[0]):count], v[int(starts[0]):count], np.diff(starts).astype(np.int64)


def _left_padding(operation: str, cache_leftpad: Any, total: np.ndarray) -> np.ndarray:
    """The first key of each request."""
    skipped = host_ints(operation, "cache_leftpad", cache_leftpad).astype(np.int64)
    require(
        skipped.shape == total.shape and bool(((skipped >= 0) & (skipped <= total)).all()),
        operation, "cache_leftpad must hold a start within each request's keys",
        skipped.tolist(),
    )
    return skipped


def _cache_keys(
    k_cache: torch.Tensor, v_cache: torch.Tensor, blocks: np.ndarray, total: np.ndarray,
    skipped: np.ndarray | None, pages: _attend.Keys, direct: bool,
) -> _attend.Keys:
    """The keys of each request in the cache, from its left padding on."""
    if skipped is None:
        return _attend.padded(k_cache, v_cache, total) if direct else pages
    # Padding ends within a block, so the keys are listed one by one.
    size = int(k_cache.shape[1])
    indices = []
    for request, (start, end) in enumerate(zip(skipped, total)):
        token = np.arange(start, end)
        indices.append(blocks[request, token // size].astype(np.int64) * size + token % size)
    return _attend.rows(
        k_cache.reshape(-1, *k_cache.shape[2:]), v_cache.reshape(-1, *v_cache.shape[2:]), indices)


def combine(
    operation: str, out_partial: torch.Tensor, lse_partial: torch.Tensor,
    out: torch.Tensor | None, out_dtype: torch.dtype | None, lse: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merges partial results over disjoint keys; see `flash_attn_combine`."""
    require(
        out_partial.dim() in (4, 5), operation,
        "out_partial must be (num_splits, batch, seqlen, nheads, headdim) or "
        "(num_splits, total_q, nheads, headdim)", f"shape {tuple(out_partial.shape)}",
    )
    require_shape(operation, "lse_partial", lse_partial, tuple(out_partial.shape[:-1]))
    for name, tensor in (("out_partial", out_partial), ("lse_partial", lse_partial)):
        require(
            tensor.dtype == torch.float32, operation, f"{name} must be float32", tensor.dtype)
    splits, heads, dim = out_partial.shape[0], out_partial.shape[-2], out_partial.shape[-1]
    kind = out_dtype or (out_partial.dtype if out is None else out.dtype)
    if kind not in (torch.float32, torch.float16, torch.bfloat16):
        unsupported(operation, "out_dtype must be float32, float16 or bfloat16", kind)
    if out is not None:
        require_shape(operation, "out", out, tuple(out_partial.shape[1:]))
        require(out.dtype == kind, operation, f"out must be {kind}", out.dtype)
    states = out_partial.reshape(splits, -1, heads, dim).transpose(0, 1)
    logits = lse_partial.reshape(splits, -1, heads).transpose(0, 1)
    merged = torch.empty((states.shape[0], heads, dim), dtype=kind, device=out_partial.device)
    sums = torch.empty((states.shape[0], heads), dtype=torch.float32, device=out_partial.device)
    if states.shape[0]:
        apus.merge_states(states, logits, lse=lse, out=merged, out_lse=sums)
    merged = merged.view(out_partial.shape[1:])
    if out is not None:
        out.copy_(merged)
        merged = out
    if out_partial.dim() == 4:
        return merged, sums
    return merged, sums.view(out_partial.shape[1:-1])


__all__ = ["batched", "combine", "device_name", "type_name", "varlen", "with_cache"]

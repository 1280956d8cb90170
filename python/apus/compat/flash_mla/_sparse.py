"""Attention of each query token over a list of tokens of its own.

The lists become page tables of one-token pages, so the library reads the listed rows where they
lie. FP8 rows are widened first, each once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..flash_attn._checks import require, require_shape
from ..flash_attn._plans import host_ints, plan_for, type_name
from . import _formats


def listed(
    operation: str, name: str, indices: torch.Tensor, length_name: str, lengths: Any,
    repeats: int, limit: int,
) -> list[np.ndarray]:
    """Valid entries of indices `(tokens, topk)`: of the leftmost `lengths[token // repeats]`, those
    in `0 ..< limit`."""
    table = host_ints(operation, name, indices).astype(np.int64)
    valid = (table >= 0) & (table < limit)
    if lengths is not None:
        counts = host_ints(operation, length_name, lengths)
        expected = table.shape[0] // repeats if repeats else 0
        require(
            counts.shape == (expected,), operation, f"{length_name} must be ({expected},)",
            f"shape {counts.shape}",
        )
        valid &= np.arange(table.shape[1])[None, :] < counts.repeat(repeats)[:, None]
    return [row[keep] for row, keep in zip(table, valid)]


def gather_fp8(
    cache: torch.Tensor, tokens: list[np.ndarray]
) -> tuple[torch.Tensor, list[np.ndarray]]:
    """The listed tokens of an FP8 cache as bfloat16 `(n, values)`, and the lists into that."""
    counts = [len(row) for row in tokens]
    flat = np.concatenate(tokens) if tokens else np.zeros(0, dtype=np.int64)
    needed, inverse = np.unique(flat, return_inverse=True)
    rows = _formats.widen(cache, torch.as_tensor(needed, device=cache.device))
    return rows, np.split(inverse.reshape(-1), np.cumsum(counts)[:-1])


def attend_listed(
    operation: str, q: torch.Tensor, rows: torch.Tensor, tokens: list[np.ndarray], *,
    head_dim_v: int, softmax_scale: float, sinks: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """q `(tokens, heads, dim)` over rows `(n, dim)`: out `(tokens, heads, head_dim_v)` and lse
    `(tokens, heads)`, natural, +inf where a list is empty."""
    total, heads, dim = q.shape
    if sinks is not None:
        require_shape(operation, "attn_sink", sinks, (heads,))
        require(
            sinks.dtype == torch.float32, operation, "attn_sink must be float32", sinks.dtype)
    require(
        1 <= head_dim_v <= dim, operation, f"head_dim_v must be in 1…{dim} (head dimension)",
        head_dim_v)
    out = torch.empty((total, heads, head_dim_v), dtype=q.dtype, device=q.device)
    lse = torch.empty((total, heads), dtype=torch.float32, device=q.device)
    if total == 0:
        return out, lse
    if rows.shape[0] == 0:
        return out.zero_(), lse.fill_(torch.inf)
    counts = np.array([len(row) for row in tokens], dtype=np.int64)
    plan = plan_for(
        q.device,
        qo_head_count=heads,
        kv_head_count=1,
        head_dim_qk=dim,
        head_dim_vo=head_dim_v,
        q_type=type_name(operation, "q", q),
        kv_type=type_name(operation, "kv", rows),
        qo_indptr=np.arange(total + 1, dtype=np.int64),
        page_size=1,
        page_indptr=np.concatenate([[0], np.cumsum(counts)]),
        page_indices=np.concatenate(tokens).astype(np.int32),
        last_page_length=np.minimum(counts, 1),
        latent=(head_dim_v, dim - head_dim_v),
        softmax_scale=float(softmax_scale),
        lse="natural_positive_infinity",
    )
    plan.run(q, kv=rows.unsqueeze(1), out=out, lse=lse, sinks=sinks)
    return out, lse


def max_logits(
    q: torch.Tensor, rows: torch.Tensor, tokens: list[np.ndarray], softmax_scale: float
) -> torch.Tensor:
    """The greatest score of each row, float32 `(tokens, heads)`; -inf where a list is empty.

    In torch: the library keeps the maximum only inside a tile.
    """
    result = torch.full(q.shape[:2], -torch.inf, dtype=torch.float32, device=q.device)
    for index, row in enumerate(tokens):
        if len(row):
            keys = rows[torch.as_tensor(row, device=rows.device)].float()
            result[index] = (q[index].float() @ keys.t()).amax(-1) * softmax_scale
    return result

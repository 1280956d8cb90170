"""Page lists and cache tensors, from FlashInfer's forms to Apus's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ._values import fail, host_indptr, host_integers


def page_lists(
    indptr: Any, indices: Any, page_size: int, operation: str, *, last_page_len: Any = None,
    kv_len: Any = None,
) -> dict[str, Any]:
    """Arguments of a plan for pages in compressed rows, and the tokens of each request.

    Args:
        indptr: `[batch + 1]`; request r owns `indices[indptr[r]:indptr[r + 1]]`.
        indices: `[at least indptr[-1]]`; what lies behind is ignored.
        last_page_len: `[batch]`; does not count for requests without pages.
        kv_len: `[batch]` instead of it; pages behind the last token are dropped.

    Returns:
        `page_size`, `page_indptr`, `page_indices`, `last_page_length`, and `lengths` apart.
    """
    if page_size < 1:
        fail(operation, "page_size must be at least 1", page_size)
    offsets = host_indptr(indptr, operation, "kv indptr")
    pages = host_integers(indices, operation, "kv indices")
    if offsets[-1] > pages.size:
        fail(operation, "kv indptr must end within kv indices", f"{offsets[-1]} of {pages.size}")
    counts = np.diff(offsets)
    name = "kv_last_page_len" if kv_len is None else "kv_len_arr"
    last = host_integers(last_page_len if kv_len is None else kv_len, operation, name)
    if last.size != counts.size:
        fail(operation, f"{name} must hold {counts.size} values (batch_size)", last.size)
    if kv_len is None:
        owned = counts > 0
        if (last[owned] < 0).any() or (last[owned] > page_size).any():
            fail(operation, f"{name} must be in 1…{page_size} (page_size)", last.tolist()[:16])
        lengths = np.where(owned, (counts - 1) * page_size + last, 0)
    else:
        lengths = last
        if (lengths < 0).any() or (lengths > counts * page_size).any():
            fail(operation, f"{name} must fit the pages of its request", lengths.tolist()[:16])
    used = -(-lengths // page_size)
    if (used != counts).any():
        rows = [pages[a : a + n] for a, n in zip(offsets[:-1].tolist(), used.tolist())]
        pages = np.concatenate(rows) if rows else pages[:0]
        offsets = np.concatenate(([0], np.cumsum(used)))
    elif offsets[0] != 0 or offsets[-1] != pages.size:
        pages = pages[offsets[0] : offsets[-1]]
        offsets = offsets - offsets[0]
    return {
        "page_size": int(page_size),
        "page_indptr": offsets,
        "page_indices": pages.astype(np.int32),
        "last_page_length": (lengths - np.maximum(used - 1, 0) * page_size).astype(np.int32),
        "lengths": lengths,
    }


def cache_arguments(cache: Any, kv_layout: str, operation: str) -> dict[str, torch.Tensor]:
    """`kv`, or `k` and `v`, of a paged cache.

    Args:
        cache: one tensor `[pages, 2, page_size, heads, dim]` (NHD) or `[pages, 2, heads, page_size,
            dim]` (HND), a pair of tensors without the second dimension, or either of them without
            the token dimension where pages hold one token.
    """
    if isinstance(cache, torch.Tensor):
        if cache.ndim == 4:
            cache = cache.unsqueeze(-3 if kv_layout == "NHD" else -2)
        if cache.ndim != 5 or cache.shape[1] != 2:
            requirement = "paged_kv_cache must be [pages, 2, …] of 5 (page size 1: or 4) dimensions"
            fail(operation, requirement, tuple(cache.shape))
        return {"kv": cache}
    if isinstance(cache, (tuple, list)) and len(cache) == 2:
        k, v = (_with_tokens(t, kv_layout, operation) for t in cache)
        return {"k": k, "v": v}
    fail(operation, "paged_kv_cache must be a tensor or a pair of tensors", type(cache).__name__)


def _with_tokens(cache: torch.Tensor, kv_layout: str, operation: str) -> torch.Tensor:
    if not isinstance(cache, torch.Tensor):
        fail(operation, "paged_kv_cache must hold tensors", type(cache).__name__)
    if cache.ndim == 3:
        cache = cache.unsqueeze(-3 if kv_layout == "NHD" else -2)
    if cache.ndim != 4:
        requirement = "paged k and v caches must have 4 (or, page size 1, 3) dimensions"
        fail(operation, requirement, tuple(cache.shape))
    return cache


def cache_dtype(arguments: dict[str, torch.Tensor]) -> torch.dtype:
    """Element type of what `cache_arguments` returned."""
    return (arguments["kv"] if "kv" in arguments else arguments["k"]).dtype

"""flashinfer.page: writes into paged caches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import apus
from apus._device_lists import is_on_device

from ._pages import cache_arguments
from ._unavailable import lookup_of
from ._values import check_layout, check_tensor, fail, host_integers

__all__ = [
    "append_paged_kv_cache",
    "append_paged_mla_kv_cache",
    "get_batch_indices_positions",
    "get_seq_lens",
]


def get_seq_lens(
    kv_indptr: torch.Tensor, kv_last_page_len: torch.Tensor, page_size: int
) -> torch.Tensor:
    """Tokens per request `[batch_size]`: `max(pages − 1, 0) · page_size + last_page_len`."""
    pages = kv_indptr[1:] - kv_indptr[:-1]
    return torch.clamp(pages - 1, min=0) * page_size + kv_last_page_len


def get_batch_indices_positions(
    append_indptr: torch.Tensor, seq_lens: torch.Tensor, nnz: int,
    batch_indices: torch.Tensor | None = None, positions: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Request and position of each appended token.

    Args:
        append_indptr: `[batch_size + 1]`, new tokens of each request.
        seq_lens: `[batch_size]`, lengths after the append.
        nnz: rows of the results.
        batch_indices, positions: int32 `[nnz]`, written if given.

    Returns:
        int32 `[nnz]` each; rows behind `append_indptr[-1]` have request −1 and position 0.
    """
    operation = "get_batch_indices_positions"
    device = append_indptr.device
    results = []
    for name, tensor, fill in (
        ("batch_indices", batch_indices, -1), ("positions", positions, 0)
    ):
        if tensor is None:
            tensor = torch.full((nnz,), fill, dtype=torch.int32, device=device)
        else:
            check_tensor(operation, name, tensor, (nnz,), torch.int32, device)
            tensor.fill_(fill)
        results.append(tensor)
    counts = (append_indptr[1:] - append_indptr[:-1]).to(torch.int64)
    if len(seq_lens) != len(counts):
        fail(operation, f"seq_lens must hold {len(counts)} lengths", len(seq_lens))
    # On the device alone: rows behind the last token keep their fill.
    rows = torch.arange(nnz, dtype=torch.int64, device=device)
    ends = append_indptr[1:].to(torch.int64)
    request = torch.bucketize(rows, ends, right=True)
    is_row = (request < len(counts)) & (rows >= append_indptr[0])
    if len(counts):
        owner = request.clamp(max=len(counts) - 1)
        position = seq_lens.to(torch.int64)[owner] - ends[owner] + rows
        results[0].copy_(torch.where(is_row, owner, -1))
        results[1].copy_(torch.where(is_row, position, 0))
    return results[0], results[1]


def append_paged_kv_cache(
    append_key: torch.Tensor, append_value: torch.Tensor, batch_indices: torch.Tensor,
    positions: torch.Tensor, paged_kv_cache: Any, kv_indices: torch.Tensor,
    kv_indptr: torch.Tensor, kv_last_page_len: torch.Tensor, kv_layout: str = "NHD",
) -> None:
    """Writes new keys and values into a paged cache.

    Args:
        append_key: `[nnz, num_kv_heads, head_dim]`; append_value likewise, of the cache's type.
        batch_indices: `[nnz]`, request of each token; positions: `[nnz]`, its place there. Tokens
            of request −1 are skipped.
        paged_kv_cache: `[pages, 2, page_size, num_kv_heads, head_dim]` (NHD), `[pages, 2,
            num_kv_heads, page_size, head_dim]` (HND), or a pair without the second dimension.
        kv_indices, kv_indptr, kv_last_page_len: pages after the append.

    Lists on a CUDA device are followed there, as FlashInfer does: no wait, no check of what they
    hold, and a CUDA graph reads them at each replay.
    """
    operation = "append_paged_kv_cache"
    check_layout(operation, kv_layout)
    caches = cache_arguments(paged_kv_cache, kv_layout, operation)
    cache = caches.get("kv", caches.get("k"))
    if append_key.dtype != cache.dtype:
        fail(operation, f"append_key must have the cache's dtype, {cache.dtype}", append_key.dtype)
    page_size = cache.shape[-3] if kv_layout == "NHD" else cache.shape[-2]
    apus.append(
        append_key, append_value, layout=kv_layout, **caches,
        **_append_lists(
            batch_indices, positions, kv_indices, kv_indptr, kv_last_page_len, page_size, operation
        ),
    )


def append_paged_mla_kv_cache(
    append_ckv: torch.Tensor, append_kpe: torch.Tensor, batch_indices: torch.Tensor,
    positions: torch.Tensor, ckv_cache: torch.Tensor | None, kpe_cache: torch.Tensor | None,
    kv_indices: torch.Tensor, kv_indptr: torch.Tensor, kv_last_page_len: torch.Tensor,
) -> None:
    """Writes new latent rows into a paged cache.

    Args:
        append_ckv: `[nnz, head_dim_ckv]`; append_kpe: `[nnz, head_dim_kpe]`.
        batch_indices, positions: as in `append_paged_kv_cache`.
        ckv_cache: `[pages, page_size, head_dim_ckv]`; kpe_cache likewise, of head_dim_kpe.
        kv_indices, kv_indptr, kv_last_page_len: pages after the append.
    """
    operation = "append_paged_mla_kv_cache"
    if ckv_cache is None or kpe_cache is None:
        fail(operation, "ckv_cache and kpe_cache must be given", None)
    if append_ckv.dtype != ckv_cache.dtype:
        requirement = f"append_ckv must have the cache's dtype, {ckv_cache.dtype}"
        fail(operation, requirement, append_ckv.dtype)
    apus.append(
        append_ckv, append_kpe, k=ckv_cache, v=kpe_cache, latent=True,
        **_append_lists(
            batch_indices, positions, kv_indices, kv_indptr, kv_last_page_len,
            ckv_cache.shape[1], operation,
        ),
    )


def _append_lists(
    batch_indices: Any, positions: Any, indices: Any, indptr: Any, last_page_len: Any,
    page_size: int, operation: str,
) -> dict[str, Any]:
    """Lists of an append, with those pages behind indptr dropped."""
    if any(is_on_device(x) for x in (batch_indices, positions, indices, indptr)):
        return {
            "page_size": page_size, "page_indptr": indptr, "page_indices": indices,
            "batch_indices": batch_indices, "positions": positions,
        }
    offsets = host_integers(indptr, operation, "kv_indptr")
    last = host_integers(last_page_len, operation, "kv_last_page_len")
    owned = np.diff(offsets) > 0
    if last.size == owned.size:
        last = np.where(owned, last, 0)
    return {
        "page_size": page_size,
        "page_indptr": offsets,
        "page_indices": host_integers(indices, operation, "kv_indices").astype(np.int32),
        "last_page_length": last.astype(np.int32),
        "batch_indices": batch_indices,
        "positions": positions,
    }


__getattr__ = lookup_of(__name__, "nvfp4_cache")

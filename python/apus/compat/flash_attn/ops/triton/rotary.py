"""Rotary embedding of one tensor."""

from __future__ import annotations

from typing import Optional, Union

import numpy as np
import torch

from ... import _dense
from ..._attend import indptr
from ..._checks import require, require_forward, require_rank, require_shape
from ..._plans import host_ints


def apply_rotary(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    seqlen_offsets: Union[int, torch.Tensor] = 0,
    cu_seqlens: Optional[torch.Tensor] = None,
    max_seqlen: Optional[int] = None,
    interleaved: bool = False,
    inplace: bool = False,
    conjugate: bool = False,
) -> torch.Tensor:
    """Rotates the first rotary_dim elements of each head.

    x `(batch, seqlen, nheads, headdim)`, or `(total, nheads, headdim)` with cu_seqlens; cos and sin
    `(positions, rotary_dim / 2)`. Row i of sequence b is at position `seqlen_offsets[b] + i`. Pairs
    are neighbours if interleaved, else halves; conjugate turns the other way.
    """
    name = "apply_rotary"
    require_forward(name, x=x)
    require_rank(name, "cos", cos, "positions", "rotary_dim / 2")
    require_shape(name, "sin", sin, tuple(cos.shape))
    if cu_seqlens is None:
        require_rank(name, "x", x, "batch", "seqlen", "nheads", "headdim")
        starts = np.arange(x.shape[0] + 1, dtype=np.int64) * x.shape[1]
    else:
        require_rank(name, "x", x, "total", "nheads", "headdim")
        starts = indptr(name, "cu_seqlens", cu_seqlens)
    require(
        2 * cos.shape[1] <= x.shape[-1], name, "rotary_dim must be at most the head dimension",
        f"{2 * cos.shape[1]} of {x.shape[-1]}",
    )
    batch = len(starts) - 1
    offsets = host_ints(name, "seqlen_offsets", seqlen_offsets).astype(np.int64)
    require(
        offsets.shape in ((), (batch,)), name, f"seqlen_offsets must be an int or ({batch},)",
        f"shape {offsets.shape}",
    )
    offsets = np.broadcast_to(offsets, (batch,))
    counts = np.diff(starts)
    positions = np.arange(int(counts.sum())) + np.repeat(offsets - starts[:-1] + starts[0], counts)
    low, high = int(starts[0]), int(starts[-1])
    rows = x.reshape(-1, *x.shape[-2:])
    source = _dense.innermost(rows[low:high])
    rotated = _dense.rotate_rows(source, cos, sin, positions, interleaved, conjugate=conjugate)
    if inplace:
        target = x if cu_seqlens is None else x[low:high]
        target.copy_(rotated.view(target.shape))
        return x
    if high - low == rows.shape[0]:
        return rotated.view(x.shape)
    result = rows.clone()
    result[low:high] = rotated
    return result


__all__ = ["apply_rotary"]

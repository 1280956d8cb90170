"""flashinfer.topk on torch operations: outside Apus's subject, here so that engines run."""

from __future__ import annotations

import enum

import torch

from ._unavailable import lookup_of
from ._values import fail

__all__ = ["TopKTieBreak", "top_k"]


class TopKTieBreak(enum.IntEnum):
    """Which of equal values at the boundary are taken."""

    NONE = 0
    SMALL = 1
    LARGE = 2


def top_k(
    input: torch.Tensor, k: int, sorted: bool = False, deterministic: bool = False,
    tie_break: int = TopKTieBreak.NONE, dsa_graph_safe: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k greatest of each row: values and int64 indices, `[rows, k]`."""
    if not 0 <= k <= input.shape[-1]:
        fail("top_k", f"k must be in 0…{input.shape[-1]}", k)
    if TopKTieBreak(tie_break) == TopKTieBreak.NONE:
        return torch.topk(input, k, dim=-1, sorted=sorted)
    # A stable sort keeps the order of equal values: that of the indices, or its reverse.
    if tie_break == TopKTieBreak.LARGE:
        values, order = torch.sort(input.flip(-1), dim=-1, descending=True, stable=True)
        return values[..., :k], input.shape[-1] - 1 - order[..., :k]
    values, order = torch.sort(input, dim=-1, descending=True, stable=True)
    return values[..., :k], order[..., :k]


__getattr__ = lookup_of(__name__, "selection")

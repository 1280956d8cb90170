"""Rotary embedding of queries, keys and packed tensors."""

from __future__ import annotations

from typing import Any, Optional, Union

import torch

from .._checks import require, require_rank
from ..ops.triton.rotary import apply_rotary


def rotate_half(x: torch.Tensor, interleaved: bool = False) -> torch.Tensor:
    """(−x₁, x₀) for each pair (x₀, x₁): halves, or neighbours if interleaved."""
    if interleaved:
        return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def apply_rotary_emb_torch(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, interleaved: bool = False
) -> torch.Tensor:
    """The rotation in torch operations: x `(batch, seqlen, nheads, headdim)`, cos and sin
    `([batch,] seqlen, rotary_dim / 2)`."""
    width = 2 * cos.shape[-1]
    if interleaved:
        cos, sin = cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)
    else:
        cos, sin = torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)
    head, rest = x[..., :width], x[..., width:]
    turned = head * cos.unsqueeze(-2) + rotate_half(head, interleaved) * sin.unsqueeze(-2)
    return torch.cat((turned, rest), dim=-1)


def apply_rotary_emb(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    interleaved: bool = False,
    inplace: bool = False,
    seqlen_offsets: Union[int, torch.Tensor] = 0,
    cu_seqlens: Optional[torch.Tensor] = None,
    max_seqlen: Optional[int] = None,
) -> torch.Tensor:
    """`apply_rotary` with its arguments in the order of the layer."""
    return apply_rotary(
        x, cos, sin, seqlen_offsets=seqlen_offsets, cu_seqlens=cu_seqlens, max_seqlen=max_seqlen,
        interleaved=interleaved, inplace=inplace)


apply_rotary_emb_func = apply_rotary_emb


def apply_rotary_emb_qkv_(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    cos_k: Optional[torch.Tensor] = None,
    sin_k: Optional[torch.Tensor] = None,
    interleaved: bool = False,
    seqlen_offsets: Union[int, torch.Tensor] = 0,
    num_heads_q: Optional[int] = None,
) -> torch.Tensor:
    """Rotates q and k inside qkv `(batch, seqlen, 3, nheads, headdim)`, or `(batch, seqlen,
    num_heads_q + 2 * nheads_k, headdim)` with num_heads_q, in place."""
    name = "apply_rotary_emb_qkv_"
    if qkv.dim() == 5:
        require(qkv.shape[2] == 3, name, "qkv must hold three tensors in dimension 2", qkv.shape[2])
        q, k = qkv[:, :, 0], qkv[:, :, 1]
    else:
        require_rank(name, "qkv", qkv, "batch", "seqlen", "nheads + 2 * nheads_k", "headdim")
        heads = num_heads_q or 0
        require(heads > 0, name, "num_heads_q must be given for packed heads", num_heads_q)
        rest = (qkv.shape[2] - heads) // 2
        q, k = qkv[:, :, :heads], qkv[:, :, heads : heads + rest]
    offsets: dict[str, Any] = {
        "seqlen_offsets": seqlen_offsets, "interleaved": interleaved, "inplace": True}
    apply_rotary(q, cos, sin, **offsets)
    apply_rotary(
        k, cos if cos_k is None else cos_k, sin if sin_k is None else sin_k, **offsets)
    return qkv


def apply_rotary_emb_kv_(
    kv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    interleaved: bool = False,
    seqlen_offsets: Union[int, torch.Tensor] = 0,
) -> torch.Tensor:
    """Rotates k inside kv `(batch, seqlen, 2, nheads, headdim)`, in place."""
    require_rank("apply_rotary_emb_kv_", "kv", kv, "batch", "seqlen", "2", "nheads", "headdim")
    apply_rotary(
        kv[:, :, 0], cos, sin, seqlen_offsets=seqlen_offsets, interleaved=interleaved, inplace=True)
    return kv


__all__ = [
    "apply_rotary_emb",
    "apply_rotary_emb_func",
    "apply_rotary_emb_kv_",
    "apply_rotary_emb_qkv_",
    "apply_rotary_emb_torch",
    "rotate_half",
]

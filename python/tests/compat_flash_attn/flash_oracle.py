"""Attention in float64, and how far a result in a given type may be from it.

No tolerance is chosen: the L2 error of a result may be at most twice that of the naive computation
in the same type, plus the root mean square error that rounding to the type gives; and each element
has the bound of its own rounding plus that of weights rounded to the type, whose error is
proportional to the sum of weight * |v|.
"""

from __future__ import annotations

import math

import torch


def unit(dtype: torch.dtype) -> float:
    """Half the distance between 1 and the next number of the type."""
    return torch.finfo(dtype).eps / 2


def visible(len_q: int, len_k: int, causal: bool, window: tuple[int, int], chunk: int = 0):
    """Bool `(len_q, len_k)`: which keys a query sees, aligned at the bottom right."""
    position = (len_k - len_q + torch.arange(len_q))[:, None]
    key = torch.arange(len_k)[None, :]
    mask = torch.ones(len_q, len_k, dtype=torch.bool)
    left, right = window
    if causal:
        right = 0
    if left >= 0:
        mask &= key >= position - left
    if right >= 0:
        mask &= key <= position + right
    if chunk:
        start = torch.div(position, chunk, rounding_mode="floor") * chunk
        mask &= (key >= start) & (key < start + chunk)
    return mask


def attention(
    q, k, v, *, scale=None, causal=False, window=(-1, -1), chunk=0, softcap=0.0, slopes=None,
    sinks=None, mask=None, compute=torch.float64,
):
    """One request: q `(len_q, heads, dim)`, k, v `(len_k, heads_k, …)`.

    Returns out and magnitude `(len_q, heads, dim_v)` and natural lse `(heads, len_q)`, -inf for an
    empty row. With `compute` of fewer bits, the naive computation: f32 sums, weights rounded to it.
    """
    work = torch.float64 if compute == torch.float64 else torch.float32
    group = q.shape[1] // k.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    k, v = (x.repeat_interleave(group, 1).to(work) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q.to(work), k) * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    len_q, len_k = q.shape[0], k.shape[0]
    if slopes is not None:
        distance = (len_k - len_q + torch.arange(len_q))[:, None] - torch.arange(len_k)[None, :]
        scores = scores - slopes.to(work)[:, None, None] * distance.abs().to(work)
    seen = visible(len_q, len_k, causal, window, chunk)
    if mask is not None:
        seen = seen & mask
    scores = scores.masked_fill(~seen, -math.inf)
    lse = torch.logsumexp(scores, -1) if len_k else scores.new_full(scores.shape[:2], -math.inf)
    top = lse if sinks is None else torch.logaddexp(lse, sinks.to(work)[:, None].expand_as(lse))
    top = torch.where(lse == -math.inf, torch.full_like(top, math.inf), top)
    weights = torch.exp(scores - top[..., None])
    if compute != torch.float64:
        weights = weights.to(compute).to(work)
    out = torch.einsum("hqk,khd->qhd", weights, v)
    magnitude = torch.einsum("hqk,khd->qhd", weights, v.abs())
    return out, lse, magnitude


def check(out, expected, naive, magnitude, storage, score_bound: float = 16.0) -> None:
    """Compares a result of type `storage` with float64; all `(…, heads, dim_v)`."""
    assert out.shape == expected.shape, f"{tuple(out.shape)} for {tuple(expected.shape)}"
    error = (out.double() - expected).abs()
    assert torch.isfinite(error).all(), "a result is not finite"
    half = unit(storage)
    # Weights of a relative error e move out by at most 2e * magnitude.
    weights = unit(torch.bfloat16 if storage.itemsize <= 2 else storage)
    sums = unit(torch.float32) * 2 * (score_bound + 64)
    tiny = float(torch.finfo(storage).tiny)
    bound = half * expected.abs() + 2 * (weights + sums) * magnitude + tiny
    worst = (error - bound).max().item() if error.numel() else -1
    assert worst <= 0, f"an element is {worst} beyond its bound of {bound.max().item()}"
    rms = half / math.sqrt(3) * expected.norm() + sums * magnitude.norm()
    limit = 2 * (naive.to(storage).double() - expected).norm() + rms
    assert error.norm() <= limit, f"error {error.norm().item()} above {limit.item()}"


def check_lse(lse, expected, length: int) -> None:
    """lse in f32 against float64, with infinities where they are expected."""
    assert lse.dtype == torch.float32
    assert lse.shape == expected.shape, f"{tuple(lse.shape)} for {tuple(expected.shape)}"
    finite = torch.isfinite(expected)
    assert torch.equal(lse.double()[~finite], expected[~finite])
    error = (lse.double()[finite] - expected[finite]).abs()
    # Sums of products of `length` terms, and the score's own size.
    bound = torch.finfo(torch.float32).eps * (length + 8) * (1 + expected[finite].abs())
    assert (error <= bound).all(), f"lse is off by {error.max().item()}"

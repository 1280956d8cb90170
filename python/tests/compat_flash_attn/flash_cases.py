"""Runs the oracle beside a result, request by request."""

from __future__ import annotations

import math

import torch
from flash_oracle import attention, check, check_lse

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def normal(*shape, dtype=torch.float32):
    return torch.randn(*shape).to(dtype)


def agree(out, lse, q, k, v, *, empty=math.inf, storage=None, compute=None, **options):
    """One request: out `(len_q, heads, dim_v)`, lse `(heads, len_q)` or None."""
    storage = storage or out.dtype
    expected, expected_lse, magnitude = attention(q, k, v, **options)
    naive, _, _ = attention(q, k, v, compute=compute or storage, **options)
    check(out, expected, naive, magnitude, storage)
    if lse is not None:
        expected_lse = torch.where(
            expected_lse == -math.inf, torch.full_like(expected_lse, empty), expected_lse)
        check_lse(lse, expected_lse, q.shape[-1] + k.shape[0])

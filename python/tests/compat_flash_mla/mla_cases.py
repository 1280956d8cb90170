"""Caches of FlashMLA's formats with poison where nothing may be read, and oracles over them."""

from __future__ import annotations

import math

import numpy as np
import torch
from flash_oracle import attention, check, check_lse


def inputs(*shape, dtype=torch.bfloat16):
    """Normal numbers of a tenth's size within ±1, as latents are."""
    return (torch.randn(*shape) / 10).clamp(-1, 1).to(dtype)


def paged(rows, page, spare=2):
    """Rows of each request in shuffled pages between NaN; cache and block table."""
    counts = [-(-len(x) // page) for x in rows]
    order = torch.randperm(sum(counts) + spare)
    cache = torch.full((len(order), page, *rows[0].shape[1:]), math.nan, dtype=rows[0].dtype)
    table = torch.full((len(rows), max(counts + [1])), 2147480000, dtype=torch.int32)
    used = 0
    for r, x in enumerate(rows):
        for column in range(counts[r]):
            table[r, column] = order[used]
            part = x[column * page : (column + 1) * page]
            cache[order[used], : len(part)] = part
            used += 1
    return cache, table


def quantize(x, kind, page):
    """Latents x `(tokens, values)` as bytes `(pages, page, 1, 656 or 584)` and what they stand for.

    Written from the description of the formats, byte by byte; the second result is float64.
    """
    tokens = x.shape[0]
    nope, group = (512, 128) if kind == 656 else (448, 64)
    grouped = x[:, :nope].double().view(tokens, -1, group)
    exponent = torch.ceil(torch.log2(grouped.abs().amax(-1).clamp_min(1e-4) / 448))
    codes = (grouped / 2.0 ** exponent[..., None]).float().to(torch.float8_e4m3fn)
    value = codes.double() * 2.0 ** exponent[..., None]
    wide = torch.cat([value.flatten(1), x[:, nope:].double()], 1)
    code_bytes = codes.view(torch.uint8).flatten(1).cpu().numpy()
    rope_bytes = x[:, nope:].contiguous().view(torch.uint8).cpu().numpy()
    pages = -(-tokens // page)
    if kind == 656:
        scale_bytes = (2.0**exponent).float().view(torch.uint8).cpu().numpy()
        row = np.concatenate([code_bytes, scale_bytes, rope_bytes], 1)
        flat = np.full((pages * page, 656), 255, dtype=np.uint8)
        flat[:tokens] = row
        return torch.from_numpy(flat).to(x.device).view(pages, page, 1, 656), wide
    size = -(-584 * page // 576) * 576
    raw = np.full((pages, size), 255, dtype=np.uint8)
    footer = (exponent + 127).to(torch.uint8).cpu().numpy()
    for t in range(tokens):
        p, o = divmod(t, page)
        raw[p, 576 * o : 576 * o + 448] = code_bytes[t]
        raw[p, 576 * o + 448 : 576 * (o + 1)] = rope_bytes[t]
        start = 576 * page + 8 * o
        raw[p, start : start + 7] = footer[t]
    cache = torch.from_numpy(raw).to(x.device)[:, : 584 * page].view(pages, page, 584)
    return cache.unsqueeze(2), wide


def agree(out, lse, q, kv, dv, **options):
    """One request or token list: q, out `(len_q, heads, …)`, kv `(len_k, heads_k, d)`, lse
    `(heads, len_q)`."""
    expected, expected_lse, magnitude = attention(q, kv, kv[..., :dv], **options)
    naive, _, _ = attention(q, kv, kv[..., :dv], compute=out.dtype, **options)
    check(out, expected, naive, magnitude, out.dtype)
    check_lse(
        lse, torch.where(expected_lse == -math.inf, torch.full_like(expected_lse, math.inf),
                         expected_lse), q.shape[-1] + kv.shape[0])

"""Sequences of different lengths against float64: ragged, paged, partly used."""

import math

import pytest
import torch
from flash_cases import DTYPES, agree, normal

from apus.compat import flash_attn
from apus.compat.flash_attn import hopper

LENGTHS = [((3, 1, 0, 17), (3, 9, 4, 0)), ((1, 1), (1, 130)), ((5,), (5,)), ((0, 0), (0, 0))]


def starts(lengths):
    return torch.tensor([0, *lengths]).cumsum(0).int()


def slices(lengths):
    edges = starts(lengths).tolist()
    return [slice(a, b) for a, b in zip(edges, edges[1:])]


def poisoned_pages(k, v, k_lengths, page):
    """k and v of each request in shuffled pages between NaN, and the table."""
    counts = [-(-length // page) for length in k_lengths]
    order = torch.randperm(sum(counts) + 2)
    caches = [torch.full((len(order), page, *x.shape[1:]), math.nan, dtype=x.dtype) for x in (k, v)]
    table = torch.full((len(k_lengths), max(counts + [1]) + 1), 2147480000, dtype=torch.int32)
    used = 0
    for request, part in enumerate(slices(k_lengths)):
        for column in range(counts[request]):
            block = int(order[used])
            used += 1
            table[request, column] = block
            start = part.start + column * page
            rows = slice(start, min(start + page, part.stop))
            for cache, x in zip(caches, (k, v)):
                cache[block, : rows.stop - rows.start] = x[rows]
    return *caches, table


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_ragged(dtype, lengths, causal):
    q = normal(sum(lengths[0]), 4, 64, dtype=dtype)
    k, v = (normal(sum(lengths[1]), 2, 64, dtype=dtype) for _ in range(2))
    bounds = starts(lengths[0]), starts(lengths[1]), max(lengths[0]), max(lengths[1])
    out, lse, _ = flash_attn.flash_attn_varlen_func(
        q, k, v, *bounds, causal=causal, return_attn_probs=True)
    out3, lse3 = hopper.flash_attn_varlen_func(
        q, k, v, *bounds, causal=causal, return_attn_probs=True)
    assert out.shape == q.shape and lse.shape == (4, q.shape[0])
    for a, b in zip(slices(lengths[0]), slices(lengths[1])):
        agree(out[a], lse[:, a], q[a], k[b], v[b], causal=causal)
        agree(out3[a], lse3[:, a], q[a], k[b], v[b], causal=causal, empty=-math.inf)
    packed = torch.stack([k, v], 1)
    assert torch.equal(
        flash_attn.flash_attn_varlen_kvpacked_func(q, packed, *bounds, causal=causal), out)


def test_packed_queries_keys_and_values():
    lengths = (4, 0, 7)
    packed = normal(11, 3, 2, 32)
    out = flash_attn.flash_attn_varlen_qkvpacked_func(packed, starts(lengths), 7, causal=True)
    for part in slices(lengths):
        agree(out[part], None, *packed[part].unbind(1), causal=True)


@pytest.mark.parametrize("page", [1, 3, 16, 256])
@pytest.mark.parametrize("window", [(-1, -1), (3, 0), (5, 2)])
def test_block_table_of_any_block_size(page, window):
    q_lengths, k_lengths = (2, 0, 5, 1), (20, 3, 5, 0)
    q, k, v = normal(8, 4, 32), normal(28, 2, 32), normal(28, 2, 32)
    k_cache, v_cache, table = poisoned_pages(k, v, k_lengths, page)
    out, lse, _ = flash_attn.flash_attn_varlen_func(
        q, k_cache, v_cache, starts(q_lengths), starts(k_lengths), 5, 20, window_size=window,
        return_attn_probs=True, block_table=table)
    for a, b in zip(slices(q_lengths), slices(k_lengths)):
        agree(out[a], lse[:, a], q[a], k[b], v[b], window=window)


def test_used_rows_alone_count():
    q_lengths, k_lengths = (4, 3, 2), (6, 9, 5)
    q_used, k_used = (2, 3, 0), (6, 4, 0)
    q, k, v = normal(9, 4, 32), normal(20, 2, 32), normal(20, 2, 32)
    out, lse = hopper.flash_attn_varlen_func(
        q, k, v, starts(q_lengths), starts(k_lengths), 4, 9,
        seqused_q=torch.tensor(q_used).int(), seqused_k=torch.tensor(k_used).int(), causal=True,
        return_attn_probs=True)
    for a, b, m, n in zip(slices(q_lengths), slices(k_lengths), q_used, k_used):
        rows, keys = slice(a.start, a.start + m), slice(b.start, b.start + n)
        agree(out[rows], lse[:, rows], q[rows], k[keys], v[keys], causal=True, empty=-math.inf)
        assert (out[rows.stop:a.stop] == 0).all()


def test_alibi_and_descales_per_request():
    q_lengths, k_lengths = (3, 0, 4), (5, 2, 4)
    q, k, v = normal(7, 4, 32), normal(11, 2, 32), normal(11, 2, 32)
    slopes = torch.rand(3, 4)
    bounds = starts(q_lengths), starts(k_lengths), 4, 5
    out = flash_attn.flash_attn_varlen_func(q, k, v, *bounds, causal=True, alibi_slopes=slopes)
    e4m3 = torch.float8_e4m3fn
    codes = [x.to(e4m3) for x in (q, k, v)]
    scales = 0.5 + torch.rand(3, 2)
    out8, lse8 = hopper.flash_attn_varlen_func(
        *codes, *bounds, causal=True, v_descale=scales, return_attn_probs=True)
    for r, (a, b) in enumerate(zip(slices(q_lengths), slices(k_lengths))):
        agree(out[a], None, q[a], k[b], v[b], causal=True, slopes=slopes[r])
        wide = codes[2][b].double() * scales[r].double()[:, None]
        agree(
            out8[a], lse8[:, a], codes[0][a].double(), codes[1][b].double(), wide, causal=True,
            empty=-math.inf, compute=torch.bfloat16)


def test_absorbed_query_of_ragged_rows():
    lengths = (2, 0, 5)
    q, qv, k, v = normal(7, 4, 64), normal(7, 4, 128), normal(7, 1, 64), normal(7, 1, 128)
    out, lse = hopper.flash_attn_varlen_func(
        q, k, v, starts(lengths), starts(lengths), 5, 5, qv=qv, causal=True, return_attn_probs=True)
    for part in slices(lengths):
        agree(
            out[part], lse[:, part], torch.cat([qv, q], -1)[part], torch.cat([v, k], -1)[part],
            v[part], causal=True, empty=-math.inf)

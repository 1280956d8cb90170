"""Attention over lists of tokens: sparse decode over FP8 caches and sparse prefill."""

import math

import pytest
import torch
from mla_cases import agree, inputs, quantize

from apus.compat.flash_mla import (
    cuda,
    flash_mla_sparse_fwd,
    flash_mla_with_kvcache,
    get_mla_metadata,
)

BATCH, LEN_Q, HEADS, TOPK = 2, 3, 8, 24


def lists(total, count, topk=TOPK):
    """Indices `(count, topk)`: valid, absent (-1), too great, and one row of absent ones."""
    table = torch.randint(-1, total + 3, (count, topk), dtype=torch.int32)
    table[1] = -1
    return table


def chosen(wide, row, limit=None):
    row = row[: len(row) if limit is None else limit].long()
    return wide[row[(row >= 0) & (row < len(wide))]][:, None]



@pytest.mark.parametrize("kind", [656, 584])
@pytest.mark.parametrize("page", [2, 61, 64])
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("limited", [False, True])
def test_decode_over_fp8(kind, page, extra, limited):
    width = {656: 576, 584: 512}[kind]
    cache, wide = quantize(inputs(3 * page, width), kind, page)
    q = inputs(BATCH, LEN_Q, HEADS, width)
    table = lists(len(wide), BATCH * LEN_Q).view(BATCH, LEN_Q, TOPK)
    limit = torch.tensor([5, 0], dtype=torch.int32) if limited else None
    options, scopes = {}, [(wide, table, limit)]
    if extra:
        more, more_wide = quantize(inputs(40, width), kind, 20)
        more_table = lists(40, BATCH * LEN_Q, 7).view(BATCH, LEN_Q, 7)
        more_limit = torch.tensor([3, 7], dtype=torch.int32) if limited else None
        options = dict(
            extra_k_cache=more.view(torch.float8_e4m3fn), extra_indices_in_kvcache=more_table,
            extra_topk_length=more_limit)
        scopes.append((more_wide, more_table, more_limit))
    metadata, _ = get_mla_metadata()
    out, lse = flash_mla_with_kvcache(
        q, cache, None, None, 512, metadata, is_fp8_kvcache=True, indices=table, topk_length=limit,
        **options)
    assert lse.shape == (BATCH, HEADS, LEN_Q)
    for b in range(BATCH):
        for i in range(LEN_Q):
            keys = torch.cat([
                chosen(w, t[b, i], None if n is None else int(n[b])) for w, t, n in scopes])
            agree(out[b, i][None], lse[b, :, i][:, None], q[b, i][None], keys, 512)


def test_decode_without_quantization():
    cache = inputs(4, 16, 1, 576)
    table = lists(64, BATCH).view(BATCH, 1, TOPK)
    q = inputs(BATCH, 1, HEADS, 576)
    out, lse = flash_mla_with_kvcache(
        q, cache, None, None, 512, *get_mla_metadata(), indices=table)
    for b in range(BATCH):
        keys = chosen(cache.view(64, 576), table[b, 0])
        agree(out[b], lse[b], q[b], keys, 512)


def test_sink_scales_the_output_and_leaves_the_sum():
    cache, wide = quantize(inputs(64, 576), 656, 64)
    q = inputs(BATCH, 1, HEADS, 576)
    table = lists(64, BATCH).view(BATCH, 1, TOPK)
    sink = torch.randn(HEADS) * 3
    sink[0], sink[1] = math.inf, -math.inf
    metadata, _ = get_mla_metadata()
    options = dict(is_fp8_kvcache=True, indices=table)
    out, lse = flash_mla_with_kvcache(
        q, cache, None, None, 512, metadata, attn_sink=sink, **options)
    plain, plain_lse = flash_mla_with_kvcache(q, cache, None, None, 512, metadata, **options)
    assert torch.equal(lse, plain_lse)
    assert (out[:, :, 0] == 0).all() and torch.equal(out[:, :, 1], plain[:, :, 1])
    assert (out[1] == 0).all()
    agree(
        out[0][:, 2:], lse[0][2:], q[0][:, 2:], chosen(wide, table[0, 0]), 512, sinks=sink[2:])


@pytest.mark.parametrize("width", [576, 512])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("with_sink", [False, True])
def test_prefill(width, limited, with_sink):
    count, total = 5, 40
    q, kv = inputs(count, HEADS, width), inputs(total, 1, width)
    table = lists(total, count)
    limit = torch.tensor([3, 4, 0, TOPK, 9], dtype=torch.int32) if limited else None
    sink = torch.randn(HEADS) if with_sink else None
    out, top, lse = flash_mla_sparse_fwd(
        q, kv, table[:, None], 0.07, attn_sink=sink, topk_length=limit)
    assert out.shape == (count, HEADS, 512) and top.shape == lse.shape == (count, HEADS)
    for i in range(count):
        keys = chosen(kv[:, 0], table[i], None if limit is None else int(limit[i]))
        agree(out[i][None], lse[i][:, None], q[i][None], keys, 512, scale=0.07, sinks=sink)
        if len(keys):
            score = (q[i].double() @ keys[:, 0].double().t()).amax(-1) * 0.07
            eps = torch.finfo(torch.float32).eps * width
            assert ((top[i].double() - score).abs() <= eps * (1 + score.abs())).all()
        else:
            assert (top[i] == -math.inf).all() and (lse[i] == math.inf).all()
            assert (out[i] == 0).all()


def test_prefill_never_reads_what_is_not_listed():
    q, kv = inputs(2, HEADS, 576), inputs(8, 1, 576)
    kv[3:] = math.nan
    table = torch.tensor([[[0, 2, 1, 5]], [[1, -1, 2, 7]]], dtype=torch.int32)
    out, top, lse = flash_mla_sparse_fwd(
        q, kv, table, 0.1, topk_length=torch.tensor([3, 3], dtype=torch.int32))
    assert out.isfinite().all() and top.isfinite().all() and lse.isfinite().all()
    empty, top, lse = flash_mla_sparse_fwd(q, kv[:0], table, 0.1)
    assert (empty == 0).all() and (top == -math.inf).all() and (lse == math.inf).all()


def test_low_level_functions():
    cache, _ = quantize(inputs(64, 576), 656, 64)
    q = inputs(BATCH, 1, HEADS, 576)
    table = lists(64, BATCH).view(BATCH, 1, TOPK)
    scale = 576**-0.5
    out, lse, metadata, splits = cuda.sparse_decode_fwd(
        q, cache, table, None, None, None, None, None, None, None, 512, scale)
    expected = flash_mla_with_kvcache(
        q, cache, None, None, 512, metadata, splits, is_fp8_kvcache=True, indices=table)
    assert torch.equal(out, expected[0]) and torch.equal(lse, expected[1])
    kv = inputs(40, 1, 576)
    found = cuda.sparse_prefill_fwd(q[:, 0], kv, table[:, :1], scale, 512, None, None)
    again = flash_mla_sparse_fwd(q[:, 0], kv, table[:, :1], scale)
    assert all(torch.equal(a, b) for a, b in zip(found, again))

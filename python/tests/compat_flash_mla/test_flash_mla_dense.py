"""Dense decode over a latent cache against float64, in both spellings of the metadata."""

import math

import pytest
import torch
from mla_cases import agree, inputs, paged, quantize

from apus.compat import flash_mla
from apus.compat.flash_mla import cuda, flash_mla_with_kvcache, get_mla_metadata

D, DV = 576, 512


def run(q, cache, table, lengths, causal, **options):
    """Out and lse, the same with either kind of metadata."""
    groups = q.shape[1] * q.shape[2] // cache.shape[2]
    metadata, splits = get_mla_metadata(lengths, groups, cache.shape[2])
    out, lse = flash_mla_with_kvcache(
        q, cache, table, lengths, DV, metadata, splits, causal=causal, **options)
    current, nothing = get_mla_metadata()
    assert nothing is None
    again, lse_again = flash_mla_with_kvcache(
        q, cache, table, lengths, DV, current, causal=causal, **options)
    assert torch.equal(out, again) and torch.equal(lse, lse_again)
    assert out.shape == (*q.shape[:3], DV) and out.dtype == q.dtype
    assert lse.shape == (q.shape[0], q.shape[2], q.shape[1]) and lse.dtype == torch.float32
    return out, lse


@pytest.mark.parametrize("heads", [(1, 1), (3, 1), (16, 1), (63, 3), (64, 2)])
@pytest.mark.parametrize("len_q", [1, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_heads_and_query_lengths(heads, len_q, causal):
    lengths = torch.tensor([20, 140], dtype=torch.int32)
    rows = [inputs(n, heads[1], D) for n in lengths.tolist()]
    cache, table = paged(rows, 64)
    q = inputs(2, len_q, heads[0], D)
    out, lse = run(q, cache, table, lengths, causal)
    for r in range(2):
        agree(out[r], lse[r], q[r], rows[r], DV, causal=causal)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("page", [1, 16, 64])
def test_types_and_page_sizes(dtype, page):
    lengths = torch.tensor([65, 0, 7], dtype=torch.int32)
    rows = [inputs(n, 1, D, dtype=dtype) for n in lengths.tolist()]
    cache, table = paged(rows, page)
    q = inputs(3, 2, 8, D, dtype=dtype)
    out, lse = run(q, cache, table, lengths, True)
    for r in range(3):
        agree(out[r], lse[r], q[r], rows[r], DV, causal=True)
    assert (out[1] == 0).all() and (lse[1] == math.inf).all()


def test_no_keys_at_all_and_no_requests():
    lengths = torch.zeros(2, dtype=torch.int32)
    table = torch.zeros(2, 0, dtype=torch.int32)
    out, lse = run(inputs(2, 1, 4, D), inputs(3, 64, 1, D), table, lengths, False)
    assert (out == 0).all() and (lse == math.inf).all()
    out, lse = run(inputs(0, 1, 4, D), inputs(3, 64, 1, D), table[:0], lengths[:0], False)
    assert out.numel() == 0 and lse.numel() == 0


def test_softmax_scale():
    lengths = torch.tensor([33], dtype=torch.int32)
    rows = [inputs(33, 1, D)]
    cache, table = paged(rows, 64)
    q = inputs(1, 1, 16, D)
    out, lse = run(q, cache, table, lengths, False, softmax_scale=192**-0.5)
    agree(out[0], lse[0], q[0], rows[0], DV, scale=192**-0.5)


@pytest.mark.parametrize("kind", [656, 584])
def test_fp8_rows_with_scales(kind):
    width = {656: 576, 584: 512}[kind]
    lengths = torch.tensor([30, 0, 65], dtype=torch.int32)
    total = 4 * 64
    cache, wide = quantize(inputs(total, width), kind, 64)
    table = torch.tensor([[2, 9], [9, 9], [3, 0]], dtype=torch.int32)
    q = inputs(3, 2, 8, width)
    out, lse = run(q, cache, table, lengths, True, is_fp8_kvcache=True)
    for r, n in enumerate(lengths.tolist()):
        at = torch.arange(n)
        rows = wide[table[r].long()[at // 64] * 64 + at % 64][:, None]
        agree(out[r], lse[r], q[r], rows, DV, causal=True)


def test_fp8_rows_without_scales():
    lengths = torch.tensor([70], dtype=torch.int32)
    rows = [inputs(70, 1, D, dtype=torch.float32).to(torch.float8_e4m3fn)]
    cache, table = paged([rows[0].float()], 64)
    q = inputs(1, 1, 8, D)
    out, lse = run(q, cache.to(torch.float8_e4m3fn), table, lengths, False, is_fp8_kvcache=True)
    agree(out[0], lse[0], q[0], rows[0].double(), DV)


def test_plans_are_reused_over_layers_and_follow_the_lists():
    lengths = torch.tensor([10, 20], dtype=torch.int32)
    metadata, splits = get_mla_metadata(lengths, 4, 1)
    for layer in range(3):
        rows = [inputs(n, 1, D) for n in (10 + layer, 20)]
        cache, table = paged(rows, 64)
        now = torch.tensor([10 + layer, 20], dtype=torch.int32)
        q = inputs(2, 1, 4, D)
        out, lse = flash_mla_with_kvcache(q, cache, table, now, DV, metadata, splits)
        for r in range(2):
            agree(out[r], lse[r], q[r], rows[r], DV)


def test_low_level_functions_of_both_releases():
    lengths = torch.tensor([10, 20], dtype=torch.int32)
    rows = [inputs(n, 1, D) for n in (10, 20)]
    cache, table = paged(rows, 64)
    q = inputs(2, 2, 4, D)
    metadata, splits = cuda.get_mla_metadata(lengths, 8, 1)
    assert metadata.shape[1] == 8 and splits.shape == (3,) and splits.dtype == torch.int32
    scale = D**-0.5
    out, lse = cuda.fwd_kvcache_mla(
        q, cache, None, DV, lengths, table, scale, True, metadata, splits)
    expected, expected_lse = run(q, cache, table, lengths, True)
    assert torch.equal(out, expected) and torch.equal(lse, expected_lse)
    out, lse, metadata, splits = cuda.dense_decode_fwd(
        q, cache, DV, lengths, table, scale, True, None, None)
    assert torch.equal(out, expected) and torch.equal(lse, expected_lse)
    again = cuda.fwd_kvcache_mla(
        q, cache, cache[..., :DV], DV, lengths, table, scale, True, metadata, splits)
    assert torch.equal(again[0], expected)


def test_dense_prefill():
    bounds = torch.tensor([0, 5, 5, 12], dtype=torch.int32)
    q, k, v = inputs(12, 4, 192), inputs(12, 4, 192), inputs(12, 4, 128)
    out, lse = flash_mla.flash_attn_varlen_func(q, k, v, bounds, bounds, 7, 7, causal=True)
    assert out.shape == (12, 4, 128) and lse.shape == (12, 4)
    for a, b in ((0, 5), (5, 12)):
        from flash_oracle import attention, check, check_lse

        expected, sums, magnitude = attention(q[a:b], k[a:b], v[a:b], causal=True)
        naive, _, _ = attention(q[a:b], k[a:b], v[a:b], causal=True, compute=q.dtype)
        check(out[a:b], expected, naive, magnitude, q.dtype)
        check_lse(lse[a:b].t(), sums, 200)
    packed = torch.cat([k, v], -1)
    assert torch.equal(flash_mla.flash_attn_varlen_kvpacked_func(
        q, packed, bounds, bounds, 7, 7, 192, causal=True)[0], out)
    assert torch.equal(flash_mla.flash_attn_varlen_qkvpacked_func(
        torch.cat([q, packed], -1), bounds, 7, 192, causal=True)[0], out)

"""Batches of equally long sequences against float64."""

import math

import pytest
import torch
from flash_cases import DTYPES, agree, normal

from apus.compat import flash_attn
from apus.compat.flash_attn import hopper


def both(q, k, v, **options):
    """out and lse of both releases, which agree but for the lse of rows without keys."""
    out2, lse2, empty = flash_attn.flash_attn_func(q, k, v, return_attn_probs=True, **options)
    assert empty.numel() == 0
    out3, lse3 = hopper.flash_attn_func(q, k, v, return_attn_probs=True, **options)
    assert torch.equal(lse2.isinf(), lse3.isinf())
    assert torch.equal(lse2.isinf() & (lse2 > 0), lse3.isinf() & (lse3 < 0))
    for request in range(q.shape[0]):
        case = {**options}
        case["window"] = case.pop("window_size", (-1, -1))
        case["scale"] = case.pop("softmax_scale", None)
        agree(out2[request], lse2[request], q[request], k[request], v[request], **case)
        agree(
            out3[request], lse3[request], q[request], k[request], v[request], empty=-math.inf,
            **case)
    assert flash_attn.flash_attn_func(q, k, v, **options).dtype == q.dtype
    return out2, lse2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (4, 1)])
def test_heads_and_dtypes(dtype, causal, heads):
    q = normal(2, 17, heads[0], 64, dtype=dtype)
    k, v = (normal(2, 33, heads[1], 64, dtype=dtype) for _ in range(2))
    both(q, k, v, causal=causal)


@pytest.mark.parametrize("lengths", [(1, 1), (1, 40), (5, 5), (3, 64), (9, 4), (65, 129)])
@pytest.mark.parametrize("window", [(-1, -1), (0, 0), (4, 0), (4, 3), (-1, 2), (3, -1), (200, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_windows(lengths, window, causal):
    q = normal(1, lengths[0], 4, 32)
    k, v = (normal(1, lengths[1], 2, 32) for _ in range(2))
    both(q, k, v, causal=causal, window_size=window)


@pytest.mark.parametrize("dim", [8, 20, 96, 100, 256])
def test_head_dimensions_are_filled_up(dim):
    q, k, v = (normal(1, 7, 2, dim, dtype=torch.float16) for _ in range(3))
    both(q, k, v, causal=True)


def test_soft_cap_and_scale():
    q, k, v = (3 * normal(2, 9, 2, 64) for _ in range(3))
    both(q, k, v, softcap=2.5, softmax_scale=0.3, causal=True)


def test_queries_before_the_first_key_are_empty():
    q, k, v = normal(1, 6, 2, 16), normal(1, 2, 2, 16), normal(1, 2, 2, 16)
    out, lse = both(q, k, v, causal=True)
    assert (out[0, :4] == 0).all() and (lse[0, :, :4] == math.inf).all()


def test_no_keys_at_all():
    q, k, v = normal(2, 3, 2, 16), normal(2, 0, 2, 16), normal(2, 0, 2, 16)
    out, lse, _ = flash_attn.flash_attn_func(q, k, v, return_attn_probs=True)
    assert (out == 0).all() and (lse == math.inf).all()
    assert flash_attn.flash_attn_func(q[:, :0], k, v).shape == (2, 0, 2, 16)
    assert flash_attn.flash_attn_func(q[:0], k[:0], v[:0]).shape == (0, 3, 2, 16)


@pytest.mark.parametrize("per_request", [False, True])
def test_alibi(per_request):
    q, k, v = normal(3, 5, 4, 32), normal(3, 11, 2, 32), normal(3, 11, 2, 32)
    slopes = torch.rand(3, 4) if per_request else torch.rand(4)
    out, lse, _ = flash_attn.flash_attn_func(
        q, k, v, causal=True, alibi_slopes=slopes, return_attn_probs=True)
    for request in range(3):
        agree(
            out[request], lse[request], q[request], k[request], v[request], causal=True,
            slopes=slopes[request] if per_request else slopes)


def test_strided_inputs_are_read_where_they_lie():
    packed = normal(2, 9, 3, 4, 32, dtype=torch.bfloat16)
    q, k, v = packed.unbind(2)
    expected = flash_attn.flash_attn_func(
        q.contiguous(), k.contiguous(), v.contiguous(), causal=True)
    assert torch.equal(flash_attn.flash_attn_func(q, k, v, causal=True), expected)
    assert torch.equal(flash_attn.flash_attn_qkvpacked_func(packed, causal=True), expected)
    assert torch.equal(
        flash_attn.flash_attn_kvpacked_func(q, packed[:, :, 1:], causal=True), expected)
    assert torch.equal(hopper.flash_attn_qkvpacked_func(packed, causal=True), expected)
    turned = q.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert torch.equal(flash_attn.flash_attn_func(turned, k, v, causal=True), expected)


def test_packed_heads_of_grouped_queries():
    packed = normal(2, 9, 4 + 2 * 2, 32)
    q, k, v = packed.split([4, 2, 2], 2)
    assert torch.equal(
        hopper.flash_attn_qkvpacked_func(packed, num_heads_q=4),
        hopper.flash_attn_func(q, k, v))


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
@pytest.mark.parametrize("causal", [False, True])
def test_chunks(chunk, causal):
    q, k, v = normal(1, 9, 2, 16), normal(1, 23, 2, 16), normal(1, 23, 2, 16)
    out, lse = hopper.flash_attn_func(
        q, k, v, causal=causal, attention_chunk=chunk, return_attn_probs=True)
    agree(out[0], lse[0], q[0], k[0], v[0], causal=causal, chunk=chunk, empty=-math.inf)


def test_values_with_a_head_dimension_of_their_own():
    q, k, v = normal(1, 5, 4, 192), normal(1, 9, 2, 192), normal(1, 9, 2, 128)
    out, lse = hopper.flash_attn_func(q, k, v, causal=True, return_attn_probs=True)
    agree(out[0], lse[0], q[0], k[0], v[0], causal=True, empty=-math.inf)


def test_absorbed_query_adds_its_product_with_the_values():
    q, qv = normal(2, 3, 8, 64), normal(2, 3, 8, 256)
    k, v = normal(2, 21, 1, 64), normal(2, 21, 1, 256)
    out, lse = hopper.flash_attn_func(q, k, v, qv=qv, causal=True, return_attn_probs=True)
    for r in range(2):
        agree(
            out[r], lse[r], torch.cat([qv[r], q[r]], -1), torch.cat([v[r], k[r]], -1), v[r],
            causal=True, empty=-math.inf)


@pytest.mark.parametrize("kind", ["one", "heads", "requests"])
def test_fp8_with_descales(kind):
    e4m3 = torch.float8_e4m3fn
    q, k, v = (normal(3, n, h, 64).to(e4m3) for n, h in ((4, 4), (13, 2), (13, 2)))
    shape = {"one": (1, 1), "heads": (1, 2), "requests": (3, 2)}[kind]
    scales = [(0.25 + torch.rand(shape)).expand(3, 2).contiguous() for _ in range(3)]
    out, lse = hopper.flash_attn_func(
        q, k, v, causal=True, q_descale=scales[0], k_descale=scales[1], v_descale=scales[2],
        return_attn_probs=True)
    assert out.dtype == torch.bfloat16
    for r in range(3):
        wide = [x[r].double() * s[r].double().repeat_interleave(x.shape[2] // 2)[:, None]
                for x, s in zip((q, k, v), scales)]
        agree(out[r], lse[r], *wide, causal=True, empty=-math.inf, compute=torch.bfloat16)


@pytest.mark.parametrize("splits", [2, 5])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_combine_merges_disjoint_keys(splits, dtype):
    q, k, v = normal(2, 3, 4, 32), normal(2, 40, 4, 32), normal(2, 40, 4, 32)
    parts = [
        hopper.flash_attn_func(q, k[:, i::splits], v[:, i::splits], return_attn_probs=True)
        for i in range(splits)
    ]
    partial = torch.stack([out for out, _ in parts])
    sums = torch.stack([lse.transpose(1, 2) for _, lse in parts])
    out, lse = hopper.flash_attn_combine(partial, sums, out_dtype=dtype)
    assert out.dtype == dtype and lse.shape == (2, 3, 4)
    for r in range(2):
        agree(out[r], lse[r].t(), q[r], k[r], v[r], empty=-math.inf)
    rows, row_sums = hopper.flash_attn_combine(partial.flatten(1, 2), sums.flatten(1, 2))
    again = torch.empty_like(out, dtype=torch.float32)
    assert hopper.flash_attn_combine(partial, sums, out=again)[0] is again
    assert torch.equal(rows.view_as(again), again) and torch.equal(row_sums.view_as(lse), lse)


def test_scheduler_metadata_is_a_placeholder():
    lengths = torch.tensor([3, 4], dtype=torch.int32)
    metadata = hopper.get_scheduler_metadata(2, 1, 8, 4, 2, 64, lengths, causal=True)
    assert metadata.dtype == torch.int32 and metadata.shape == (3,)

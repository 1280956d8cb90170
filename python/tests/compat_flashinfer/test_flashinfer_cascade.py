"""Merging of states, cascades, shared prefixes, mixed batches, prefill beside decode."""

import math

import pytest
import torch
from flashinfer_reference import (
    DEVICE,
    F32,
    Batch,
    Options,
    assert_close,
    smallest,
    unit,
    workspace,
)

import apus.compat.flashinfer as flashinfer

TYPES = [torch.float16, torch.bfloat16, torch.float32]


def states(rows, count, heads, dim, dtype):
    v = torch.randn(rows, count, heads, dim).to(dtype)
    s = 8 * torch.randn(rows, count, heads)
    s[torch.rand(rows, count, heads) < 0.3] = -math.inf
    return v, s


def merged(v, s):
    """The merge of `[rows, count, heads, dim]`, with its bounds."""
    v, s = v.to(torch.float64), s.to(torch.float64)
    top = s.amax(1, keepdim=True)
    weights = torch.exp2(s - torch.where(top.isinf(), 0.0, top))
    total = weights.sum(1)
    share = torch.where(total.unsqueeze(1) > 0, weights / total.unsqueeze(1), 0.0)
    o = (share.unsqueeze(-1) * v).sum(1)
    lse = torch.where(
        total > 0, torch.where(top.isinf(), 0.0, top).squeeze(1) + total.log2(), -math.inf
    )
    # Differences of s round at its size, so do 2^x and the sums.
    finite = torch.where(s.isinf(), 0.0, s).abs().amax(1)
    relative = (8 * finite + 8 * v.shape[1] + 16) * F32
    mass = (share.unsqueeze(-1) * v.abs()).sum(1)
    return o, mass * relative.unsqueeze(-1), lse, (4 * finite + 8 * v.shape[1] + 16) * F32


def check(found, v, s, dtype):
    o, bound, lse, lse_bound = merged(v, s)
    bound = bound + unit(dtype) * (o.abs() + bound) + smallest(dtype)
    assert found[0].dtype == dtype and found[1].dtype == torch.float32
    assert_close("o", found[0], o, bound)
    assert_close("lse", found[1], lse, lse_bound)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("dim", [64, 128, 72])
def test_merge_of_two_states(dtype, dim):
    v, s = states(17, 2, 3, dim, dtype)
    found = flashinfer.merge_state(v[:, 0], s[:, 0], v[:, 1], s[:, 1])
    check(found, v, s, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("is_masked", [False, True])
def test_merge_in_place(dtype, is_masked):
    v, s = states(17, 2, 3, 64, dtype)
    o, lse = v[:, 0].clone(), s[:, 0].clone()
    mask = torch.rand(17) < 0.5 if is_masked else None
    flashinfer.merge_state_in_place(o, lse, v[:, 1], s[:, 1], mask)
    rows = mask if is_masked else torch.ones(17, dtype=torch.bool)
    check((o[rows], lse[rows]), v[rows], s[rows], dtype)
    assert torch.equal(o[~rows], v[:, 0][~rows]) and torch.equal(lse[~rows], s[:, 0][~rows])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_merge_of_many_states(dtype, count):
    v, s = states(9, count, 3, 64, dtype)
    if count == 0:
        o, lse = flashinfer.merge_states(v, s)
        assert (o == 0).all() and (lse == -math.inf).all() and o.shape == (9, 3, 64)
        return
    check(flashinfer.merge_states(v, s), v, s, dtype)


def test_logits_of_other_types():
    v, s = states(9, 2, 3, 64, torch.float16)
    s = s.to(torch.bfloat16)
    found = flashinfer.merge_state(v[:, 0], s[:, 0], v[:, 1], s[:, 1])
    check(found, v, s, torch.float16)
    o, lse = v[:, 0].clone(), s[:, 0].clone()
    flashinfer.merge_state_in_place(o, lse, v[:, 1], s[:, 1])
    assert torch.equal(o, found[0]) and torch.equal(lse, found[1].to(torch.bfloat16))


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("causal", [False, True])
def test_two_levels_equal_one(layout, causal):
    # Requests share a prefix of two pages; their own pages follow.
    whole = Batch([2, 3], [32 + 21, 32 + 9], layout=layout)
    whole.k[53:85], whole.v[53:85] = whole.k[:32], whole.v[:32]
    whole._page()
    indptr, indices, last = whole.lists
    shared = indices[:2]
    own = torch.cat((indices[2:4], indices[6:7]))
    wrapper = flashinfer.MultiLevelCascadeAttentionWrapper(2, workspace(), layout)
    wrapper.plan(
        [torch.tensor([0, 5]), whole.qo_indptr], [torch.tensor([0, 2]), torch.tensor([0, 2, 3])],
        [shared, own], [torch.tensor([16]), torch.tensor([5, 9])], 4, 2, 64, 16, causal=causal,
        q_data_type=torch.float16,
    )
    o, bound, _, _ = whole.expect(Options(causal=causal))
    # Each level's o is rounded to f16 before it is merged: twice as much at most of a value of v.
    greatest = whole.v.abs().max().to(torch.float64)
    found = wrapper.run(whole.q, whole.pair)
    assert_close("o", found, o, bound + 2 * unit(torch.float16) * greatest)
    assert torch.equal(wrapper.forward(whole.q, whole.combined), found)
    wrapper.end_forward()


def test_cascades_with_buffers_of_graphs():
    batch = Batch([2, 3], [20, 33])
    rows = [torch.tensor([0, 5], dtype=torch.int32), torch.zeros(3, dtype=torch.int32)]
    pages = [torch.zeros(2, dtype=torch.int32), torch.zeros(3, dtype=torch.int32)]
    indices = [torch.zeros(9, dtype=torch.int32) for _ in range(2)]
    last = [torch.zeros(n, dtype=torch.int32) for n in (1, 2)]
    wrapper = flashinfer.MultiLevelCascadeAttentionWrapper(
        2, workspace(), "NHD", True, rows, pages, indices, last
    )
    assert wrapper.is_cuda_graph_enabled
    nothing = torch.tensor([0, 0], dtype=torch.int32)
    wrapper.plan(
        [rows[0].clone(), batch.qo_indptr], [nothing, batch.page_indptr],
        [torch.zeros(0, dtype=torch.int32), batch.page_indices],
        [torch.tensor([0], dtype=torch.int32), batch.last_page_len], 4, 2, 64, 16,
    )
    batch.check(wrapper.run(batch.q, batch.pair), Options())
    with pytest.raises(ValueError, match="2 tensors"):
        flashinfer.MultiLevelCascadeAttentionWrapper(2, workspace(), "NHD", True, rows[:1])
    with pytest.raises(ValueError, match="2 levels"):
        wrapper.plan(rows[:1], pages, indices, last, 4, 2, 64, 16)


@pytest.mark.parametrize("layout", ["NHD", "HND"])
def test_shared_prefixes(layout):
    whole = Batch([1] * 2, [32 + 21, 32 + 9], layout=layout)
    whole.k[53:85], whole.v[53:85] = whole.k[:32], whole.v[:32]
    whole._page()
    own = torch.cat((whole.page_indices[2:4], whole.page_indices[6:7]))
    lists = (torch.tensor([0, 2, 3]), own, torch.tensor([5, 9]))
    prefix = [x[:32] for x in (whole.k, whole.v)]
    if layout == "HND":
        prefix = [x.transpose(0, 1) for x in prefix]
    decode = flashinfer.BatchDecodeWithSharedPrefixPagedKVCacheWrapper(workspace(), layout)
    decode.begin_forward(*lists, 4, 2, 64, 16)
    prefill = flashinfer.BatchPrefillWithSharedPrefixPagedKVCacheWrapper(workspace(), layout)
    prefill.begin_forward(whole.qo_indptr, *lists, 4, 2, 64, 16)
    o, bound, _, _ = whole.expect(Options())
    bound = bound + 2 * unit(torch.float16) * whole.v.abs().max().to(torch.float64)
    found = decode.forward(whole.q, *prefix, whole.pair)
    assert_close("o", found, o, bound)
    assert torch.equal(prefill.forward(whole.q, *prefix, whole.pair, causal=True), found)
    decode.end_forward()
    prefill.end_forward()


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("q_dtype, kv_dtype", [
    (torch.bfloat16, torch.bfloat16), (torch.float16, torch.float16),
    (torch.bfloat16, torch.float8_e4m3fn)])
def test_mixed_batches(layout, q_dtype, kv_dtype):
    batch = Batch(
        [5, 1, 0, 1], [9, 40, 4, 0], layout=layout, q_dtype=q_dtype, kv_dtype=kv_dtype
    )
    wrapper = flashinfer.BatchAttention(layout, DEVICE)
    indptr, indices, _ = batch.lists
    wrapper.plan(
        batch.qo_indptr, indptr, indices, torch.tensor(batch.kv_lengths), 4, 2, 64, 64, 16,
        causal=True, logits_soft_cap=3.0, q_data_type=q_dtype, kv_data_type=kv_dtype,
    )
    result = wrapper.run(batch.q, batch.combined, k_scale=0.5, v_scale=2.0)
    batch.check(result, Options(causal=True, k_scale=0.5, v_scale=2.0, soft_cap=3.0))
    result = wrapper.run(batch.q, batch.pair, logits_soft_cap=2.0)
    batch.check(result, Options(causal=True, soft_cap=2.0))


def test_mixed_batches_use_as_many_pages_as_their_lengths_need():
    batch = Batch([1, 1], [20, 33])
    indptr, indices, _ = batch.lists
    wrapper = flashinfer.BatchAttention("NHD", DEVICE)
    wrapper.plan(
        batch.qo_indptr, indptr, indices, torch.tensor([16, 3]), 4, 2, 64, 64, 16,
        q_data_type=torch.float16, kv_data_type=torch.float16,
    )
    short = Batch([1, 1], [16, 3])
    short.q = batch.q
    short.k = torch.cat((batch.k[:16], batch.k[20:23]))
    short.v = torch.cat((batch.v[:16], batch.v[20:23]))
    short.check(wrapper.run(batch.q, batch.pair), Options())
    with pytest.raises(ValueError, match="logits_soft_cap must have been given"):
        wrapper.run(batch.q, batch.pair, logits_soft_cap=2.0)


def test_attention_with_sinks():
    batch = Batch([5, 1], [9, 40], q_dtype=torch.bfloat16)
    wrapper = flashinfer.BatchAttentionWithAttentionSinkWrapper(
        workspace(), "NHD", q_data_type=torch.bfloat16, kv_data_type=torch.bfloat16,
        head_dim_qk=64, head_dim_vo=64, window_left=5,
    )
    wrapper.plan(
        batch.qo_indptr, *batch.lists, 4, 2, 64, 16, causal=True, window_left=5,
        q_data_type=torch.bfloat16,
    )
    sink = torch.randn(4)
    expected = Options(causal=True, window_left=5, sinks=sink, sm_scale=0.2)
    batch.check(wrapper.run(batch.q, batch.combined, sink, 0.2, return_lse=True), expected)
    with pytest.raises(ValueError, match="the sink"):
        wrapper.run(batch.q, batch.combined)


def test_a_prefill_beside_decodes():
    prefill, decode = Batch([7], [11]), Batch([1] * 2, [20, 33])
    wrapper = flashinfer.PODWithPagedKVCacheWrapper(workspace())
    wrapper.plan(*decode.lists, 4, 2, 64, 16, window_left=4)
    first, second = wrapper.run(
        prefill.q, prefill.k, prefill.v, decode.q, decode.pair, causal_p=True, k_scale=0.5
    )
    prefill.check(first, Options(causal=True))
    decode.check(second, Options(window_left=4, k_scale=0.5))


def test_prefills_beside_decodes():
    prefill, decode = Batch([7, 2], [11, 30]), Batch([1] * 2, [20, 33])
    wrapper = flashinfer.BatchPODWithPagedKVCacheWrapper(workspace())
    wrapper.plan(prefill.qo_indptr, *prefill.lists, decode.qo_indptr, *decode.lists, 4, 2, 64, 16)
    first, second = wrapper.run(
        prefill.q, prefill.pair, decode.q, decode.pair, causal_p=True, return_lse=True
    )
    prefill.check(first, Options(causal=True))
    decode.check(second, Options())
    masks = [torch.rand(7, 11) < 0.5, torch.rand(2, 30) < 0.5]
    first, second = wrapper.run(
        prefill.q, prefill.pair, decode.q, decode.pair,
        custom_mask_p=torch.cat([m.flatten() for m in masks]),
    )
    prefill.check(first, Options(), masks=masks)
    decode.check(second, Options())

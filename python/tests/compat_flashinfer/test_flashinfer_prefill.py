"""Prefill: single, paged, ragged."""

import functools
import math

import pytest
import torch
from flashinfer_reference import Batch, Options, workspace

import apus.compat.flashinfer as flashinfer

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
TYPES = [
    (torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16),
    (torch.float32, torch.float32),
    (torch.float16, E4M3), (torch.bfloat16, E4M3), (torch.bfloat16, E5M2),
]
MODES = [
    {}, {"causal": True}, {"causal": True, "window_left": 3}, {"window_left": 0},
    {"logits_soft_cap": 2.5, "causal": True}, {"sm_scale": 0.3},
    {"pos_encoding_mode": "ROPE_LLAMA", "causal": True},
    {"pos_encoding_mode": "ROPE_LLAMA", "rope_scale": 4.0, "rope_theta": 5e5},
    {"pos_encoding_mode": "ALIBI", "causal": True}, {"pos_encoding_mode": "ALIBI"},
    {"use_fp16_qk_reduction": True},
]
LENGTHS = ([5, 0, 1, 17, 3], [9, 4, 1, 33, 0])


def options(arguments, **more):
    names = {"pos_encoding_mode": "mode", "logits_soft_cap": "soft_cap"}
    kept = {k: v for k, v in arguments.items() if k != "use_fp16_qk_reduction"}
    return Options(**{names.get(k, k): v for k, v in kept.items()}, **more)


def paged(batch, **arguments):
    wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace(), batch.layout)
    wrapper.plan(
        batch.qo_indptr, *batch.lists, batch.qo_heads, batch.kv_heads, batch.dim, batch.page_size,
        head_dim_vo=batch.dim_vo, q_data_type=batch.q_dtype, kv_data_type=batch.kv_dtype,
        **arguments,
    )
    return functools.partial(wrapper.run, batch.q, batch.pair), wrapper


def ragged(batch, **arguments):
    wrapper = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(workspace(), batch.layout)
    wrapper.plan(
        batch.qo_indptr, batch.kv_indptr, batch.qo_heads, batch.kv_heads, batch.dim,
        head_dim_vo=batch.dim_vo, q_data_type=batch.q_dtype, kv_data_type=batch.kv_dtype,
        **arguments,
    )
    return functools.partial(wrapper.run, batch.q, *batch.ragged), wrapper


FORMS = {"paged": paged, "ragged": ragged}


def masks_of(batch, density=0.6):
    return [
        torch.rand(n, m) < density for n, m in zip(batch.qo_lengths, batch.kv_lengths)
    ]


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("arguments", MODES, ids=str)
def test_single_prefill_in_every_mode(layout, arguments):
    batch = Batch([9], [37], layout=layout)
    result = flashinfer.single_prefill_with_kv_cache_return_lse(
        batch.q, *batch.ragged, kv_layout=layout, **arguments
    )
    batch.check(result, options(arguments))
    alone = flashinfer.single_prefill_with_kv_cache(
        batch.q, *batch.ragged, kv_layout=layout, **arguments
    )
    assert torch.equal(alone, result[0])


@pytest.mark.parametrize("q_dtype, kv_dtype", TYPES)
@pytest.mark.parametrize("dims", [(64, 64), (192, 128), (72, 72), (256, 64)])
def test_single_prefill_of_every_type_and_width(q_dtype, kv_dtype, dims):
    batch = Batch([5], [9], dim=dims[0], dim_vo=dims[1], q_dtype=q_dtype, kv_dtype=kv_dtype)
    result = flashinfer.single_prefill_with_kv_cache(
        batch.q, *batch.ragged, causal=True, return_lse=True
    )
    batch.check(result, Options(causal=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("arguments", MODES, ids=str)
def test_batches_in_every_mode(form, layout, arguments):
    batch = Batch(*LENGTHS, layout=layout, qo_heads=6, kv_heads=2)
    run, _ = FORMS[form](batch, **arguments)
    batch.check(run(return_lse=True), options(arguments))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("page_size", [1, 16])
@pytest.mark.parametrize("q_dtype, kv_dtype", TYPES)
def test_batches_of_every_type(form, page_size, q_dtype, kv_dtype):
    batch = Batch(*LENGTHS, page_size=page_size, q_dtype=q_dtype, kv_dtype=kv_dtype)
    run, wrapper = FORMS[form](batch, causal=True)
    batch.check(run(return_lse=True), Options(causal=True))
    if form == "paged":
        assert torch.equal(wrapper.run(batch.q, batch.combined), run())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("more", [{}, {"causal": True}, {"window_left": 2, "causal": True}])
def test_custom_masks_replace_causal_and_keep_the_window(form, is_packed, more):
    batch = Batch(*LENGTHS)
    masks = masks_of(batch)
    flat = torch.cat([m.flatten() for m in masks])
    if is_packed:
        lengths = torch.tensor([m.numel() for m in masks])
        indptr = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
        packed, _ = flashinfer.segment_packbits(flat, indptr, bitorder="little")
        mask = {"packed_custom_mask": packed, "custom_mask": torch.zeros(1, dtype=torch.bool)}
    else:
        mask = {"custom_mask": flat}
    run, _ = FORMS[form](batch, **mask, **more)
    batch.check(
        run(return_lse=True), Options(window_left=more.get("window_left", -1)), masks=masks
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("window", [-1, 4])
def test_items_behind_a_prefix(form, window):
    # Prefix, then items between delimiters; the second request asks for its last four tokens alone.
    places = [[0, 1, 2, 3, 0, 1, 2, 0], [0, 1, 0, 1, 2, 0]]
    prefixes = [5, 3]
    lengths = [n + len(p) for n, p in zip(prefixes, places)]
    batch = Batch([lengths[0], 4], lengths)
    width = max(map(len, places)) + 1
    table = torch.zeros(2, width, dtype=torch.uint16)
    masks = []
    for r, (prefix, items) in enumerate(zip(prefixes, places)):
        table[r, : len(items)] = torch.tensor(items, dtype=torch.uint16)
        mask = torch.zeros(lengths[r], lengths[r], dtype=torch.bool)
        for i in range(lengths[r]):
            if i < prefix:
                mask[i, : i + 1] = True
                continue
            mask[i, :prefix] = True
            mask[i, i + 1 - items[i - prefix] : i + 1] = True
        masks.append(mask[-batch.qo_lengths[r] :])
    run, _ = FORMS[form](
        batch, causal=True, window_left=window, prefix_len_ptr=torch.tensor(prefixes).int(),
        token_pos_in_items_ptr=table.flatten(), token_pos_in_items_len=width,
        max_item_len_ptr=torch.tensor([3, 2]),
    )
    batch.check(run(return_lse=True), Options(window_left=window), masks=masks)


@pytest.mark.parametrize("is_packed", [False, True])
def test_custom_masks_of_one_request(is_packed):
    batch = Batch([7], [11])
    mask = torch.rand(7, 11) < 0.4
    if is_packed:
        given = {"packed_custom_mask": flashinfer.packbits(mask, "little")}
    else:
        given = {"custom_mask": mask}
    result = flashinfer.single_prefill_with_kv_cache(
        batch.q, batch.k, batch.v, causal=True, return_lse=True, **given
    )
    batch.check(result, Options(), masks=[mask])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("base", ["log2", "ln"])
@pytest.mark.parametrize("layout", ["NH", "HN"])
def test_bases_and_orders_of_lse(form, base, layout):
    batch = Batch(*LENGTHS)
    run, _ = FORMS[form](batch)
    found = run(return_lse=True, lse_base=base, lse_layout=layout)
    states = found[1] if layout == "NH" else found[1].T
    assert found[1].is_contiguous()
    factor = 1.0 if base == "log2" else math.log2(math.e)
    batch.check((found[0], states * factor), Options())
    given = torch.empty_like(found[1])
    again = run(return_lse=True, lse_base=base, lse_layout=layout, lse=given)
    assert again[1] is given and torch.equal(given, found[1])


@pytest.mark.parametrize("form", FORMS)
def test_scales_and_outputs_of_the_caller(form):
    batch = Batch(*LENGTHS, kv_dtype=E4M3)
    run, _ = FORMS[form](batch)
    scales = {"q_scale": 0.7, "k_scale": torch.tensor(1.5), "v_scale": torch.tensor([0.3, 2.0])}
    out = torch.empty_like(batch.q)
    result = run(**scales, out=out, return_lse=True)
    assert result[0] is out
    batch.check(result, Options(**scales))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [E4M3, E5M2])
def test_queries_of_eight_bits(form, kind):
    batch = Batch(*LENGTHS, q_dtype=kind, kv_dtype=kind)
    scales = [torch.rand(4) + 0.5, torch.rand(2) + 0.5, torch.rand(2) + 0.5]
    run, _ = FORMS[form](batch, o_data_type=torch.bfloat16)
    named = dict(zip(("q_scale", "k_scale", "v_scale"), scales))
    batch.check(run(*scales, return_lse=True), Options(**named), torch.bfloat16)
    if form == "ragged":
        # 8 bits are no type of o here: bf16 takes their place.
        assert ragged(batch)[0]().dtype == torch.bfloat16


def test_one_request_of_eight_bits():
    batch = Batch([4], [9], q_dtype=E4M3, kv_dtype=E4M3)
    scales = [torch.rand(4) + 0.5, torch.rand(2) + 0.5, torch.rand(2) + 0.5]
    o = flashinfer.single_prefill_with_kv_cache(
        batch.q, batch.k, batch.v, *scales, o_dtype=torch.bfloat16, k_scale=1.5
    )
    named = {"q_scale": scales[0], "k_scale": 1.5 * scales[1], "v_scale": scales[2]}
    batch.check(o, Options(**named), torch.bfloat16)


def test_sinks_and_the_scale_of_o():
    batch = Batch(*LENGTHS)
    sinks = torch.randn(4)
    run, _ = paged(batch)
    batch.check(run(return_lse=True, sinks=sinks), Options(sinks=sinks))
    run, _ = ragged(batch)
    batch.check(run(o_scale=2.0), Options(o_scale=2.0))


@pytest.mark.parametrize("arguments", [m for m in MODES if "fp16" not in str(m)], ids=str)
def test_forward_sets_the_mode_anew(arguments):
    batch = Batch(*LENGTHS)
    for run, wrapper in (paged(batch), ragged(batch)):
        operands = run.args
        batch.check(wrapper.forward(*operands, **arguments), options(arguments))
        batch.check(wrapper.forward_return_lse(*operands, **arguments), options(arguments))
        batch.check(wrapper.run_return_lse(*operands), Options())
        wrapper.end_forward()


def test_batches_of_one_query_are_decode():
    batch = Batch([1] * 4, [16, 0, 1, 35])
    run, _ = paged(batch, causal=True)
    decode = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    decode.plan(*batch.lists, 4, 2, 64, 16)
    assert torch.equal(run(), decode.run(batch.q, batch.pair))


def test_lists_of_other_kinds():
    batch = Batch(*LENGTHS)
    wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace())
    expected = paged(batch)[0]()
    for convert in (lambda x: x.to(torch.int64), lambda x: x.cpu().numpy(), lambda x: x.tolist()):
        lists = [convert(x) for x in (batch.qo_indptr, *batch.lists)]
        wrapper.plan(*lists, 4, 2, 64, 16)
        assert torch.equal(wrapper.run(batch.q, batch.pair), expected)


def test_lengths_of_workspaces():
    batch = Batch(*LENGTHS)
    _, wrapper = paged(batch)
    size = wrapper.workspace_size(batch.qo_indptr, *batch.lists, 4, 2, 64, 16, causal=True)
    assert len(size) == 2 and min(size) >= 0
    batch.check(wrapper.run(batch.q, batch.pair), Options())


def test_buffers_of_graphs_take_the_lists():
    batch = Batch([2, 3], [20, 33])
    buffers = [torch.zeros(n, dtype=torch.int32) for n in (3, 3, 20, 2)]
    wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(
        workspace(), "NHD", True, *buffers, backend="fa2"
    )
    assert wrapper.is_cuda_graph_enabled
    wrapper.plan(batch.qo_indptr, *batch.lists, 4, 2, 64, 16)
    batch.check(wrapper.run(batch.q, batch.pair), Options())
    for buffer, values in zip(buffers, (batch.qo_indptr, *batch.lists)):
        assert torch.equal(buffer[: len(values)], values)
    other = Batch([2], [20])
    with pytest.raises(ValueError, match="batch_size must stay 2"):
        wrapper.plan(other.qo_indptr, *other.lists, 4, 2, 64, 16)
    with pytest.raises(ValueError, match="custom_mask_buf"):
        wrapper.plan(
            batch.qo_indptr, *batch.lists, 4, 2, 64, 16,
            custom_mask=torch.ones(2 * 20 + 3 * 33, dtype=torch.bool),
        )
    ragged_wrapper = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(
        workspace(), "NHD", True, buffers[0], buffers[1]
    )
    ragged_wrapper.plan(batch.qo_indptr, batch.kv_indptr, 4, 2, 64)
    batch.check(ragged_wrapper.run(batch.q, *batch.ragged), Options())
    assert torch.equal(buffers[1], batch.kv_indptr)

"""Decode: single, paged, padded."""

import functools

import pytest
import torch
from flashinfer_reference import DEVICE, Batch, Options, assert_close, attention, workspace

import apus.compat.flashinfer as flashinfer

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
TYPES = [
    (torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16),
    (torch.float32, torch.float32),
    (torch.float16, E4M3), (torch.bfloat16, E4M3), (torch.bfloat16, E5M2),
]
MODES = [
    {}, {"window_left": 6}, {"window_left": 0}, {"logits_soft_cap": 2.5}, {"sm_scale": 0.3},
    {"pos_encoding_mode": "ROPE_LLAMA"},
    {"pos_encoding_mode": "ROPE_LLAMA", "rope_scale": 4.0, "rope_theta": 5e5},
    {"pos_encoding_mode": "ALIBI"}, {"pos_encoding_mode": "ALIBI", "window_left": 6},
    {"q_scale": 0.5, "k_scale": 1.75, "v_scale": 0.3},
    {"pos_encoding_mode": "ROPE_LLAMA", "logits_soft_cap": 2.5, "window_left": 9},
]


def options(arguments, **more):
    names = {"pos_encoding_mode": "mode", "logits_soft_cap": "soft_cap"}
    return Options(**{names.get(k, k): v for k, v in arguments.items()}, **more)


def split(arguments):
    """Options of plan and scales of run."""
    run = {k: v for k, v in arguments.items() if k.endswith("_scale") and k[0] in "qkv"}
    return {k: v for k, v in arguments.items() if k not in run}, run


def planned(batch, use_tensor_cores=False, **arguments):
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
        workspace(), batch.layout, use_tensor_cores=use_tensor_cores
    )
    wrapper.plan(
        *batch.lists, batch.qo_heads, batch.kv_heads, batch.dim, batch.page_size,
        q_data_type=batch.q_dtype, kv_data_type=batch.kv_dtype, **arguments,
    )
    return wrapper


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("arguments", MODES, ids=str)
def test_single_decode_in_every_mode(layout, arguments):
    batch = Batch([1], [37], layout=layout)
    result = flashinfer.single_decode_with_kv_cache(
        batch.q[0], *batch.ragged, layout, **arguments, return_lse=True
    )
    batch.check(tuple(x.unsqueeze(0) for x in result), options(arguments))


@pytest.mark.parametrize("q_dtype, kv_dtype", TYPES)
@pytest.mark.parametrize("heads", [(1, 1), (6, 2), (8, 1), (7, 7)])
def test_single_decode_of_every_type_and_group(q_dtype, kv_dtype, heads):
    batch = Batch(
        [1], [21], qo_heads=heads[0], kv_heads=heads[1], q_dtype=q_dtype, kv_dtype=kv_dtype
    )
    result = flashinfer.single_decode_with_kv_cache(batch.q[0], *batch.ragged, return_lse=True)
    batch.check(tuple(x.unsqueeze(0) for x in result), Options())
    alone = flashinfer.single_decode_with_kv_cache(
        batch.q[0], *batch.ragged, "NHD", "NONE", True
    )
    assert torch.equal(alone, result[0])


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("page_size", [1, 5, 16])
@pytest.mark.parametrize("is_pair", [True, False])
@pytest.mark.parametrize("q_dtype, kv_dtype", TYPES)
def test_paged_decode_of_every_layout_and_type(layout, page_size, is_pair, q_dtype, kv_dtype):
    batch = Batch(
        [1] * 5, [16, 0, 1, 35, 15], layout=layout, page_size=page_size, q_dtype=q_dtype,
        kv_dtype=kv_dtype,
    )
    cache = batch.pair if is_pair else batch.combined
    result = planned(batch).run(batch.q, cache, return_lse=True)
    batch.check(result, Options())


@pytest.mark.parametrize("arguments", MODES, ids=str)
@pytest.mark.parametrize("use_tensor_cores", [False, True])
def test_paged_decode_in_every_mode(arguments, use_tensor_cores):
    batch = Batch([1] * 3, [40, 0, 13], qo_heads=6, kv_heads=2)
    plan, run = split(arguments)
    wrapper = planned(batch, use_tensor_cores, **plan)
    assert wrapper.use_tensor_cores is use_tensor_cores
    is_stated = "tensor cores always" in wrapper._planned().plan.describe()
    # Queries of 8 bits have no tensor-core decode.
    assert is_stated is (use_tensor_cores and batch.q_dtype.itemsize == 2)
    result = wrapper.run_return_lse(batch.q, batch.combined, **run)
    batch.check(result, options(arguments))


@pytest.mark.parametrize("arguments", MODES, ids=str)
def test_forward_sets_the_mode_anew(arguments):
    batch = Batch([1] * 2, [20, 33])
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    wrapper.begin_forward(
        *batch.lists, batch.qo_heads, batch.kv_heads, batch.dim, batch.page_size
    )
    expected = options(arguments)
    batch.check(wrapper.forward(batch.q, batch.combined, **arguments), expected)
    batch.check(wrapper.forward_return_lse(batch.q, batch.combined, **arguments), expected)
    batch.check(wrapper.run(batch.q, batch.combined), Options())
    wrapper.end_forward()


def test_pages_of_one_token_may_leave_out_their_dimension():
    for layout in ("NHD", "HND"):
        batch = Batch([1] * 2, [7, 4], page_size=1, layout=layout)
        wrapper = planned(batch)
        axis = 1 if layout == "NHD" else 2
        expected = wrapper.run(batch.q, batch.pair)
        flat = tuple(x.squeeze(axis) for x in batch.pair)
        assert torch.equal(wrapper.run(batch.q, flat), expected)
        assert torch.equal(wrapper.run(batch.q, batch.combined.squeeze(axis + 1)), expected)


def test_strides_of_caches_are_free():
    batch = Batch([1] * 2, [30, 9])
    wide = torch.zeros(batch.k_pages.shape[0], 3, 2 * 16, 2, 64, dtype=torch.float16)
    k, v = wide[:, 0, ::2], wide[:, 2, 1::2]
    k.copy_(batch.k_pages)
    v.copy_(batch.v_pages)
    wrapper = planned(batch)
    assert torch.equal(wrapper.run(batch.q, (k, v)), wrapper.run(batch.q, batch.pair))


@pytest.mark.parametrize("count", [1, 3])
def test_several_queries_per_request_are_causal(count):
    batch = Batch([count] * 3, [20, 5, 33])
    wrapper = planned(batch, True, q_len_per_req=count)
    result = wrapper.run(batch.q, batch.combined, return_lse=True)
    batch.check(result, Options(causal=True))


def test_sinks_and_outputs_of_the_caller():
    batch = Batch([1] * 3, [20, 0, 33])
    sinks = torch.randn(batch.qo_heads)
    out = torch.empty_like(batch.q)
    lse = torch.empty(3, batch.qo_heads)
    wrapper = planned(batch)
    result = wrapper.run(
        batch.q, batch.combined, out=out, lse=lse, return_lse=True, sinks=sinks, enable_pdl=True,
        window_left=-1,
    )
    assert result[0] is out and result[1] is lse
    batch.check(result, Options(sinks=sinks))


@pytest.mark.parametrize("kind", ["heads", "one", "whole"])
def test_scales_as_tensors(kind):
    batch = Batch([1] * 2, [20, 33], kv_dtype=E4M3)
    if kind == "heads":
        scales = {
            "q_scale": torch.rand(4) + 0.5, "k_scale": torch.rand(2) + 0.5,
            "v_scale": torch.rand(2) + 0.5,
        }
    else:
        shape = (1,) if kind == "one" else ()
        scales = {name: torch.rand(shape) + 0.5 for name in ("q_scale", "k_scale", "v_scale")}
    result = planned(batch).run(batch.q, batch.combined, **scales, return_lse=True)
    batch.check(result, Options(**scales))


@pytest.mark.parametrize("kind", [E4M3, E5M2])
def test_queries_of_eight_bits_take_scales_by_position(kind):
    batch = Batch([1] * 2, [20, 33], q_dtype=kind, kv_dtype=kind)
    scales = [torch.rand(4) + 0.5, torch.rand(2) + 0.5, torch.rand(2) + 0.5]
    wrapper = planned(batch, True, o_data_type="bfloat16")
    result = wrapper.run(batch.q, batch.combined, *scales, return_lse=True)
    q_scale, k_scale, v_scale = scales
    batch.check(
        result, Options(q_scale=q_scale, k_scale=k_scale, v_scale=v_scale), torch.bfloat16
    )


def test_legacy_positional_options_of_plan():
    batch = Batch([1] * 2, [20, 33], q_dtype=torch.bfloat16)
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    wrapper.plan(
        *batch.lists, batch.qo_heads, batch.kv_heads, batch.dim, batch.page_size, "NONE", 4, 2.0,
        torch.bfloat16, "bfloat16",
    )
    batch.check(wrapper.run(batch.q, batch.combined), Options(window_left=4, soft_cap=2.0))
    with pytest.raises(TypeError, match="window_left"):
        wrapper.plan(*batch.lists, 4, 2, 64, 16, "NONE", 4, window_left=3)


def test_a_plan_by_data_type_alone():
    batch = Batch([1] * 2, [20, 33], q_dtype=torch.bfloat16)
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    wrapper.plan(*batch.lists, 4, 2, 64, 16, q_data_type=None, data_type=torch.bfloat16)
    batch.check(wrapper.run(batch.q, batch.combined), Options())


def test_fast_decode_plan_is_plan():
    batch = Batch([1] * 2, [20, 33])
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    wrapper.begin_forward = functools.partial(flashinfer.fast_decode_plan, wrapper)
    indptr, indices, last = batch.lists
    wrapper.begin_forward(
        torch.full_like(indptr, -7), indices, last, 4, 2, 64, 16, data_type=torch.float16,
        q_data_type=torch.float16, non_blocking=True, global_override_indptr_cpu=indptr,
    )
    batch.check(wrapper.run(batch.q, batch.combined), Options())


def test_indices_behind_the_last_page_do_not_count():
    batch = Batch([1] * 2, [20, 33])
    indptr, indices, last = batch.lists
    longer = torch.cat((torch.tensor([9999], dtype=torch.int32), indices, torch.full((5,), 9999)))
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    wrapper.plan(indptr + 1, longer.to(torch.int32), last, 4, 2, 64, 16)
    batch.check(wrapper.run(batch.q, batch.combined), Options())


def test_workspaces_of_any_size():
    batch = Batch([1], [5000], qo_heads=1, kv_heads=1)
    sizes = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace()).workspace_size(
        *batch.lists, 1, 1, 64, 16
    )
    assert len(sizes) == 2 and sizes[0] >= 0 and sizes[1] == 0
    results = []
    for size in (0, max(sizes[0], 16), sizes[0] + 64):
        wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace(size))
        wrapper.plan(*batch.lists, 1, 1, 64, 16)
        results.append(wrapper.run(batch.q, batch.combined))
    wrapper.reset_workspace_buffer(workspace(1 << 16), workspace(8))
    results.append(wrapper.run(batch.q, batch.combined))
    assert all(torch.equal(r, results[0]) for r in results)
    batch.check(results[0], Options())


def test_empty_batches():
    batch = Batch([], [])
    assert planned(batch).run(batch.q, batch.combined).shape == (0, 4, 64)


def test_split_sizes_give_the_same_result_within_the_precision():
    batch = Batch([1] * 2, [200, 333])
    for more in ({"fixed_split_size": 2}, {"disable_split_kv": True}):
        batch.check(planned(batch, True, **more).run(batch.q, batch.combined), Options())


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("arguments", [m for m in MODES if "window_left" not in m], ids=str)
def test_padded_decode(layout, arguments):
    q = torch.randn(3, 6, 64).to(torch.float16)
    k, v = (torch.randn(3, 19, 2, 64).to(torch.float16) for _ in range(2))
    caches = (k, v) if layout == "NHD" else (k.transpose(1, 2), v.transpose(1, 2))
    o, lse = flashinfer.batch_decode_with_padded_kv_cache_return_lse(
        q, *caches, layout, **arguments
    )
    alone = flashinfer.batch_decode_with_padded_kv_cache(q, *caches, layout, **arguments)
    assert torch.equal(o, alone)
    for r in range(3):
        e = attention(q[r : r + 1], k[r], v[r], options(arguments), torch.float16)
        assert_close("o", o[r : r + 1], e[0], e[1])
        assert_close("lse", lse[r : r + 1], e[2], e[3])


def test_the_first_program_of_flashinfer():
    device = DEVICE
    q = torch.empty(16, 32, 128, device=device, dtype=torch.float16).normal_()
    k_padded = torch.randn(16, 1024, 32, 128, device=device).to(torch.float8_e4m3fn)
    v_padded = torch.randn(16, 1024, 32, 128, device=device).to(torch.float8_e4m3fn)
    output = flashinfer.batch_decode_with_padded_kv_cache(q, k_padded, v_padded, "NHD", "NONE")
    assert output.shape == (16, 32, 128) and output.dtype == torch.float16
    for r in (0, 15):
        e = attention(q[r : r + 1], k_padded[r], v_padded[r], Options(), torch.float16)
        assert_close("o", output[r : r + 1], e[0], e[1])


def test_padded_decode_of_eight_bit_queries_returns_f16():
    q, k, v = (torch.randn(2, n, 2, 64).to(E5M2) for n in (1, 9, 9))
    o = flashinfer.batch_decode_with_padded_kv_cache(q[:, 0], k, v, q_scale=0.5, v_scale=2.0)
    assert o.dtype == torch.float16
    for r in range(2):
        e = attention(q[r], k[r], v[r], Options(q_scale=0.5, v_scale=2.0), torch.float16)
        assert_close("o", o[r : r + 1], e[0], e[1])

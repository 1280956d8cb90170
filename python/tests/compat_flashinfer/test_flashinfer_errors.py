"""Messages for what is wrong or absent."""

import pytest
import torch
from flashinfer_reference import Batch, workspace

import apus.compat.flashinfer as flashinfer
from apus.compat.flashinfer import utils


def decode(**more):
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    batch = Batch([1] * 2, [20, 33])
    wrapper.plan(*batch.lists, 4, 2, 64, 16, **more)
    return batch, wrapper


def test_unknown_names_are_errors_of_both_kinds():
    q, k = torch.zeros(4, 64), torch.zeros(3, 2, 64)
    for kind in (ValueError, KeyError):
        with pytest.raises(kind) as raised:
            flashinfer.single_decode_with_kv_cache(q, k, k, "NDH")
        assert str(raised.value) == (
            "single_decode_with_kv_cache: kv_layout must be 'NHD' or 'HND'; found 'NDH'.")
        with pytest.raises(kind, match="pos_encoding_mode must be"):
            flashinfer.single_decode_with_kv_cache(q, k, k, "NHD", "ROPE")


def test_ranks_and_shapes():
    q, k = torch.zeros(4, 64), torch.zeros(3, 2, 64)
    with pytest.raises(ValueError, match="q must have 2 dimensions, k and v 3; found 3, 3 and 3"):
        flashinfer.single_decode_with_kv_cache(q.unsqueeze(0), k, k)
    with pytest.raises(ValueError, match="must have 3 dimensions; found 2, 3 and 3"):
        flashinfer.single_prefill_with_kv_cache(q, k, k)
    with pytest.raises(ValueError) as raised:
        flashinfer.single_decode_with_kv_cache(torch.zeros(3, 64), k, k)
    assert str(raised.value) == (
        "single_decode_with_kv_cache: num_qo_heads must be a multiple of num_kv_heads; found 3 and "
        "2.")
    with pytest.raises(ValueError, match="k_padded must hold 2 requests; found 3"):
        flashinfer.batch_decode_with_padded_kv_cache(
            torch.zeros(2, 4, 64), *[torch.zeros(3, 5, 2, 64)] * 2)
    batch, wrapper = decode()
    for cache, match in (
        (batch.combined[0], "paged_kv_cache must be"), (batch.pair[:1], "a tensor or a pair"),
        ((batch.k_pages[0, 0], batch.v_pages), "4 .or, page size 1, 3. dimensions"),
        ((batch.k_pages[..., :32], batch.v_pages), "32"),
    ):
        with pytest.raises(ValueError, match=match):
            wrapper.run(batch.q, cache)
    with pytest.raises(ValueError, match=r"2 · 1 rows \(batch_size · q_len_per_req\); found 1"):
        wrapper.run(batch.q[:1], batch.pair)


def test_causal_needs_as_many_keys_as_queries():
    q, k = torch.zeros(5, 2, 64), torch.zeros(4, 2, 64)
    with pytest.raises(ValueError, match="kv_len must be at least qo_len = 5 under causal; found"):
        flashinfer.single_prefill_with_kv_cache(q, k, k, causal=True)


def test_types_of_plan_and_run():
    batch, wrapper = decode()
    with pytest.raises(ValueError, match="q must have the q_data_type of plan"):
        wrapper.run(batch.q.to(torch.bfloat16), batch.pair)
    with pytest.raises(ValueError, match="k must have the kv_data_type of plan"):
        wrapper.run(batch.q, tuple(x.to(torch.bfloat16) for x in batch.pair))
    with pytest.raises(ValueError, match="out must have the o_data_type of the plan"):
        wrapper.run(batch.q, batch.pair, out=torch.empty(2, 4, 64))
    with pytest.raises(ValueError, match="lse must have the shape"):
        wrapper.run(batch.q, batch.pair, lse=torch.empty(4, 2), return_lse=True)
    with pytest.raises(ValueError, match="window_left must be that of plan"):
        wrapper.run(batch.q, batch.pair, window_left=3)
    with pytest.raises(NotImplementedError, match="q_data_type of torch.float64 is not supported"):
        decode(q_data_type="float64")
    with pytest.raises(ValueError, match="dtype must name"):
        decode(q_data_type="half float")
    with pytest.raises(TypeError, match="dtype must be"):
        decode(q_data_type=16)


def test_lists_of_plan():
    batch = Batch([1] * 2, [20, 33])
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    indptr, indices, last = batch.lists
    shape = (4, 2, 64, 16)
    for lists, match in (
        ((indptr[:0], indices, last), r"batch_size \+ 1"), ((-indptr, indices, last), "fall"),
        ((indptr, indices[:3], last), "end within"), ((indptr, indices, last[:1]), "2 values"),
        ((indptr, indices, last + 16), "1…16"), ((indptr, indices, last.float()), "integers"),
        ((indptr.view(1, 3), indices, last), "one dimension"),
    ):
        with pytest.raises(ValueError, match=match):
            wrapper.plan(*lists, *shape)
    with pytest.raises(ValueError, match="page_size must be at least 1"):
        wrapper.plan(*batch.lists, 4, 2, 64, 0)
    with pytest.raises(ValueError, match=r"plan\(\) must come before run\(\)"):
        wrapper.run(batch.q, batch.pair)
    with pytest.raises(ValueError, match="q_len_per_req must be at least 1"):
        wrapper.plan(*batch.lists, *shape, q_len_per_req=0)
    with pytest.raises(ValueError, match="every request must hold q_len_per_req = 21 tokens"):
        wrapper.plan(*batch.lists, *shape, q_len_per_req=21)
    prefill = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace())
    with pytest.raises(ValueError, match=r"qo_indptr must hold 3 offsets"):
        prefill.plan(torch.tensor([0, 1]), *batch.lists, *shape)
    with pytest.raises(ValueError, match="custom_mask must hold 53 flags"):
        prefill.plan(batch.qo_indptr, *batch.lists, *shape, custom_mask=torch.ones(52).bool())
    with pytest.raises(ValueError, match="custom_mask must be of bool"):
        prefill.plan(batch.qo_indptr, *batch.lists, *shape, custom_mask=torch.ones(53))
    items = {"prefix_len_ptr": torch.tensor([2, 3]), "token_pos_in_items_len": 30}
    places = torch.zeros(60, dtype=torch.int32)
    for more, match in (
        ({**items, "token_pos_in_items_ptr": places[:59]}, "batch_size · token_pos_in_items_len"),
        ({**items, "token_pos_in_items_ptr": places, "token_pos_in_items_len": 29}, "at least 30"),
        ({"prefix_len_ptr": torch.tensor([2]), "token_pos_in_items_ptr": places}, "2 lengths"),
    ):
        with pytest.raises(ValueError, match=match):
            prefill.plan(batch.qo_indptr, *batch.lists, *shape, **more)
    with pytest.raises(ValueError, match="packed_custom_mask must hold 8 bytes"):
        prefill.plan(
            batch.qo_indptr, *batch.lists, *shape,
            packed_custom_mask=torch.ones(7, dtype=torch.uint8))


def test_a_plan_that_fails_leaves_the_last_one():
    batch, wrapper = decode()
    expected = wrapper.run(batch.q, batch.pair)
    with pytest.raises(ValueError):
        wrapper.plan(*batch.lists, 5, 2, 64, 16)
    assert torch.equal(wrapper.run(batch.q, batch.pair), expected)


def test_what_is_not_supported_names_what_is():
    batch = Batch([1] * 2, [20, 33])
    for call, match in (
        (lambda: decode(logits_soft_cap=2.0, pos_encoding_mode="ALIBI"), "ALIBI without it"),
        (lambda: decode(window_right=2), "window_right"),
        (lambda: decode(is_causal=True), "is_causal"),
        (lambda: flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace(), jit_args=["x"]),
         "jit_args"),
        (lambda: flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace(), jit_kwargs={"x": 1}),
         "jit_args"),
        (lambda: flashinfer.BatchDecodeMlaWithPagedKVCacheWrapper(workspace()),
         "BatchMLAPagedAttentionWrapper"),
        (lambda: flashinfer.single_decode_with_kv_cache_with_jit_module(None, *[None] * 3),
         "jit_module"),
        (lambda: flashinfer.single_prefill_with_kv_cache_with_jit_module(None, *[None] * 3),
         "jit_module"),
        (lambda: flashinfer.single_prefill_with_kv_cache(
            batch.q, batch.k, batch.v, kv_cache_sf=(1, 2)), "NVFP4"),
        (lambda: flashinfer.BatchPrefillWithRaggedKVCacheWrapper(workspace()).plan(
            batch.qo_indptr, batch.kv_indptr, 4, 2, 64, v_indptr=batch.kv_indptr), "v_indptr"),
    ):
        with pytest.raises(NotImplementedError, match=match) as raised:
            call()
        assert "Supported: " in str(raised.value)
    alibi, wrapper = decode(pos_encoding_mode="ALIBI")
    with pytest.raises(NotImplementedError, match="sinks with ALIBI"):
        wrapper.run(alibi.q, alibi.pair, sinks=torch.zeros(4))
    with pytest.raises(NotImplementedError, match="2 extra arguments"):
        wrapper.run(alibi.q, alibi.pair, 1, 2)


def test_constructors():
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper
    with pytest.raises(ValueError, match="float_workspace_buffer must be a torch.Tensor"):
        wrapper(None)
    with pytest.raises(ValueError, match="backend must be one of"):
        wrapper(workspace(), backend="fa9")
    with pytest.raises(ValueError, match="paged_kv_indptr_buffer must be a torch.Tensor"):
        wrapper(workspace(), use_cuda_graph=True)
    buffers = [torch.zeros(n, dtype=torch.int32) for n in (3, 4, 2)]
    with pytest.raises(ValueError, match="must hold 3 values; found 4"):
        flashinfer.CUDAGraphBatchDecodeWithPagedKVCacheWrapper(
            workspace(), torch.zeros(4), buffers[1], buffers[2])
    graph = flashinfer.CUDAGraphBatchDecodeWithPagedKVCacheWrapper(workspace(), *buffers)
    batch = Batch([1] * 2, [20, 33])
    with pytest.raises(ValueError, match="paged_kv_indices must fit its buffer of 4; found 5"):
        graph.plan(*batch.lists, 4, 2, 64, 16)
    with pytest.raises(ValueError, match="batch_size must stay 2"):
        graph.plan(*Batch([1], [20]).lists, 4, 2, 64, 16)


def test_a_graph_keeps_the_lengths_of_its_capture():
    buffers = [torch.zeros(n, dtype=torch.int32) for n in (3, 20, 2)]
    graph = flashinfer.CUDAGraphBatchDecodeWithPagedKVCacheWrapper(workspace(), *buffers)
    batch, other = Batch([1] * 2, [20, 33]), Batch([1] * 2, [21, 33])
    graph.plan(*batch.lists, 4, 2, 64, 16)
    kept = graph._planned()
    kept.was_captured = True
    # As for what the decode kernels lack.
    kept.is_updatable = False
    graph.plan(*batch.lists, 4, 2, 64, 16)
    assert graph._planned() is kept
    with pytest.raises(NotImplementedError, match="after a CUDA graph captured"):
        graph.plan(*other.lists, 4, 2, 64, 16)
    assert graph._planned() is kept


def test_deprecated_arguments_of_run():
    batch, wrapper = decode()
    with pytest.warns(DeprecationWarning, match="belongs to plan"):
        wrapper.run(batch.q, batch.pair, q_len_per_req=1)


def test_values_of_utils():
    assert [m.value for m in utils.PosEncodingMode] == [0, 1, 2]
    assert utils.TensorLayout["HND"].value == 1 and utils.MaskMode.CUSTOM.value == 2
    assert utils.get_alibi_slopes(3).tolist() == [0.0625, 0.00390625, 0.25]
    assert [utils.next_positive_power_of_2(x) for x in (0, 1, 2, 3, 9)] == [1, 1, 2, 4, 16]
    assert [utils.last_positive_power_of_2(x) for x in (1, 2, 3, 9)] == [1, 2, 2, 8]
    assert utils.ceil_div(9, 4) == 3 and utils.round_up(9, 4) == 12
    assert utils.get_indptr(torch.tensor([2, 0, 3])).tolist() == [0, 2, 2, 5]
    assert utils.canonicalize_torch_dtype("bfloat16") is torch.bfloat16
    assert utils.is_float8(torch.zeros(1).to(torch.float8_e5m2))
    assert not utils.is_sm90a_supported(torch.device("cpu"))
    for check, value in ((utils.check_lse_base, "e"), (utils.check_lse_layout, "NN")):
        with pytest.raises(ValueError, match=value):
            check(value)
    with pytest.raises(ValueError, match="CUDA device"):
        utils.get_compute_capability(torch.device("cpu"))
    with pytest.raises(ValueError, match="x must be on"):
        utils.check_shape_dtype_device(
            torch.zeros(1), None, torch.float32, torch.device("meta"), "x")

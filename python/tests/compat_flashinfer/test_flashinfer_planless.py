"""Calls without a plan: block tables for decode and prefill."""

import math

import pytest
import torch
from flashinfer_reference import Batch, Options, workspace

import apus.compat.flashinfer as flashinfer

E4M3 = torch.float8_e4m3fn


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("is_pair", [True, False])
@pytest.mark.parametrize("q_dtype, kv_dtype", [
    (torch.float16, torch.float16), (torch.bfloat16, E4M3), (torch.bfloat16, torch.bfloat16)])
def test_decode_by_block_tables(layout, is_pair, q_dtype, kv_dtype):
    batch = Batch([1] * 4, [20, 0, 33, 1], layout=layout, q_dtype=q_dtype, kv_dtype=kv_dtype)
    lengths = torch.tensor(batch.kv_lengths, dtype=torch.int32)
    sinks = torch.randn(4)
    arguments = dict(
        bmm1_scale=0.2, bmm2_scale=1.5, window_left=7, sinks=sinks, kv_layout=layout,
    )
    cache = batch.pair if is_pair else batch.combined
    expected = Options(sm_scale=0.2, v_scale=1.5, window_left=7, sinks=sinks)
    result = flashinfer.trtllm_batch_decode_with_kv_cache(
        batch.q, cache, workspace(), batch.block_tables, lengths, 33, return_lse=True, **arguments
    )
    batch.check(result, expected)
    out = torch.empty_like(batch.q)
    found = flashinfer.xqa_batch_decode_with_kv_cache(
        batch.q, cache, workspace(), batch.block_tables, lengths, 33, out=out, **arguments
    )
    assert found is out and torch.equal(out, result[0])


def test_scales_as_tensors_and_types_of_o():
    batch = Batch([1] * 2, [20, 33], layout="HND", q_dtype=E4M3, kv_dtype=E4M3)
    lengths = torch.tensor(batch.kv_lengths)
    result = flashinfer.trtllm_batch_decode_with_kv_cache(
        batch.q, batch.pair, workspace(), batch.block_tables, lengths, 33,
        bmm1_scale=torch.tensor([0.2]), bmm2_scale=torch.tensor(0.5), out_dtype=torch.bfloat16,
        o_scale=2.0,
    )
    batch.check(result, Options(sm_scale=0.2, v_scale=0.5, o_scale=2.0), torch.bfloat16)


def test_one_cache_for_keys_and_values():
    batch = Batch([1] * 2, [20, 33], layout="HND")
    batch.v = batch.k
    cache = batch.k_pages.unsqueeze(1)
    result = flashinfer.trtllm_batch_decode_with_kv_cache(
        batch.q, cache, workspace(), batch.block_tables, torch.tensor([20, 33]), 33, 0.125
    )
    batch.check(result, Options(sm_scale=0.125))


def test_several_queries_per_request():
    batch = Batch([3] * 2, [20, 33], layout="HND")
    tables, lengths = batch.block_tables, torch.tensor([20, 33])
    result = flashinfer.trtllm_batch_decode_with_kv_cache(
        batch.q, batch.pair, workspace(), tables, lengths, 33, 0.125, q_len_per_req=3
    )
    batch.check(result, Options(causal=True))
    uneven = Batch([3, 1], [20, 33], layout="HND")
    result = flashinfer.trtllm_batch_decode_with_kv_cache(
        uneven.q, uneven.pair, workspace(), uneven.block_tables, lengths, 33, 0.125,
        q_len_per_req=None, max_q_len=3, cum_seq_lens_q=uneven.qo_indptr,
    )
    uneven.check(result, Options(causal=True))


def test_decode_by_cudnn_arguments():
    batch = Batch([1] * 2, [20, 33], layout="HND")
    result = flashinfer.cudnn_batch_decode_with_kv_cache(
        batch.q, *batch.pair, 0.125, workspace(), max_sequence_kv=33,
        actual_seq_lens_kv=torch.tensor([20, 33]).view(2, 1, 1, 1),
        block_tables=batch.block_tables, return_lse=True,
    )
    batch.check(result, Options())


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("causal", [True, False])
def test_prefill_by_block_tables(layout, causal):
    batch = Batch([5, 0, 17], [9, 4, 33], layout=layout, q_dtype=torch.bfloat16)
    result = flashinfer.trtllm_batch_context_with_kv_cache(
        batch.q, batch.combined, workspace(), batch.block_tables, torch.tensor([9, 4, 33]), 17,
        33, 1 / math.sqrt(64), 0.5, 3, batch.qo_indptr, batch.kv_indptr, kv_layout=layout,
        causal=causal, return_lse=True,
    )
    batch.check(result, Options(causal=causal, v_scale=0.5))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, E4M3])
def test_prefill_over_contiguous_keys(causal, dtype):
    batch = Batch([5, 0, 17], [9, 4, 33], dim=192, dim_vo=128, q_dtype=dtype)
    sinks = torch.randn(4)
    result = flashinfer.trtllm_ragged_attention_deepseek(
        batch.q, batch.k, batch.v, workspace(), torch.tensor([9, 4, 33]), 17, 33, 0.1, 0.5, 1.0,
        3, -1, batch.qo_indptr, batch.kv_indptr, None, causal, True, sinks,
    )
    expected = Options(causal=causal, sm_scale=0.1, v_scale=0.5, sinks=sinks)
    batch.check(result, expected, torch.bfloat16)
    with pytest.raises(NotImplementedError, match="sage_attn_sfs"):
        flashinfer.trtllm_ragged_attention_deepseek(
            batch.q, batch.k, batch.v, workspace(), None, 17, 33, 0.1, 0.5, 1.0, 3, -1,
            batch.qo_indptr, batch.kv_indptr, None, causal, True, sage_attn_sfs=(sinks,) * 4,
        )


def test_what_is_refused():
    batch = Batch([1] * 2, [20, 33], layout="HND")
    good = dict(
        query=batch.q, kv_cache=batch.pair, workspace_buffer=workspace(),
        block_tables=batch.block_tables, seq_lens=torch.tensor([20, 33]), max_seq_len=33,
    )
    call = flashinfer.trtllm_batch_decode_with_kv_cache
    for more, match in (
        ({"query": batch.q[:1]}, "2 · 1 rows"), ({"kv_layout": "HDN"}, "kv_layout"),
        ({"block_tables": batch.block_tables[:1]}, "block_tables"),
        ({"kv_cache": batch.k_pages}, "kv_cache"), ({"backend": "fa9"}, "backend"),
        ({"out": torch.empty(2, 4, 32, dtype=torch.float16)}, "out must have the shape"),
    ):
        with pytest.raises(ValueError, match=match):
            call(**{**good, **more})
    for more, match in (
        ({"mask": torch.ones(2)}, "mask"), ({"kv_cache_sf": torch.ones(2)}, "kv_cache_sf"),
        ({"out_dtype": "nvfp4"}, "nvfp4"), ({"uses_shared_paged_kv_idx": False}, "paged_kv_idx"),
        ({"enable_block_sparse_attention": True}, "block_sparse"), ({"cp_world": 2}, "cp_world"),
    ):
        with pytest.raises(NotImplementedError, match=match):
            call(**{**good, **more})

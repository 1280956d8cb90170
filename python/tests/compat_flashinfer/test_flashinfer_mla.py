"""Attention over latent caches."""

import math

import pytest
import torch
from flashinfer_reference import Batch, Options, assert_close, attention, workspace

import apus.compat.flashinfer as flashinfer
from apus.compat.flashinfer.mla import MLAPlanMetadata

SCALE = 1 / math.sqrt(128 + 64)
E4M3 = torch.float8_e4m3fn


class Latent:
    """Requests over a paged cache of latent rows."""

    def __init__(
        self, qo_lengths, kv_lengths, *, heads=4, ckv=512, kpe=64, dtype=torch.bfloat16,
        kv_dtype=None, page_size=16,
    ):
        self.batch = Batch(
            qo_lengths, kv_lengths, qo_heads=heads, kv_heads=1, dim=ckv + kpe, q_dtype=dtype,
            kv_dtype=kv_dtype, page_size=page_size, spread=0.3,
        )
        self.ckv, self.kpe, self.heads = ckv, kpe, heads
        self.q = self.batch.q
        self.parts = self.q[..., :ckv], self.q[..., ckv:]
        self.cache = self.batch.k_pages.squeeze(2)
        self.caches = self.cache[..., :ckv], self.cache[..., ckv:]
        self.lengths = torch.tensor(kv_lengths, dtype=torch.int32)

    @property
    def csr(self):
        indptr, indices, _ = self.batch.lists
        return self.batch.qo_indptr, indptr, indices, self.lengths

    @property
    def shape(self):
        return self.heads, self.ckv, self.kpe, self.batch.page_size

    def check(self, found, options, kpe_scale=None, ln=False, o_dtype=None):
        batch = self.batch
        found = found if isinstance(found, tuple) else (found,)
        parts = []
        for r in range(len(batch.qo_lengths)):
            rows = slice(int(batch.qo_indptr[r]), int(batch.qo_indptr[r + 1]))
            keys = slice(int(batch.kv_indptr[r]), int(batch.kv_indptr[r + 1]))
            k = batch.k[keys].to(torch.float64)
            if kpe_scale is not None:
                k = k.clone()
                k[..., self.ckv :] *= kpe_scale / options.k_scale
            parts.append(
                attention(
                    batch.q[rows], k, batch.k[keys][..., : self.ckv], options,
                    o_dtype or batch.q_dtype,
                )
            )
        o, bound, lse, lse_bound = (torch.cat([p[i] for p in parts]) for i in range(4))
        assert_close("o", found[0], o, bound)
        if len(found) == 2:
            factor = math.log(2) if ln else 1.0
            assert_close("lse", found[1], lse * factor, lse_bound)


def planned(latent, causal=False, **more):
    wrapper = flashinfer.BatchMLAPagedAttentionWrapper(workspace())
    wrapper.plan(
        *latent.csr, *latent.shape, causal, SCALE, latent.batch.q_dtype, latent.batch.kv_dtype,
        **more,
    )
    return wrapper


@pytest.mark.parametrize("dtype, kv_dtype", [
    (torch.bfloat16, None), (torch.float16, None), (torch.float32, None), (torch.bfloat16, E4M3)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("page_size", [1, 16])
def test_lists_one_by_one(dtype, kv_dtype, causal, page_size):
    latent = Latent(
        [1, 0, 3, 2], [20, 5, 33, 0], dtype=dtype, kv_dtype=kv_dtype, page_size=page_size
    )
    result = planned(latent, causal).run(*latent.parts, *latent.caches, return_lse=True)
    latent.check(result, Options(sm_scale=SCALE, causal=causal))


@pytest.mark.parametrize("form", ["csr", "dense", "dual"])
@pytest.mark.parametrize("is_packed", [True, False])
def test_lists_in_one(form, is_packed):
    latent = Latent([1, 2], [20, 33])
    dense = (latent.batch.qo_indptr, latent.batch.block_tables, latent.lengths)
    names = ("cum_seq_lens_q", "block_tables", "seq_lens")
    metadata = {
        "csr": lambda: MLAPlanMetadata.csr(*latent.csr),
        "dense": lambda: MLAPlanMetadata.dense(*dense, max_q_len=2),
        "dual": lambda: MLAPlanMetadata.dual(*latent.csr, **dict(zip(names, dense))),
    }[form]()
    wrapper = flashinfer.BatchMLAPagedAttentionWrapper(workspace(), backend="fa3")
    wrapper.plan(
        metadata=metadata, num_heads=4, head_dim_ckv=512, head_dim_kpe=64, page_size=16,
        causal=True, sm_scale=SCALE, q_data_type=torch.bfloat16, kv_data_type=torch.bfloat16,
        lse_mode="basee",
    )
    query = latent.q if is_packed else latent.parts
    cache = latent.cache if is_packed else latent.caches
    result = wrapper.run(
        query=query, kv_cache=cache, return_lse=True, return_lse_base_on_e=True
    )
    latent.check(result, Options(sm_scale=SCALE, causal=True), ln=True)
    redundant = wrapper.run(
        query=(latent.q, latent.parts), kv_cache=(latent.cache, latent.caches), return_lse=True,
        return_lse_base_on_e=True,
    )
    assert torch.equal(redundant[0], result[0])
    with pytest.raises(ValueError, match="lse_mode='basee'"):
        wrapper.run(query=query, kv_cache=cache)


def test_a_block_table_by_keywords():
    latent = Latent([1, 2], [20, 33])
    wrapper = flashinfer.BatchMLAPagedAttentionWrapper(workspace())
    wrapper.plan(
        cum_seq_lens_q=latent.batch.qo_indptr, block_tables=latent.batch.block_tables,
        seq_lens=latent.lengths, max_q_len=2, num_heads=4, head_dim_ckv=512, head_dim_kpe=64,
        page_size=16, causal=False, sm_scale=SCALE, q_data_type="bfloat16",
        kv_data_type="bfloat16",
    )
    result = wrapper.run_return_lse(*latent.parts, *latent.caches)
    latent.check(result, Options(sm_scale=SCALE))


def test_scales_and_outputs_of_the_caller():
    latent = Latent([1, 2], [20, 33], kv_dtype=E4M3)
    wrapper = planned(latent)
    out = torch.empty(3, 4, 512, dtype=torch.bfloat16)
    lse = torch.empty(3, 4)
    result = wrapper.run(
        *latent.parts, *latent.caches, out, lse, True, ckv_scale=0.5, kpe_scale=2.0
    )
    assert result[0] is out and result[1] is lse
    latent.check(
        result, Options(sm_scale=SCALE, k_scale=0.5, v_scale=0.5), kpe_scale=2.0
    )
    result = wrapper.run(
        *latent.parts, *latent.caches, bmm1_scale=0.5 * SCALE, bmm2_scale=0.25
    )
    latent.check(result, Options(sm_scale=0.5 * SCALE, v_scale=0.25))


def test_sinks_and_other_widths():
    latent = Latent([1, 2], [20, 33], ckv=128, kpe=32)
    sinks = torch.randn(4)
    result = planned(latent).run(*latent.parts, *latent.caches, sinks=sinks)
    latent.check(result, Options(sm_scale=SCALE, sinks=sinks))


def test_buffers_of_graphs_take_the_lists():
    latent = Latent([1, 2], [20, 33])
    buffers = [torch.zeros(n, dtype=torch.int32) for n in (3, 3, 20, 2)]
    wrapper = flashinfer.BatchMLAPagedAttentionWrapper(workspace(), True, *buffers)
    wrapper.plan(*latent.csr, *latent.shape, False, SCALE, torch.bfloat16, torch.bfloat16)
    for buffer, values in zip(buffers, latent.csr):
        assert torch.equal(buffer[: len(values)], values)
    latent.check(wrapper.run(*latent.parts, *latent.caches), Options(sm_scale=SCALE))


@pytest.mark.parametrize("is_flat", [True, False])
def test_without_a_plan(is_flat):
    latent = Latent([2, 2], [20, 33])
    query = latent.q.view(2, 2, 4, 576)
    cache = latent.cache if is_flat else latent.cache.unsqueeze(1)
    arguments = (
        query, cache, workspace(), 128, 512, 64, latent.batch.block_tables, latent.lengths, 33
    )
    result = flashinfer.trtllm_batch_decode_with_kv_cache_mla(
        *arguments, bmm1_scale=SCALE, bmm2_scale=0.5, return_lse=True
    )
    assert result[0].shape == (2, 2, 4, 512)
    flat = result[0].view(4, 4, 512), result[1]
    latent.check(flat, Options(sm_scale=SCALE, causal=True, v_scale=0.5))
    again = flashinfer.xqa_batch_decode_with_kv_cache_mla(
        *arguments, bmm1_scale=SCALE, bmm2_scale=0.5
    )
    assert torch.equal(again, result[0])


def test_what_is_refused():
    latent = Latent([1, 2], [20, 33])
    wrapper = flashinfer.BatchMLAPagedAttentionWrapper(workspace())
    types = (torch.bfloat16, torch.bfloat16)
    with pytest.raises(ValueError, match=r"plan\(\) must come before"):
        wrapper.run(*latent.parts, *latent.caches)
    with pytest.raises(TypeError, match="neither"):
        wrapper.plan(
            num_heads=4, head_dim_ckv=512, head_dim_kpe=64, page_size=16, causal=False,
            sm_scale=SCALE, q_data_type=types[0], kv_data_type=types[1],
        )
    with pytest.raises(TypeError, match="sm_scale must be given"):
        wrapper.plan(*latent.csr, *latent.shape, False, None, *types)
    with pytest.raises(ValueError, match="must not mix"):
        wrapper.plan(
            *latent.csr, *latent.shape, False, SCALE, *types, block_tables=torch.zeros(2, 2)
        )
    with pytest.raises(ValueError, match="given together"):
        wrapper.plan(latent.csr[0], None, None, None, *latent.shape, False, SCALE, *types)
    with pytest.raises(ValueError, match="lse_mode"):
        wrapper.plan(*latent.csr, *latent.shape, False, SCALE, *types, lse_mode="base10")
    with pytest.raises(ValueError, match="backend"):
        flashinfer.BatchMLAPagedAttentionWrapper(workspace(), backend="fa9")
    wrapper.plan(*latent.csr, *latent.shape, False, SCALE, *types)
    with pytest.raises(NotImplementedError, match="ckv_scale_arr"):
        wrapper.run(*latent.parts, *latent.caches, ckv_scale_arr=torch.ones(2))
    with pytest.raises(ValueError, match="rows"):
        wrapper.run(latent.parts[0][:1], latent.parts[1][:1], *latent.caches)
    with pytest.raises(ValueError, match="q_data_type"):
        wrapper.run(*(x.to(torch.float16) for x in latent.parts), *latent.caches)
    with pytest.raises(ValueError, match="both"):
        wrapper.run(*latent.parts, *latent.caches, query=latent.q)

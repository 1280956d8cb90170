"""Signatures of both releases, and what is refused with which sentence."""

import inspect
import re

import pytest
import torch
from mla_cases import inputs, quantize

from apus.compat import flash_mla
from apus.compat.flash_mla import (
    FlashMLASchedMeta,
    cuda,
    flash_mla_sparse_fwd,
    flash_mla_with_kvcache,
    get_mla_metadata,
)

REQUIRED = inspect.Parameter.empty
FIRST = dict.fromkeys((
    "q", "k_cache", "block_table", "cache_seqlens", "head_dim_v", "tile_scheduler_metadata"),
    REQUIRED)
VARLEN = dict.fromkeys((
    "cu_seqlens_qo", "cu_seqlens_kv", "max_seqlen_qo", "max_seqlen_kv"), REQUIRED)
TAIL = dict(
    dropout_p=0.0, softmax_scale=None, causal=False, deterministic=False, is_varlen=True)
TABLE = {
    (flash_mla, "flash_mla_with_kvcache"): dict(
        **FIRST, num_splits=None, softmax_scale=None, causal=False, is_fp8_kvcache=False,
        indices=None, attn_sink=None, extra_k_cache=None, extra_indices_in_kvcache=None,
        topk_length=None, extra_topk_length=None),
    (flash_mla, "flash_mla_sparse_fwd"): dict(
        **dict.fromkeys(("q", "kv", "indices", "sm_scale"), REQUIRED), d_v=512, attn_sink=None,
        topk_length=None),
    (flash_mla, "flash_attn_varlen_func"): dict(
        **dict.fromkeys(("q", "k", "v"), REQUIRED), **VARLEN, **TAIL),
    (flash_mla, "flash_attn_varlen_kvpacked_func"): dict(
        q=REQUIRED, kv=REQUIRED, **VARLEN, head_dim_qk=REQUIRED, **TAIL),
    (flash_mla, "flash_attn_varlen_qkvpacked_func"): dict(
        qkv=REQUIRED, cu_seqlens=REQUIRED, max_seqlen=REQUIRED, head_dim_qk=REQUIRED, **TAIL),
    (cuda, "get_mla_metadata"): dict.fromkeys(
        ("seqlens_k", "num_heads_per_head_k", "num_heads_k"), REQUIRED),
    (cuda, "fwd_kvcache_mla"): dict.fromkeys((
        "q", "kcache", "vcache_", "head_size_v", "seqlens_k", "block_table", "softmax_scale",
        "is_causal", "tile_scheduler_metadata", "num_splits"), REQUIRED),
}


@pytest.mark.parametrize("place", TABLE, ids=lambda p: f"{p[0].__name__.split('.')[-1]}.{p[1]}")
def test_signature_is_that_of_the_original(place):
    module, name = place
    parameters = inspect.signature(getattr(module, name)).parameters
    found = {key: parameter.default for key, parameter in parameters.items()}
    assert list(found.items()) == list(TABLE[place].items())
    assert name in module.__all__


def test_version_names_the_emulated_release_and_apus():
    assert flash_mla.__version__ == "1.0.0+apus"


def test_metadata_of_both_releases():
    lengths = torch.tensor([5, 6], dtype=torch.int32)
    for arguments in ((lengths, 16, 1), (lengths, 16, 1, 16, True, 64)):
        metadata, splits = get_mla_metadata(*arguments)
        assert metadata.dtype == splits.dtype == torch.int32
        assert metadata.shape[1] == 8 and splits.tolist() == [0, 1, 2]
    metadata, splits = get_mla_metadata()
    assert isinstance(metadata, FlashMLASchedMeta) and splits is None
    assert not metadata.have_initialized


def refused(kind, message, function, *arguments, **options):
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        function(*arguments, **options)


def call(**changes):
    given = dict(
        q=inputs(2, 1, 4, 576), k_cache=inputs(4, 16, 1, 576),
        block_table=torch.tensor([[0, 1], [2, 3]], dtype=torch.int32),
        cache_seqlens=torch.tensor([5, 20], dtype=torch.int32), head_dim_v=512)
    given["tile_scheduler_metadata"], given["num_splits"] = get_mla_metadata(
        given["cache_seqlens"], 4, 1)
    given.update(changes)
    return flash_mla_with_kvcache(**given)


def test_arguments_of_decode():
    call()
    indices = torch.zeros(2, 1, 8, dtype=torch.int32)
    cases = [
        (dict(q=inputs(2, 4, 576)),
         "q must be (batch_size, seq_len_q, num_heads_q, head_dim); found shape (2, 4, 576)."),
        (dict(q=inputs(2, 1, 4, 512)),
         "q and k_cache must have the same head dimension; found 512 and 576."),
        (dict(q=inputs(2, 1, 4, 576, dtype=torch.float16)),
         "q, k_cache must have the same dtype; found torch.float16 and torch.bfloat16."),
        (dict(q=inputs(2, 1, 3, 576), k_cache=inputs(4, 16, 2, 576)),
         "num_heads_q must be a multiple of num_heads_k; found 3 and 2."),
        (dict(head_dim_v=577), "head_dim_v must be in 1…576 (head_dim); found 577."),
        (dict(block_table=None), "block_table and cache_seqlens must be given without indices;"),
        (dict(block_table=torch.tensor([[0, 1], [2, 4]])),
         "block_table must name blocks in 0…3; found 4."),
        (dict(cache_seqlens=torch.tensor([5, 33])),
         "cache_seqlens must be in 0…32; found [5, 33]."),
        (dict(num_splits=None), "num_splits must be (3,); found None."),
        (dict(tile_scheduler_metadata=None),
         "tile_scheduler_metadata must be what get_mla_metadata returned; found NoneType."),
        (dict(tile_scheduler_metadata=FlashMLASchedMeta()),
         "num_splits must be None beside a FlashMLASchedMeta; found Tensor."),
        (dict(attn_sink=torch.zeros(4)), "attn_sink must be None without indices; found a tensor."),
        (dict(indices=indices, causal=True), "causal must be False beside indices; found True."),
        (dict(indices=indices[:1]), "indices must be (2, 1, topk); found shape (1, 1, 8)."),
        (dict(indices=indices, topk_length=torch.tensor([1])),
         "topk_length must be (2,); found shape (1,)."),
        (dict(indices=indices, attn_sink=torch.zeros(3)),
         "attn_sink must have shape (4,); found (3,)."),
        (dict(indices=indices, attn_sink=torch.zeros(4).double()),
         "attn_sink must be float32; found torch.float64."),
        (dict(indices=indices, extra_k_cache=inputs(4, 16, 1, 576)),
         "extra_k_cache and extra_indices_in_kvcache must come together; found one of them."),
        (dict(indices=indices, is_fp8_kvcache=True),
         "k_cache must be (num_blocks, page_block_size, 1, 656 or 584); found shape "
         "(4, 16, 1, 576)."),
        (dict(indices=indices, is_fp8_kvcache=True, k_cache=quantize(inputs(9, 512), 584, 9)[0]),
         "q must have 512 values per head for k_cache; found 576."),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=f"^{re.escape('flash_mla_with_kvcache: ' + message)}"):
            call(**changes)


def test_metadata_is_for_one_shape():
    metadata = FlashMLASchedMeta()
    call(tile_scheduler_metadata=metadata, num_splits=None)
    assert metadata.have_initialized and metadata.num_splits.tolist() == [0, 1, 2]
    call(tile_scheduler_metadata=metadata, num_splits=None)
    with pytest.raises(ValueError, match="must be reused with the shapes of its first call"):
        call(tile_scheduler_metadata=metadata, num_splits=None, q=inputs(2, 2, 4, 576))


def test_gradients_belong_to_training():
    q = inputs(2, 1, 4, 576).requires_grad_()
    with pytest.raises(NotImplementedError, match="inputs must not require gradients"):
        call(q=q)


def test_arguments_of_prefill():
    q, kv = inputs(3, 4, 576), inputs(9, 1, 576)
    table = torch.zeros(3, 1, 8, dtype=torch.int32)
    name = "flash_mla_sparse_fwd: "
    refused(
        ValueError, name + "indices must be (3, 1, topk); found shape (3, 8).",
        flash_mla_sparse_fwd, q, kv, table[:, 0], 0.1)
    refused(
        NotImplementedError, name + "h_kv must be 1; found 2.", flash_mla_sparse_fwd, q,
        inputs(9, 2, 576), table, 0.1)
    refused(
        ValueError, name + "q and kv must have the same head dimension; found 576 and 512.",
        flash_mla_sparse_fwd, q, kv[..., :512], table, 0.1)
    refused(
        ValueError, name + "head_dim_v must be in 1…576 (head dimension); found 0.",
        flash_mla_sparse_fwd, q, kv, table, 0.1, 0)
    refused(
        NotImplementedError, "flash_attn_varlen_func: dropout_p must be 0",
        flash_mla.flash_attn_varlen_func, q, kv, kv, table, table, 1, 1, 0.5)
    refused(
        ValueError, "get_mla_metadata: cache_seqlens must be int32; found torch.int64.",
        get_mla_metadata, torch.tensor([1]), 4, 1)
    refused(
        ValueError, "fwd_kvcache_mla: vcache_ must be None or a view of kcache; found a tensor of "
        "its own.", cuda.fwd_kvcache_mla, q, kv, kv.clone(), 512, None, None, 0.1, False, None,
        None)

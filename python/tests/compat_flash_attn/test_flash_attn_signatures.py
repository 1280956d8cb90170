"""Names, order and defaults are those of FlashAttention 2.8 and 3."""

import inspect

import pytest
import torch

from apus.compat import flash_attn
from apus.compat.flash_attn import bert_padding, hopper
from apus.compat.flash_attn.layers import rotary
from apus.compat.flash_attn.ops.triton import rotary as kernel

REQUIRED = inspect.Parameter.empty
ALL = (-1, -1)
TAIL2 = dict(
    dropout_p=0.0, softmax_scale=None, causal=False, window_size=ALL, softcap=0.0,
    alibi_slopes=None, deterministic=False, return_attn_probs=False)
RAGGED = dict.fromkeys(
    ("cu_seqlens_q", "cu_seqlens_k", "max_seqlen_q", "max_seqlen_k"), REQUIRED)
QKV = dict.fromkeys(("q", "k", "v"), REQUIRED)
DESCALES = dict(q_descale=None, k_descale=None, v_descale=None)
TAIL3 = dict(
    softmax_scale=None, causal=False, qv=None, **DESCALES, window_size=ALL, attention_chunk=0,
    softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False, sm_margin=0,
    return_attn_probs=False)
CACHES = dict.fromkeys(("q", "k_cache", "v_cache"), REQUIRED)
TABLE = {
    (flash_attn, "flash_attn_func"): dict(**QKV, **TAIL2),
    (flash_attn, "flash_attn_kvpacked_func"): dict(q=REQUIRED, kv=REQUIRED, **TAIL2),
    (flash_attn, "flash_attn_qkvpacked_func"): dict(qkv=REQUIRED, **TAIL2),
    (flash_attn, "flash_attn_varlen_func"): dict(**QKV, **RAGGED, **TAIL2, block_table=None),
    (flash_attn, "flash_attn_varlen_kvpacked_func"): dict(
        q=REQUIRED, kv=REQUIRED, **RAGGED, **TAIL2),
    (flash_attn, "flash_attn_varlen_qkvpacked_func"): dict(
        qkv=REQUIRED, cu_seqlens=REQUIRED, max_seqlen=REQUIRED, **TAIL2),
    (flash_attn, "flash_attn_with_kvcache"): dict(
        **CACHES, k=None, v=None, rotary_cos=None, rotary_sin=None, cache_seqlens=None,
        cache_batch_idx=None, cache_leftpad=None, block_table=None, softmax_scale=None,
        causal=False, window_size=ALL, softcap=0.0, rotary_interleaved=True, alibi_slopes=None,
        num_splits=0, return_softmax_lse=False),
    (hopper, "flash_attn_func"): dict(**QKV, **TAIL3),
    (hopper, "flash_attn_qkvpacked_func"): dict(
        qkv=REQUIRED, softmax_scale=None, causal=False, **DESCALES, window_size=ALL,
        attention_chunk=0, softcap=0.0, deterministic=False, num_heads_q=None, sm_margin=0,
        return_attn_probs=False),
    (hopper, "flash_attn_varlen_func"): dict(
        **QKV, **RAGGED, seqused_q=None, seqused_k=None, **TAIL3),
    (hopper, "flash_attn_combine"): dict(
        out_partial=REQUIRED, lse_partial=REQUIRED, out=None, out_dtype=None),
    (hopper, "flash_attn_with_kvcache"): dict(
        **CACHES, k=None, v=None, qv=None, rotary_cos=None, rotary_sin=None, cache_seqlens=None,
        cache_batch_idx=None, cache_leftpad=None, page_table=None, cu_seqlens_q=None,
        cu_seqlens_k_new=None, max_seqlen_q=None, rotary_seqlens=None, **DESCALES,
        softmax_scale=None, causal=False, window_size=ALL, attention_chunk=0, softcap=0.0,
        rotary_interleaved=True, scheduler_metadata=None, num_splits=0, pack_gqa=None, sm_margin=0,
        return_softmax_lse=False),
    (hopper, "get_scheduler_metadata"): dict(
        **dict.fromkeys((
            "batch_size", "max_seqlen_q", "max_seqlen_k", "num_heads_q", "num_heads_kv", "headdim",
            "cache_seqlens"), REQUIRED),
        qkv_dtype=torch.bfloat16, headdim_v=None, cu_seqlens_q=None, cu_seqlens_k_new=None,
        cache_leftpad=None, page_size=None, max_seqlen_k_new=0, causal=False, window_size=ALL,
        attention_chunk=0, has_softcap=False, num_splits=0, pack_gqa=None, sm_margin=0),
    (bert_padding, "unpad_input"): dict(
        hidden_states=REQUIRED, attention_mask=REQUIRED, unused_mask=None),
    (bert_padding, "pad_input"): dict.fromkeys(
        ("hidden_states", "indices", "batch", "seqlen"), REQUIRED),
    (rotary, "apply_rotary_emb"): dict(
        x=REQUIRED, cos=REQUIRED, sin=REQUIRED, interleaved=False, inplace=False, seqlen_offsets=0,
        cu_seqlens=None, max_seqlen=None),
    (rotary, "apply_rotary_emb_qkv_"): dict(
        qkv=REQUIRED, cos=REQUIRED, sin=REQUIRED, cos_k=None, sin_k=None, interleaved=False,
        seqlen_offsets=0, num_heads_q=None),
    (kernel, "apply_rotary"): dict(
        x=REQUIRED, cos=REQUIRED, sin=REQUIRED, seqlen_offsets=0, cu_seqlens=None, max_seqlen=None,
        interleaved=False, inplace=False, conjugate=False),
}


@pytest.mark.parametrize("place", TABLE, ids=lambda p: f"{p[0].__name__.split('.')[-1]}.{p[1]}")
def test_signature_is_that_of_the_original(place):
    module, name = place
    parameters = inspect.signature(getattr(module, name)).parameters
    found = {key: parameter.default for key, parameter in parameters.items()}
    assert list(found.items()) == list(TABLE[place].items())
    assert name in module.__all__


def test_version_names_the_emulated_release_and_apus():
    assert flash_attn.__version__ == "2.8.4+apus"

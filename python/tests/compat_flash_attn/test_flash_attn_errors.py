"""What is refused, with which sentence."""

import re

import pytest
import torch
from flash_cases import normal

from apus.compat import flash_attn
from apus.compat.flash_attn import bert_padding, hopper
from apus.compat.flash_attn.layers.rotary import apply_rotary_emb, apply_rotary_emb_qkv_


def tensors(dtype=torch.float32, heads=(4, 2)):
    return tuple(normal(2, n, h, 16, dtype=dtype) for n, h in (
        (3, heads[0]), (5, heads[1]), (5, heads[1])))


def refused(kind, message, function, *arguments, **options):
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        function(*arguments, **options)


BOUNDS = (torch.tensor([0, 3, 6]).int(), torch.tensor([0, 5, 10]).int(), 3, 5)


def ragged():
    return tuple(x.flatten(0, 1) for x in tensors())


@pytest.mark.parametrize("module", [flash_attn, hopper])
def test_gradients_belong_to_training(module):
    q, k, v = tensors()
    k.requires_grad_()
    message = (
        "flash_attn_func: inputs must not require gradients, because only the forward pass exists; "
        "found k with requires_grad=True. Call it under torch.no_grad() or torch.inference_mode(), "
        "or detach the inputs.")
    refused(NotImplementedError, message, module.flash_attn_func, q, k, v)
    with torch.no_grad():
        assert not module.flash_attn_func(q, k, v).requires_grad
    refused(
        NotImplementedError, "flash_attn_with_kvcache: inputs must not require gradients",
        module.flash_attn_with_kvcache, q, k, v)
    refused(
        NotImplementedError, "flash_attn_varlen_func: inputs must not require gradients",
        module.flash_attn_varlen_func, *(x.flatten(0, 1) for x in (q, k, v)), *BOUNDS)


def test_dropout_belongs_to_training():
    refused(
        NotImplementedError,
        "flash_attn_func: dropout_p must be 0, because dropout belongs to training; found 0.1. Put "
        "the model into eval mode.", flash_attn.flash_attn_func, *tensors(), dropout_p=0.1)


@pytest.mark.parametrize("case", [
    (lambda q, k, v: (q[0], k, v),
     "flash_attn_func: q must be (batch, seqlen_q, nheads, headdim); found shape (3, 4, 16)."),
    (lambda q, k, v: (q, k.half(), v),
     "flash_attn_func: q, k, v must have the same dtype; found torch.float32 and torch.float16 and "
     "torch.float32."),
    (lambda q, k, v: (q, k[..., :8], v),
     "flash_attn_func: q and k must have the same head dimension; found 16 and 8."),
    (lambda q, k, v: (q, k, v[:, :2]),
     "flash_attn_func: k and v must agree but for the head dimension; found (2, 5, 2, 16) and "
     "(2, 2, 2, 16)."),
    (lambda q, k, v: (q[:1], k, v),
     "flash_attn_func: q and k must have the same batch size; found 1 and 2."),
    (lambda q, k, v: (q[:, :, :3], k, v),
     "flash_attn_func: the number of query heads must be a multiple of that of key heads; found 3 "
     "and 2."),
    (lambda q, k, v: ([1.0], k, v), "flash_attn_func: q must be a torch tensor; found list."),
])
@pytest.mark.parametrize("module", [flash_attn, hopper])
def test_shapes_and_types(module, case):
    change, message = case
    refused(ValueError, message, module.flash_attn_func, *change(*tensors()))


def test_types_without_a_kernel():
    q, k, v = (x.double() for x in tensors())
    refused(
        NotImplementedError, "flash_attn_func: q must be one of float32, float16, bfloat16, "
        "float8_e4m3fn, float8_e5m2; found float64.", flash_attn.flash_attn_func, q, k, v)


def test_alibi_looks_back_only():
    q, k, v = tensors()
    slopes = torch.rand(4)
    refused(
        NotImplementedError, "flash_attn_func: alibi_slopes must come with causal=True or "
        "window_size[1] == 0; found causal=False, window_size=(-1, -1). Supported: ALiBi over keys "
        "at or before the query's position.", flash_attn.flash_attn_func, q, k, v,
        alibi_slopes=slopes)
    refused(
        ValueError, "flash_attn_func: alibi_slopes must have shape (4,) or (2, 4); found (3,).",
        flash_attn.flash_attn_func, q, k, v, causal=True, alibi_slopes=slopes[:3])


def test_descales_are_per_request_and_key_head():
    q, k, v = tensors()
    refused(
        ValueError, "flash_attn_func: k_descale must have shape (2, 2); found (2, 4).",
        hopper.flash_attn_func, q, k, v, k_descale=torch.ones(2, 4))


def test_cumulative_lengths():
    q, k, v = ragged()
    function = flash_attn.flash_attn_varlen_func
    refused(
        ValueError, "flash_attn_varlen_func: cu_seqlens_q must start at 0 or above and never "
        "decrease; found [0, 4, 3].", function, q, k, v, torch.tensor([0, 4, 3]), *BOUNDS[1:])
    refused(
        ValueError, "flash_attn_varlen_func: cu_seqlens_q must end within q; found 9 of 6 rows.",
        function, q, k, v, torch.tensor([0, 4, 9]), *BOUNDS[1:])
    refused(
        ValueError, "flash_attn_varlen_func: cu_seqlens_k must end within k; found 11 of 10 rows.",
        function, q, k, v, BOUNDS[0], torch.tensor([0, 4, 11]), 3, 5)
    refused(
        ValueError, "flash_attn_varlen_func: cu_seqlens_q and cu_seqlens_k must have the same "
        "length; found 3 and 2.", function, q, k, v, BOUNDS[0], torch.tensor([0, 4]), 3, 5)
    refused(
        ValueError, "flash_attn_varlen_func: cu_seqlens_q must hold integers; found torch.float32.",
        function, q, k, v, BOUNDS[0].float(), *BOUNDS[1:])
    refused(
        ValueError, "flash_attn_varlen_func: seqused_k must be in 0…5; found [6, 1].",
        hopper.flash_attn_varlen_func, q, k, v, *BOUNDS, seqused_k=torch.tensor([6, 1]))


def test_block_tables():
    q = normal(6, 4, 16)
    cache = normal(3, 4, 2, 16)
    function = flash_attn.flash_attn_varlen_func
    table = torch.tensor([[0, 1], [2, 3]]).int()
    refused(
        ValueError, "flash_attn_varlen_func: block_table must name blocks in 0…2; found 3.",
        function, q, cache, cache, *BOUNDS, block_table=table)
    refused(
        ValueError, "flash_attn_varlen_func: block_table must have a column for every block of 4 "
        "keys; found 1 columns for 5 keys.", function, q, cache, cache, *BOUNDS,
        block_table=table[:, :1])
    refused(
        ValueError, "flash_attn_varlen_func: block_table must be (2, blocks); found shape (1, 2).",
        function, q, cache, cache, *BOUNDS, block_table=table[:1])


def test_cache_arguments():
    q, k_cache, v_cache = tensors()
    k, v = k_cache[:, :2].clone(), v_cache[:, :2].clone()
    function = flash_attn.flash_attn_with_kvcache
    lengths = torch.tensor([1, 4]).int()
    cos = torch.ones(8, 4)
    cases = [
        (dict(k=k, cache_seqlens=1), "k and v must come together; found k alone."),
        (dict(k=k, v=v), "cache_seqlens must be given when k is; found None."),
        (dict(k=k, v=v, cache_seqlens=lengths),
         "the cache must have room for cache_seqlens and the new keys, 5 per request; found 6."),
        (dict(cache_seqlens=6), "cache_seqlens must be in 0…5; found [6, 6]."),
        (dict(cache_seqlens=torch.tensor([1])), "cache_seqlens must be (2,); found (1,)."),
        (dict(rotary_cos=cos, rotary_sin=cos),
         "rotary_cos and rotary_sin must come together and with k and v; found"),
        (dict(k=k[:, :, :1], v=v, cache_seqlens=1),
         "k must have shape (2, 2, 2, 16); found (2, 2, 1, 16)."),
        (dict(k=k.half(), v=v, cache_seqlens=1),
         "q, k, v must have the same dtype; found"),
        (dict(cache_batch_idx=torch.tensor([0, 2])),
         "cache_batch_idx must name blocks in 0…1; found 2."),
        (dict(cache_batch_idx=torch.tensor([0, 1]), block_table=torch.tensor([[0], [1]])),
         "cache_batch_idx must be None beside block_table; found both."),
        (dict(cache_leftpad=torch.tensor([0, 6])),
         "cache_leftpad must hold a start within each request's keys; found [0, 6]."),
    ]
    for options, message in cases:
        refused(ValueError, f"flash_attn_with_kvcache: {message}", function, q, k_cache, v_cache,
                **options)
    refused(
        ValueError, "flash_attn_with_kvcache: k_cache must have a contiguous last dimension; found "
        "stride 5.", function, q, k_cache.new_empty(2, 2, 16, 5).permute(0, 3, 1, 2), v_cache)


def test_a_failed_call_leaves_the_cache_alone():
    q, k_cache, v_cache = tensors()
    before = k_cache.clone()
    new = k_cache[:, :2].clone(), v_cache[:, :2].clone()
    for given, message, options in (
        (q, "the cache must have room", dict(cache_seqlens=4)),
        (q[:, :, :3], "the number of query heads must be a multiple of that of key heads; found 3",
         dict(cache_seqlens=1)),
        (q, "cache_leftpad must hold a start", dict(
            cache_seqlens=1, cache_leftpad=torch.tensor([0, 4]))),
        (q, "alibi_slopes must have shape (4,) or (2, 4); found (3,)", dict(
            cache_seqlens=1, causal=True, alibi_slopes=torch.ones(3))),
    ):
        refused(
            ValueError, f"flash_attn_with_kvcache: {message}", flash_attn.flash_attn_with_kvcache,
            given, k_cache, v_cache, *new, **options)
    refused(
        ValueError, "flash_attn_with_kvcache: qv must have shape (2, 3, 4, 16)",
        hopper.flash_attn_with_kvcache, q, k_cache, v_cache, *new, cache_seqlens=1, qv=q[..., :8])
    assert torch.equal(k_cache, before)


def test_combine_arguments():
    out, lse = normal(2, 1, 3, 4, 8), normal(2, 1, 3, 4)
    function = hopper.flash_attn_combine
    refused(
        ValueError, "flash_attn_combine: lse_partial must have shape (2, 1, 3, 4); found "
        "(2, 1, 3, 3).", function, out, lse[..., :3])
    refused(
        ValueError, "flash_attn_combine: out_partial must be float32; found torch.float16.",
        function, out.half(), lse)
    refused(
        ValueError, "flash_attn_combine: out_partial must be (num_splits, batch, seqlen, nheads, "
        "headdim) or (num_splits, total_q, nheads, headdim); found shape (4, 8).", function,
        out[0, 0, 0], lse)
    refused(
        NotImplementedError, "flash_attn_combine: out_dtype must be float32, float16 or bfloat16; "
        "found torch.float64.", function, out, lse, None, torch.float64)


def test_packed_tensors_and_helpers():
    x = normal(2, 5, 2, 4, 16)
    refused(
        ValueError, "flash_attn_qkvpacked_func: qkv must hold three tensors in dimension 2; found "
        "2.", flash_attn.flash_attn_qkvpacked_func, x)
    refused(
        ValueError, "flash_attn_kvpacked_func: kv must hold two tensors in dimension 2; found 1.",
        flash_attn.flash_attn_kvpacked_func, x[:, :, 0], x[:, :, :1])
    refused(
        ValueError, "flash_attn_qkvpacked_func: num_heads_q must leave an even number of heads for "
        "k and v; found None of 4.", hopper.flash_attn_qkvpacked_func, x[:, :, 0])
    refused(
        ValueError, "index_first_axis: input must have at least two dimensions; found shape (3,).",
        bert_padding.index_first_axis, torch.ones(3), torch.tensor([0]))
    refused(
        ValueError, "apply_rotary: rotary_dim must be at most the head dimension; found 32 of 16.",
        apply_rotary_emb, x[:, :, 0], torch.ones(9, 16), torch.ones(9, 16))
    refused(
        ValueError,
        "apply_rotary_emb_qkv_: num_heads_q must be given for packed heads; found None.",
        apply_rotary_emb_qkv_, x[:, :, 0], torch.ones(9, 8), torch.ones(9, 8))

"""Rotary embeddings."""

import pytest
import torch
from flashinfer_reference import F32, assert_close, rotate, smallest, unit

import apus
import apus.compat.flashinfer as flashinfer

TYPES = [torch.float16, torch.bfloat16, torch.float32]
LLAMA = {"rope_scale": 8.0, "rope_theta": 5e5}


def operands(dtype=torch.float16, dim=64, rows=9):
    return torch.randn(rows, 4, dim).to(dtype), torch.randn(rows, 2, dim).to(dtype)


def check(found, x, positions, **options):
    expected = rotate(x, positions, **options)
    # Two products and a sum of a pair in f32, with cosines and sines that may be off by the angle's
    # own rounding.
    size = x.to(torch.float64).abs().amax(-1, keepdim=True) * 2
    angle = positions.to(torch.float64).abs()[:, None, None]
    bound = size * (8 + 2 * angle) * F32
    bound = bound + unit(x.dtype) * (expected.abs() + bound) + smallest(x.dtype)
    assert found.dtype == x.dtype
    assert_close("rotated", found, expected, bound)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("interleave", [False, True])
@pytest.mark.parametrize("rotary_dim", [None, 32])
@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_by_positions(dtype, interleave, rotary_dim, kind):
    q, k = operands(dtype)
    positions = torch.randint(0, 5000, (9,), dtype=kind)
    options = dict(rotary_dim=rotary_dim, interleave=interleave)
    more = dict(rope_scale=2.0, rope_theta=1e5)
    found = flashinfer.apply_rope_pos_ids(q, k, positions, **options, **more)
    for result, x in zip(found, (q, k)):
        check(result, x, positions, scale=2.0, theta=1e5, **options)
    copies = q.clone(), k.clone()
    assert flashinfer.apply_rope_pos_ids_inplace(*copies, positions, **options, **more) is None
    assert all(torch.equal(a, b) for a, b in zip(copies, found))


@pytest.mark.parametrize("interleave", [False, True])
def test_by_offsets(interleave, monkeypatch):
    q, k = operands()
    indptr, offsets = torch.tensor([0, 4, 4, 9], dtype=torch.int32), torch.tensor([7, 3, 100])
    positions = torch.tensor([7, 8, 9, 10, 100, 101, 102, 103, 104])
    found = flashinfer.apply_rope(q, k, indptr, offsets, interleave=interleave)
    for result, x in zip(found, (q, k)):
        check(result, x, positions, interleave=interleave)
    copies = q.clone(), k.clone()
    flashinfer.apply_rope_inplace(*copies, indptr, offsets, interleave=interleave)
    assert all(torch.equal(a, b) for a, b in zip(copies, found))
    # Lists on a device are checked on demand alone.
    monkeypatch.setattr(apus._device_lists, "checks_lists", True)
    with pytest.raises(ValueError, match="indptr must run from 0 to 9"):
        flashinfer.apply_rope(q, k, indptr[:3], offsets[:2])
    with pytest.raises(ValueError, match="offsets must hold 3"):
        flashinfer.apply_rope(q, k, indptr, offsets[:2])


@pytest.mark.parametrize("dtype", TYPES)
def test_frequencies_of_llama31(dtype):
    q, k = operands(dtype, 128)
    positions = torch.randint(0, 20000, (9,))
    factors = dict(low_freq_factor=1.0, high_freq_factor=4.0, old_context_len=8192)
    expected = dict(scale=8.0, theta=5e5, llama31=(1.0, 4.0, 8192))
    found = flashinfer.apply_llama31_rope_pos_ids(q, k, positions)
    for result, x in zip(found, (q, k)):
        check(result, x, positions, **expected)
    named = flashinfer.apply_llama31_rope_pos_ids(q, k, positions, **LLAMA, **factors)
    assert all(torch.equal(a, b) for a, b in zip(named, found))
    copies = q.clone(), k.clone()
    flashinfer.apply_llama31_rope_pos_ids_inplace(*copies, positions)
    assert all(torch.equal(a, b) for a, b in zip(copies, found))
    indptr, offsets = torch.tensor([0, 9]), torch.tensor([50])
    found = flashinfer.apply_llama31_rope(q, k, indptr, offsets)
    for result, x in zip(found, (q, k)):
        check(result, x, 50 + torch.arange(9), **expected)
    copies = q.clone(), k.clone()
    flashinfer.apply_llama31_rope_inplace(*copies, indptr, offsets)
    assert all(torch.equal(a, b) for a, b in zip(copies, found))


def table(length, dim, theta=1e4):
    frequency = theta ** (-torch.arange(dim // 2, dtype=torch.float64) * 2 / dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return torch.cat((angle.cos(), angle.sin()), -1).to(torch.float32)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("is_neox", [True, False])
@pytest.mark.parametrize("rotary_dim", [64, 32])
def test_by_a_table(dtype, is_neox, rotary_dim):
    q, k = operands(dtype)
    positions = torch.randint(0, 500, (9,))
    cache = table(500, rotary_dim)
    found = flashinfer.apply_rope_with_cos_sin_cache(
        positions, q.flatten(1), k.flatten(1), 64, cache, is_neox
    )
    for result, x in zip(found, (q, k)):
        check(
            result.view(x.shape), x, positions, rotary_dim=rotary_dim, interleave=not is_neox
        )
    copies = q.flatten(1).clone(), k.flatten(1).clone()
    flashinfer.apply_rope_with_cos_sin_cache_inplace(positions, *copies, 64, cache, is_neox)
    assert all(torch.equal(a, b) for a, b in zip(copies, found))
    with pytest.raises(ValueError, match="float32"):
        flashinfer.apply_rope_with_cos_sin_cache(
            positions, q.flatten(1), k.flatten(1), 64, cache.half()
        )
    with pytest.raises(ValueError, match="heads of 48"):
        flashinfer.apply_rope_with_cos_sin_cache(
            positions, q.flatten(1), k.flatten(1), 48, cache
        )


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("is_mla", [False, True])
def test_rotation_and_quantisation(kind, is_mla):
    q_rope, k_rope = operands(torch.bfloat16)
    q_nope, k_nope = operands(torch.bfloat16, 128)
    if is_mla:
        k_rope, k_nope = k_rope[:, 0], k_nope[:, 0]
    positions = torch.randint(0, 500, (9,))
    found = flashinfer.rope_quantize_fp8(
        q_rope, k_rope, q_nope, k_nope, table(500, 64), positions, quantize_dtype=kind,
        quant_scale_q=2.0, quant_scale_kv=0.5,
    )
    heads = k_rope.unsqueeze(1) if is_mla else k_rope
    wanted = (
        2 * rotate(q_rope, positions), 0.5 * rotate(heads, positions).view(k_rope.shape),
        2 * q_nope, 0.5 * k_nope,
    )
    for result, x in zip(found, wanted):
        x = x.to(torch.float64)
        bound = 1500 * F32 * x.abs().max()
        bound = bound + unit(kind) * (x.abs() + bound) + smallest(kind)
        assert result.dtype == kind
        assert_close("quantised", result, x, bound)
    if is_mla:
        again = flashinfer.mla_rope_quantize_fp8(
            q_rope, k_rope, q_nope, k_nope, table(500, 64), positions, quantize_dtype=kind,
            quant_scale_q=2.0, quant_scale_kv=0.5,
        )
        pairs = ((a.view(torch.uint8), b.view(torch.uint8)) for a, b in zip(again, found))
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("is_mla", [False, True])
def test_rotation_quantisation_and_append(is_mla):
    q_rope, k_rope = operands(torch.bfloat16, rows=3)
    q_nope, k_nope = operands(torch.bfloat16, 128, 3)
    v = torch.randn(3, 2, 192).to(torch.bfloat16)
    if is_mla:
        k_rope, k_nope, v = k_rope[:, 0], k_nope[:, 0], None
        cache = tuple(torch.zeros(2, 16, d).to(torch.float8_e4m3fn) for d in (128, 64))
    else:
        cache = torch.zeros(2, 2, 16, 2, 192).to(torch.float8_e4m3fn)
    positions = torch.tensor([0, 1, 16])
    lists = (torch.tensor([1, 0]), torch.tensor([0, 2]), torch.tensor([0, 0, 0]), positions)
    result = flashinfer.rope_quantize_fp8_append_paged_kv_cache(
        q_rope, k_rope, q_nope, k_nope, v, table(500, 64), positions, cache, *lists,
    )
    q8, k8, q8_nope, k8_nope = flashinfer.rope_quantize_fp8(
        q_rope, k_rope, q_nope, k_nope, table(500, 64), positions
    )
    bits = [x.view(torch.uint8) for x in (*result, q8, q8_nope, k8, k8_nope)]
    assert torch.equal(bits[0], bits[2]) and torch.equal(bits[1], bits[3])
    slots = ((1, 0), (1, 1), (0, 0))
    for row, (page, slot) in enumerate(slots):
        if is_mla:
            assert torch.equal(cache[0][page, slot].view(torch.uint8), bits[5][row])
            assert torch.equal(cache[1][page, slot].view(torch.uint8), bits[4][row])
        else:
            key = torch.cat((bits[4][row], bits[5][row]), -1)
            assert torch.equal(cache[page, 0, slot].view(torch.uint8), key)
            stored = v[row].to(torch.float8_e4m3fn).view(torch.uint8)
            assert torch.equal(cache[page, 1, slot].view(torch.uint8), stored)

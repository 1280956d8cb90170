"""Append, merge, rotate and pack on NumPy arrays against float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from reference import (
    FORMATS,
    U,
    Rotation,
    assert_within,
    decode,
    encode,
    merged,
    random,
    turned,
    ulp,
)

import apus

PAGE, HEADS, DIM = 4, 2, 16
TABLE = {"page_indptr": [0, 2, 3], "page_indices": [3, 0, 2], "last_page_length": [3, 4]}
TOKENS = {"batch_indices": [0, 0, 1, -1], "positions": [4, 6, 3, 9]}
# Page and slot of the tokens that are not skipped.
PLACES = [(0, 0), (0, 2), (2, 3)]


@pytest.fixture
def rng(request: Any) -> np.random.Generator:
    seed = sum(request.node.name.encode()) + 1
    print(f"seed {seed}")
    return np.random.default_rng(seed)


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize("form", ["separate", "combined"])
def test_append_copies_bits_to_their_slots(rng: Any, layout: str, kind: str, form: str) -> None:
    keys, values = random(rng, (4, HEADS, DIM), kind), random(rng, (4, HEADS, DIM), kind)
    shape = (4, PAGE, HEADS, DIM) if layout == "NHD" else (4, HEADS, PAGE, DIM)
    kv = np.zeros((4, 2, *shape[1:]), keys.dtype)
    k, v = (kv[:, 0], kv[:, 1])
    cache = {"kv": kv} if form == "combined" else {"k": k, "v": v}
    apus.append(keys, values, **cache, layout=layout, **TABLE, **TOKENS)
    wanted = np.zeros_like(kv)
    for token, (page, slot) in enumerate(PLACES):
        for part, rows in enumerate((keys, values)):
            at = (page, part, slot) if layout == "NHD" else (page, part, slice(None), slot)
            wanted[at] = rows[token]
    assert np.array_equal(kv, wanted)


def test_append_by_block_table_divides_by_scales_and_rounds_once(rng: Any) -> None:
    keys, values = random(rng, (4, HEADS, DIM), "f32"), random(rng, (4, HEADS, DIM), "f32")
    k, v = np.zeros((4, PAGE, HEADS, DIM), np.uint8), np.zeros((4, PAGE, HEADS, DIM), np.uint8)
    scale = np.array([0.5, 0.25], np.float32)
    apus.append(
        keys, values, k=k, v=v, cache_type="e4m3", block_table=[[3, 0], [2, -1]],
        kv_lengths=[7, 4], k_scale=scale, v_scale=2.0, **TOKENS)
    for token, (page, slot) in enumerate(PLACES):
        # Powers of two divide exactly: one rounding remains.
        assert np.array_equal(k[page, slot], encode(keys[token] / scale[:, None], "e4m3"))
        assert np.array_equal(v[page, slot], encode(values[token] / 2.0, "e4m3"))


def test_append_with_a_scale_per_token_writes_it(rng: Any) -> None:
    keys = random(rng, (4, HEADS, DIM), "f32")
    k, v = np.zeros((4, PAGE, HEADS, DIM), np.uint8), np.zeros((4, PAGE, HEADS, DIM), np.uint8)
    k_scale, v_scale = (np.zeros((4, PAGE, HEADS), np.float32) for _ in range(2))
    apus.append(
        keys, keys, k=k, v=v, cache_type="e4m3", **TABLE, k_scale=k_scale, v_scale=v_scale,
        **TOKENS)
    for token, (page, slot) in enumerate(PLACES):
        wanted = np.abs(keys[token].astype(np.float64)).max(axis=1) / FORMATS["e4m3"][2]
        assert_within(k_scale[page, slot], wanted, 2 * U * wanted, "k_scale")
        found = decode(k[page, slot], "e4m3") * k_scale[page, slot][:, None]
        exact = keys[token].astype(np.float64)
        # Half a unit of the stored value, and one rounding of the division.
        allowed = (0.5 + 2.0**-20) * ulp("e4m3", exact / wanted[:, None]) * wanted[:, None]
        assert_within(found, exact, allowed, "stored keys")


def test_append_to_a_latent_cache(rng: Any) -> None:
    ckv, kpe = random(rng, (2, 32), "f32"), random(rng, (2, 16), "f32")
    lists = {"page_indptr": [0, 2], "page_indices": [1, 0], "last_page_length": [2],
             "batch_indices": [0, 0], "positions": [3, 5]}
    packed = np.zeros((2, PAGE, 48), np.float32)
    apus.append(ckv, kpe, kv=packed, latent=True, **lists)
    assert np.array_equal(packed[1, 3], np.concatenate([ckv[0], kpe[0]]))
    assert np.array_equal(packed[0, 1], np.concatenate([ckv[1], kpe[1]]))
    parts = np.zeros((2, PAGE, 32), np.float32), np.zeros((2, PAGE, 16), np.float32)
    apus.append(ckv, kpe, k=parts[0], v=parts[1], latent=True, **lists)
    assert np.array_equal(np.concatenate(parts, axis=2), packed)


@pytest.mark.parametrize("convention, base", [("base2", 2.0), ("natural", math.e)])
@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_merges(rng: Any, convention: str, base: float, kind: str) -> None:
    rows, count, heads, dim = 5, 3, 2, 8
    states = random(rng, (rows, count, heads, dim), kind)
    logits = rng.normal(0, 4, (rows, count, heads)).astype(np.float32)
    logits[0, 1, 0] = -np.inf
    logits[1, :, 1] = -np.inf

    def compare(v: Any, s: Any, parts: list[int], what: str) -> None:
        exact, lse, v_allowed, s_allowed = merged(
            decode(states[:, parts], kind), logits[:, parts].astype(np.float64), base)
        assert_within(
            decode(v, kind), exact, v_allowed + 0.5 * ulp(kind, np.abs(exact) + v_allowed), what)
        assert_within(s, lse, s_allowed, f"lse of {what}")

    compare(*apus.merge_states(states, logits, lse=convention), [0, 1, 2], "merge_states")
    pair = [np.ascontiguousarray(states[:, i]) for i in (0, 1)]
    sums = [np.ascontiguousarray(logits[:, i]) for i in (0, 1)]
    out, lse = apus.merge_state(pair[0], sums[0], pair[1], sums[1], lse=convention)
    compare(out, lse, [0, 1], "merge_state")
    mask = np.array([True, False, True, True, False])
    v, s = pair[0].copy(), sums[0].copy()
    apus.merge_state_in_place(v, s, pair[1], sums[1], mask, lse=convention)
    assert np.array_equal(v[mask], out[mask]) and np.array_equal(s[mask], lse[mask])
    assert np.array_equal(v[~mask], pair[0][~mask]) and np.array_equal(s[~mask], sums[0][~mask])
    apus.merge_state_in_place(v, s, pair[1], sums[1], lse=convention)
    assert np.array_equal(v[~mask], out[~mask])


def test_integers_stand_for_types_that_numpy_lacks(rng: Any) -> None:
    states = random(rng, (3, 2, HEADS, DIM), "bf16")
    logits = rng.standard_normal((3, 2, HEADS)).astype(np.float32)
    out, lse = apus.merge_states(states, logits, dtype="bf16")
    exact, _, allowed, _ = merged(decode(states, "bf16"), logits.astype(np.float64), 2.0)
    assert out.dtype == np.uint16
    assert_within(
        decode(out, "bf16"), exact, allowed + 0.5 * ulp("bf16", np.abs(exact) + allowed), "out")
    v, s = states[:, 0].copy(), logits[:, 0].copy()
    other, other_lse = states[:, 1].copy(), logits[:, 1].copy()
    pair, pair_lse = apus.merge_state(v, s, other, other_lse, dtype="bf16")
    assert np.array_equal(pair, out) and np.array_equal(pair_lse, lse)
    apus.merge_state_in_place(v, s, other, other_lse, dtype="bf16")
    assert np.array_equal(v, out) and np.array_equal(s, lse)
    q = random(rng, (2, HEADS, DIM), "e4m3")
    same, _ = apus.rotate(q, q, [0, 0], rope=apus.Rope(), dtype="e4m3")
    assert same.dtype == np.uint8 and np.array_equal(same, q)
    with pytest.raises(ValueError, match="dtype must be one of f32, .*; found 'bf8'"):
        apus.merge_states(states, logits, dtype="bf8")


@pytest.mark.parametrize("rope, turn", [
    (apus.Rope(), Rotation()),
    (apus.Rope(interleaved=True, rotary_dim=8, scale=2.0, theta=5e5), Rotation(True, 8, 2.0, 5e5)),
    (apus.Rope(scale=8.0, theta=5e5, llama31=(1.0, 4.0, 64.0)),
     Rotation(False, 0, 8.0, 5e5, (1.0, 4.0, 64.0))),
])
@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_rotation_by_frequencies(rng: Any, rope: Any, turn: Any, kind: str) -> None:
    q, k = random(rng, (4, 3, DIM), kind), random(rng, (4, 1, DIM), kind)
    positions = np.array([0, 1, 17, 400])
    q_out, k_out = apus.rotate(q, k, positions, rope=rope)
    for found, source in ((q_out, q), (k_out, k)):
        exact = decode(source, kind)
        wanted = turn(exact, positions)
        # Cosine and sine rounded to f32 and within 4 units, two products and a sum: 12 roundings of
        # at most the pair's length.
        allowed = 12 * U * np.abs(exact).max() * math.sqrt(2)
        assert_within(
            decode(found, kind), wanted, allowed + 0.5 * ulp(kind, np.abs(wanted) + allowed), "x")
    turned_q, turned_k = q.copy(), k.copy()
    apus.rotate(turned_q, turned_k, positions, rope=rope, q_out=turned_q, k_out=turned_k)
    assert np.array_equal(turned_q, q_out) and np.array_equal(turned_k, k_out)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_by_a_table(rng: Any, interleaved: bool) -> None:
    q, k = random(rng, (3, 2, DIM), "f32"), random(rng, (3, 1, DIM), "f32")
    angle = rng.uniform(0, 6, (9, DIM // 2))
    table = np.concatenate([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    positions = [8, 0, 5]
    q_out, _ = apus.rotate(q, k, positions, cos_sin_cache=table, interleaved=interleaved)
    rows = table[positions].astype(np.float64)[:, None]
    half = DIM // 2
    wanted = turned(q, rows[..., :half], rows[..., half:], DIM, interleaved)
    assert_within(q_out, wanted, 4 * U * np.abs(q).max() * math.sqrt(2), "q")
    with pytest.raises(ValueError, match="either rope or cos_sin_cache"):
        apus.rotate(q, k, positions)
    with pytest.raises(ValueError, match="positions"):
        apus.rotate(q, k, [0, 1, 9], cos_sin_cache=table)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize("bit_order", ["little", "big"])
def test_pack_bits_is_that_of_numpy(rng: Any, count: int, bit_order: str) -> None:
    flags = rng.random(count) < 0.5
    assert np.array_equal(
        apus.pack_bits(flags, bit_order=bit_order), np.packbits(flags, bitorder=bit_order))
    cut = count // 3
    parts = [np.packbits(part, bitorder=bit_order) for part in (flags[:cut], flags[cut:])]
    assert np.array_equal(
        apus.pack_bits(flags, [0, cut, count], bit_order=bit_order), np.concatenate(parts))

"""AttentionPlan on NumPy arrays against float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from reference import STORAGE, Attention, Rotation, assert_within, decode, encode, random

import apus

HEADS, KV_HEADS, DIM = 4, 2, 32
QO, KV = [3, 1, 0, 5], [9, 1, 4, 20]
PAGE = 4


def indptr(lengths: list[int]) -> list[int]:
    return [0, *np.cumsum(lengths).tolist()]


class Cache:
    """Keys and values of every request, and the same in the tensors of a geometry."""

    def __init__(self, rng: Any, kind: str, geometry: str, layout: str, vo: int = DIM) -> None:
        self.keys = [random(rng, (n, KV_HEADS, DIM), kind) for n in KV]
        self.values = [random(rng, (n, KV_HEADS, vo), kind) for n in KV]
        self.options: dict[str, Any] = {"layout": layout}
        parts = []
        for rows in (self.keys, self.values):
            if geometry == "ragged":
                self.options["kv_indptr"] = indptr(KV)
                parts.append(np.concatenate(rows))
            elif geometry == "padded":
                self.options |= {"max_length": max(KV), "kv_lengths": KV}
                parts.append(self._padded(rows, kind))
            else:
                parts.append(self._paged(rng, rows, kind, geometry))
            if layout == "HND":
                parts[-1] = np.ascontiguousarray(np.swapaxes(parts[-1], -3, -2))
        self.k, self.v = parts

    @staticmethod
    def _poison(shape: tuple[int, ...], kind: str) -> np.ndarray:
        """What is never read: NaN."""
        fill = {"bf16": 0x7FC0, "e4m3": 0x7F, "e5m2": 0x7F}.get(kind, math.nan)
        return np.full(shape, fill, STORAGE[kind])

    def _padded(self, rows: Any, kind: str) -> np.ndarray:
        result = self._poison((len(KV), max(KV), *rows[0].shape[1:]), kind)
        for r, values in enumerate(rows):
            result[r, :KV[r]] = values
        return result

    def _paged(self, rng: Any, rows: Any, kind: str, geometry: str) -> np.ndarray:
        counts = [-(-n // PAGE) for n in KV]
        total = sum(counts) + 2
        if not hasattr(self, "order"):
            self.order = rng.permutation(total)[: sum(counts)].astype(np.int32)
        result = self._poison((total, PAGE, *rows[0].shape[1:]), kind)
        starts = indptr(counts)
        for r, values in enumerate(rows):
            for token in range(KV[r]):
                page = self.order[starts[r] + token // PAGE]
                result[page, token % PAGE] = values[token]
        self.options["page_size"] = PAGE
        if geometry == "pages":
            self.options |= {
                "page_indptr": starts, "page_indices": self.order,
                "last_page_length": [(n - 1) % PAGE + 1 if n else 0 for n in KV]}
        else:
            table = np.full((len(KV), max(counts)), -1, np.int32)
            for r, count in enumerate(counts):
                table[r, :count] = self.order[starts[r]:starts[r] + count]
            self.options |= {"block_table": table, "kv_lengths": np.array(KV)}
        return result


def run_and_compare(
    cpu: Any, rng: Any, cache: Cache, types: tuple[str, str, str], oracle: Attention,
    options: dict[str, Any], arguments: dict[str, Any] | None = None, masks: Any = None,
    k_scale: Any = 1.0, v_scale: Any = 1.0, q_scale: Any = 1.0, base: float = 2.0,
) -> None:
    q_kind, kv_kind, o_kind = types
    width = cache.values[0].shape[-1]
    plan = apus.AttentionPlan(
        cpu, qo_head_count=HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM, head_dim_vo=width,
        q_type=q_kind, kv_type=kv_kind, o_type=o_kind, qo_indptr=indptr(QO), **cache.options,
        **options)
    q = random(rng, (sum(QO), HEADS, DIM), q_kind)
    out, lse = plan.run(q, k=cache.k, v=cache.v, lse=True, **(arguments or {}))
    assert out.dtype == STORAGE[o_kind] and lse.dtype == np.float32
    oracle.o_kind = o_kind
    # With q in bf16, back ends may round the weights to it.
    oracle.rounds_weights = q_kind == "bf16" and not options.get("accurate")
    starts = indptr(QO)
    for r in range(len(QO)):
        rows = slice(starts[r], starts[r + 1])
        oracle.mask = None if masks is None else masks[r]
        o, s, o_allowed, s_allowed = oracle(
            decode(q[rows], q_kind) * np.asarray(q_scale).reshape(-1, 1),
            decode(cache.keys[r], kv_kind) * np.asarray(k_scale).reshape(-1, 1),
            decode(cache.values[r], kv_kind) * np.asarray(v_scale).reshape(-1, 1))
        assert_within(decode(out[rows], o_kind), o, o_allowed, f"out of request {r}")
        unit = math.log(base)
        assert_within(lse[rows], s / unit, s_allowed / unit, f"lse of request {r}")


@pytest.fixture
def rng(request: Any) -> np.random.Generator:
    seed = sum(request.node.name.encode()) + 1
    print(f"seed {seed}")
    return np.random.default_rng(seed)


SCALE = float(np.float32(DIM**-0.5))


@pytest.mark.parametrize("geometry", ["ragged", "padded", "pages", "blocks"])
@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "e4m3", "e5m2"])
def test_geometries_and_types(cpu: Any, rng: Any, geometry: str, layout: str, kind: str) -> None:
    cache = Cache(rng, kind, geometry, layout)
    q_kind = kind if kind in ("f32", "f16", "bf16") else "bf16"
    run_and_compare(cpu, rng, cache, (q_kind, kind, q_kind), Attention(SCALE), {})


@pytest.mark.parametrize("types", [
    ("f32", "e4m3", "f16"), ("e4m3", "e4m3", "bf16"), ("f16", "bf16", "e5m2"),
    ("bf16", "f32", "e4m3")])
def test_mixed_types(cpu: Any, rng: Any, types: tuple[str, str, str]) -> None:
    run_and_compare(cpu, rng, Cache(rng, types[1], "pages", "NHD"), types, Attention(SCALE), {})


@pytest.mark.parametrize("options, changes", [
    ({"causal": True}, {"causal": True}),
    ({"causal": True, "window_left": 3}, {"causal": True, "window": 3}),
    ({"window_left": 0}, {"window": 0}),
    ({"logits_soft_cap": 2.5}, {"cap": 2.5}),
    ({"softmax_scale": 0.25}, {"scale": 0.25}),
    ({"alibi_slopes": [0.5, 0.25, 0.125, 0.0625]},
     {"slopes": np.array([0.5, 0.25, 0.125, 0.0625])}),
    ({"rope": apus.Rope()}, {"rope": Rotation()}),
    ({"rope": apus.Rope(interleaved=True, rotary_dim=16, scale=4.0, theta=5e5)},
     {"rope": Rotation(True, 16, 4.0, 5e5)}),
    ({"split_size": 8}, {}),
    ({"disable_split_kv": True, "batch_invariant": True}, {}),
    ({"accurate": True}, {}),
], ids=lambda value: "-".join(value) if isinstance(value, dict) and value else None)
@pytest.mark.parametrize("kind", ["f32", "bf16"])
def test_options(cpu: Any, rng: Any, options: Any, changes: Any, kind: str) -> None:
    oracle = Attention(**{"scale": SCALE, **changes})
    run_and_compare(
        cpu, rng, Cache(rng, kind, "padded", "NHD"), (kind, kind, "f32"), oracle, options)


def test_width_of_values_may_differ(cpu: Any, rng: Any) -> None:
    cache = Cache(rng, "f32", "ragged", "NHD", vo=16)
    run_and_compare(cpu, rng, cache, ("f32", "f32", "f32"), Attention(SCALE), {})


@pytest.mark.parametrize("bit_order", ["little", "big"])
def test_packed_masks(cpu: Any, rng: Any, bit_order: str) -> None:
    masks = [rng.random((rows, keys)) < 0.6 for rows, keys in zip(QO, KV)]
    flags = np.concatenate([mask.reshape(-1) for mask in masks])
    offsets = indptr([mask.size for mask in masks])
    bits = apus.pack_bits(flags, offsets, bit_order=bit_order)
    options = {
        "mask_bits": bits, "mask_indptr": indptr([-(-mask.size // 8) for mask in masks]),
        "mask_bit_order": bit_order}
    run_and_compare(
        cpu, rng, Cache(rng, "f32", "pages", "NHD"), ("f32", "f32", "f32"), Attention(SCALE),
        options, masks=masks)


@pytest.mark.parametrize("convention, base", [("base2", 2.0), ("natural", math.e)])
def test_conventions_of_lse(cpu: Any, rng: Any, convention: str, base: float) -> None:
    run_and_compare(
        cpu, rng, Cache(rng, "f32", "ragged", "NHD"), ("f32", "f32", "f32"),
        Attention(SCALE, causal=True), {"lse": convention, "causal": True}, base=base)


def test_empty_rows_follow_the_convention(cpu: Any) -> None:
    def lse_of(convention: str) -> float:
        plan = apus.AttentionPlan(
            cpu, qo_head_count=1, kv_head_count=1, head_dim_qk=8, q_type="f32", qo_indptr=[0, 1],
            kv_indptr=[0, 0], lse=convention)
        q = np.ones((1, 1, 8), np.float32)
        out, lse = plan.run(q, k=q[:0], v=q[:0], lse=True)
        assert not out.any()
        return float(lse[0, 0])

    assert lse_of("base2") == -math.inf
    assert lse_of("natural") == -math.inf
    assert lse_of("natural_positive_infinity") == math.inf


def test_scales(cpu: Any, rng: Any) -> None:
    q_scale = np.array([0.5, 2.0, 1.5, 0.25], np.float32)
    k_scale, v_scale = np.array([0.75, 1.25], np.float32), np.array([3.0, 0.125], np.float32)
    o_scale = np.array([1.0, 0.5, 2.0, 4.0], np.float32)
    run_and_compare(
        cpu, rng, Cache(rng, "e4m3", "pages", "HND"), ("bf16", "e4m3", "bf16"),
        Attention(SCALE, o_scale=o_scale), {},
        {"q_scale": q_scale, "k_scale": k_scale, "v_scale": v_scale, "o_scale": o_scale},
        q_scale=q_scale, k_scale=k_scale, v_scale=v_scale)
    run_and_compare(
        cpu, rng, Cache(rng, "e5m2", "padded", "NHD"), ("f16", "e5m2", "f16"),
        Attention(SCALE, o_scale=2.0), {},
        {"q_scale": 1, "k_scale": 0.5, "v_scale": np.float32(4.0), "o_scale": np.array(2.0)},
        k_scale=0.5, v_scale=4.0)


def test_scales_per_token_and_head(cpu: Any, rng: Any) -> None:
    cache = Cache(rng, "e4m3", "padded", "NHD")
    scale = rng.uniform(0.5, 2.0, (len(KV), max(KV), KV_HEADS)).astype(np.float32)
    plan = apus.AttentionPlan(
        cpu, qo_head_count=HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM, q_type="f32",
        kv_type="e4m3", qo_indptr=indptr([1] * len(KV)), **cache.options)
    q = random(rng, (len(KV), HEADS, DIM), "f32")
    out = plan.run(q, k=cache.k, v=cache.v, k_scale=scale, v_scale=scale)
    for r, keys in enumerate(KV):
        factor = scale[r, :keys, :, None].astype(np.float64)
        o, _, allowed, _ = Attention(SCALE)(
            decode(q[r:r + 1], "f32"), decode(cache.keys[r], "e4m3") * factor,
            decode(cache.values[r], "e4m3") * factor)
        assert_within(out[r:r + 1], o, allowed, f"request {r}")


def test_sinks_join_the_denominator_alone(cpu: Any, rng: Any) -> None:
    sinks = np.array([0.5, -1.0, 3.0, -np.inf], np.float32)
    run_and_compare(
        cpu, rng, Cache(rng, "f32", "ragged", "NHD"), ("f32", "f32", "f32"),
        Attention(SCALE, causal=True, sinks=sinks.astype(np.float64)), {"causal": True},
        {"sinks": sinks})


@pytest.mark.parametrize("form", ["packed", "parts"])
def test_latent_attention(cpu: Any, rng: Any, form: str) -> None:
    ckv, kpe, page, heads = 32, 16, 4, 4
    lengths = [6, 11]
    rows = [random(rng, (n, ckv + kpe), "bf16") for n in lengths]
    cache = np.zeros((6, page, ckv + kpe), np.uint16)
    table = np.array([[4, 1, -1], [0, 5, 2]])
    for r, n in enumerate(lengths):
        for token in range(n):
            cache[table[r, token // page], token % page] = rows[r][token]
    q = random(rng, (2, heads, ckv + kpe), "bf16")
    plan = apus.AttentionPlan(
        cpu, qo_head_count=heads, kv_head_count=1, head_dim_qk=ckv + kpe, latent=(ckv, kpe),
        softmax_scale=0.125, qo_indptr=[0, 1, 2], page_size=page, block_table=table.tolist(),
        kv_lengths=lengths, o_type="f32", lse="natural")
    assert plan.output_shape == (2, heads, ckv)
    if form == "packed":
        out, lse = plan.run(q, kv=cache, lse=True)
    else:
        # Views into the same memory: the parts have strides of the whole row.
        out, lse = plan.run(
            q[..., :ckv], q_rope=q[..., ckv:], k=cache[..., :ckv], v=cache[..., ckv:], lse=True)
    for r, n in enumerate(lengths):
        latent = decode(rows[r], "bf16")[:, None]
        o, s, o_allowed, s_allowed = Attention(0.125, rounds_weights=True)(
            decode(q[r:r + 1], "bf16"), latent, latent[..., :ckv])
        assert_within(out[r:r + 1], o, o_allowed, "out")
        assert_within(lse[r:r + 1], s, s_allowed, "lse")


def test_combined_cache_gives_the_bits_of_separate_ones(cpu: Any, rng: Any) -> None:
    kv = random(rng, (3, 2, PAGE, KV_HEADS, DIM), "bf16")
    q = random(rng, (1, HEADS, DIM), "bf16")
    plan = apus.AttentionPlan(
        cpu, qo_head_count=HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM, qo_indptr=[0, 1],
        page_size=PAGE, page_indptr=[0, 3], page_indices=[2, 0, 1], last_page_length=[2])
    assert np.array_equal(plan.run(q, kv=kv), plan.run(q, k=kv[:, 0], v=kv[:, 1]))


def test_replan_changes_lists_in_place(cpu: Any, rng: Any) -> None:
    k = random(rng, (2, 8, KV_HEADS, DIM), "f32")
    q = random(rng, (2, HEADS, DIM), "f32")
    common = {
        "qo_head_count": HEADS, "kv_head_count": KV_HEADS, "head_dim_qk": DIM, "q_type": "f32",
        "qo_indptr": [0, 1, 2], "max_length": 8}
    plan = apus.AttentionPlan(cpu, **common, kv_lengths=[8, 8])
    number = plan.id
    assert plan.replan(kv_lengths=[3, 5]) is plan and plan.id == number
    fresh = apus.AttentionPlan(cpu, **common, kv_lengths=[3, 5])
    assert np.array_equal(plan.run(q, k=k, v=k), fresh.run(q, k=k, v=k))
    with pytest.raises(ValueError, match="kv_lengths|length"):
        plan.replan(kv_lengths=[3, 9])
    with pytest.raises(ValueError):
        plan.replan(qo_indptr=[0, 1, 2, 9])
    # What failed changed nothing.
    assert plan.row_count == 2
    assert np.array_equal(plan.run(q, k=k, v=k), fresh.run(q, k=k, v=k))
    with pytest.raises(ValueError, match="replan: changes must be .* found length"):
        plan.replan(length=3)


def test_rows_beyond_the_plan_are_zero(cpu: Any, rng: Any) -> None:
    q = random(rng, (3, 1, 8), "f32")
    plan = apus.AttentionPlan(
        cpu, qo_head_count=1, kv_head_count=1, head_dim_qk=8, q_type="f32", qo_indptr=[0, 2],
        kv_indptr=[0, 3])
    out, lse = plan.run(q, k=q, v=q, lse=True)
    assert out.shape == (3, 1, 8) and lse.shape == (3, 1)
    assert not out[2].any() and not lse[2].any() and out[:2].any()


@pytest.mark.parametrize("use, stated", [
    ("automatic", None), ("never", "tensor cores never"), ("always", "tensor cores always"),
    (False, "tensor cores never"), (True, "tensor cores always")])
def test_use_of_tensor_cores(cpu: Any, use: Any, stated: str | None) -> None:
    plan = apus.AttentionPlan(
        cpu, qo_head_count=4, kv_head_count=2, head_dim_qk=DIM, qo_indptr=[0, 1], kv_indptr=[0, 9],
        use_tensor_cores=use)
    text = plan.describe()
    assert stated in text if stated else "tensor cores" not in text
    again = plan.replan(use_tensor_cores="automatic")
    assert again is plan and "tensor cores" not in plan.describe()
    with pytest.raises(ValueError, match="use_tensor_cores must be one of automatic, nev"):
        plan.replan(use_tensor_cores="sometimes")


def test_encoding_of_the_reference_is_exact_on_its_own_values() -> None:
    for kind in ("e4m3", "e5m2"):
        codes = np.arange(256, dtype=np.uint8)
        values = decode(codes, kind)
        finite = np.isfinite(values)
        assert np.array_equal(encode(values[finite], kind), codes[finite])

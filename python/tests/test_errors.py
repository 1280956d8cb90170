"""Bad arguments: an exception that names argument, requirement and value, never a crash."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import apus

HEADS, DIM = 2, 16
COMMON: dict[str, Any] = {
    "qo_head_count": HEADS, "kv_head_count": HEADS, "head_dim_qk": DIM, "q_type": "f32",
    "qo_indptr": [0, 1, 2], "max_length": 3}


def plan(**changes: Any) -> apus.AttentionPlan:
    options = {**COMMON, **changes}
    return apus.AttentionPlan("cpu", **{k: v for k, v in options.items() if v is not Ellipsis})


def tensors() -> dict[str, Any]:
    return {
        "q": np.ones((2, HEADS, DIM), np.float32), "k": np.ones((2, 3, HEADS, DIM), np.float32),
        "v": np.ones((2, 3, HEADS, DIM), np.float32)}


@pytest.mark.parametrize("changes, message", [
    ({"kv_head_count": 3}, r"qo_head_count.* multiple of .*kv_head_count; found 2 and 3"),
    ({"qo_head_count": 1 << 40}, r"qo_head_count must fit 32 bits; found 1099511627776"),
    ({"qo_head_count": 2.0}, r"qo_head_count must be an integer; found 2.0"),
    ({"head_dim_qk": 0}, r"head_dim_qk.*found 0"),
    ({"q_type": "f64"}, r"q_type must be one of f32, f16, bf16, e4m3, e5m2; found 'f64'"),
    ({"kv_type": 3}, r"kv_type must be one of .*; found 3"),
    ({"layout": "HDN"}, r"layout must be one of NHD, HND; found 'HDN'"),
    ({"lse": "base10"}, r"lse must be one of base2, natural, .*; found 'base10'"),
    ({"qo_indptr": None}, r"qo_indptr must be given; found None"),
    ({"qo_indptr": [0, 2, 1]}, r"qo_indptr"),
    ({"qo_indptr": [[0, 1, 2]]}, r"qo_indptr must have 1 dimension; found shape \[1, 3\]"),
    ({"qo_indptr": [0, 1.5]}, r"qo_indptr must hold integers; found"),
    ({"qo_indptr": [0, 1 << 70]}, r"qo_indptr must fit 64 bits"),
    ({"qo_indptr": np.array([0.0, 1.0])}, r"qo_indptr must hold integers; .* float64"),
    ({"qo_indptr": 7}, r"qo_indptr must be a list of integers; found int"),
    ({"max_length": None}, r"exactly one of kv_indptr, max_length and page_size .*; found none"),
    ({"kv_indptr": [0, 1, 2]}, r"exactly one of .*; found kv_indptr, max_length"),
    ({"page_indptr": [0, 1]}, r"page_indptr must be None beside max_length"),
    ({"max_length": None, "page_size": 4}, r"exactly one of page_indptr and block_table .*neither"),
    ({"max_length": None, "page_size": 4, "block_table": [[0], [1]]}, r"kv_lengths must be given"),
    ({"max_length": None, "page_size": 4, "block_table": [[0], [1, 2]], "kv_lengths": [1, 2]},
     r"block_table must have rows of one length"),
    ({"max_length": None, "page_size": 0, "block_table": [[0], [1]], "kv_lengths": [1, 2]},
     r"page_size.*found 0"),
    ({"kv_lengths": [3, 4]}, r"length"),
    ({"kv_lengths": [3]}, r"batch|length"),
    ({"window_left": -2}, r"window_left must be at least -1; found -2"),
    ({"mask_bits": b"\0\0"}, r"mask_bits and mask_indptr must be given together"),
    ({"mask_bits": b"\0", "mask_indptr": [0, 1, 2]}, r"mask_byte_count must hold .*found 1 for 2"),
    ({"mask_bits": np.zeros(2, bool), "mask_indptr": [0, 1, 2]},
     r"mask_bits must hold packed bits in uint8; found bool"),
    ({"mask_bits": np.zeros((2, 4), np.uint8)[:, ::2], "mask_indptr": [0, 1, 2]},
     r"mask_bits must be bytes in a contiguous buffer; found ndarray"),
    ({"softmax_scale": "big"}, r"softmax_scale must be a number; found 'big'"),
    ({"softmax_scale": math.nan}, r"softmax_scale.*nan"),
    ({"alibi_slopes": [1.0]}, r"alibi_slopes must hold 2 numbers; found 1"),
    ({"alibi_slopes": [1.0, 1e300]}, r"alibi_slopes must fit f32"),
    ({"rope": "llama"}, r"rope must be an apus.Rope; found str"),
    ({"rope": apus.Rope(rotary_dim=7)}, r"rotary_dim.*7"),
    ({"latent": 5}, r"latent must be \(ckv, kpe\); found 5"),
    ({"latent": (8, 4)}, r"head_dim_qk"),
    ({"tolerance": -1.0}, r"tolerance must be finite and at least 0; found -1.0"),
    ({"tolerance": math.nan}, r"tolerance must be finite and at least 0; found nan"),
    ({"split_size": -4}, r"split_size must be at least 1; found -4"),
])
def test_problems(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**changes)


def test_a_tolerance_that_no_path_meets_is_not_implemented() -> None:
    with pytest.raises(NotImplementedError, match="tolerances of at least"):
        plan(tolerance=1e-9)


def strided(array: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    return np.lib.stride_tricks.as_strided(array, array.shape, strides)


@pytest.mark.parametrize("name, change, message", [
    ("q", lambda a: a[:1], r"q must hold the rows of qo_indptr; found 1 of 2"),
    ("q", lambda a: a[..., :8], r"q must have shape \[any, 2, 16\]; found \[2, 2, 8\]"),
    ("q", lambda a: a.astype(np.float64), r"q must have .*; found .*64"),
    ("q", lambda a: a.astype(np.float16), r"q must have type f32; found f16"),
    ("q", lambda a: a.astype(">f4"), r"q must have a type of .* byte order"),
    ("q", lambda a: a[..., ::-1], r"q must .* not negative"),
    ("q", lambda a: a.reshape(2, HEADS, 2, 8), r"q must have shape"),
    ("q", lambda a: np.ones((1,) * 9, np.float32), r"q must have at most 8 dimensions; found 9"),
    ("q", lambda a: np.float32(1), r"q must .*"),
    ("q", lambda a: [1.0], r"q must be a tensor of torch, NumPy .*; found list"),
    ("q", lambda a: None, r"q must be a tensor of torch, NumPy .*; found NoneType"),
    ("k", lambda a: a.transpose(0, 1, 3, 2), r"k must have shape"),
    ("k", lambda a: np.ones((2, 3, HEADS, 2 * DIM), np.float32)[..., ::2],
     r"k must be contiguous in its last dimension; found stride 2"),
    ("k", lambda a: np.frombuffer(bytearray(a.nbytes + 1), np.uint8)[1:].view(np.float32).reshape(
        a.shape), r"k must be aligned to its scalar"),
    ("k", lambda a: None, r"k must be given"),
    ("v", lambda a: a[:, :2], r"v must have shape \[2, 3, 2, 16\]; found \[2, 2, 2, 16\]"),
    ("v", lambda a: None, r"v must be given"),
])
def test_tensors(name: str, change: Any, message: str) -> None:
    arguments = tensors()
    arguments[name] = change(arguments[name])
    with pytest.raises(ValueError, match=message):
        plan().run(arguments.pop("q"), **arguments)


def read_only(shape: tuple[int, ...]) -> np.ndarray:
    result = np.zeros(shape, np.float32)
    result.flags.writeable = False
    return result


@pytest.mark.parametrize("arguments, message", [
    ({"out": np.zeros((2, HEADS, DIM + 1), np.float32)}, r"o must have shape"),
    ({"out": np.zeros((1, HEADS, DIM), np.float32)}, r"o must hold the rows"),
    ({"out": np.zeros((2, HEADS, DIM), np.float16)}, r"o must have type f32; found f16"),
    ({"out": np.broadcast_to(np.zeros(DIM, np.float32), (2, HEADS, DIM))}, r"out must be writable"),
    ({"out": strided(np.zeros((2, HEADS, DIM), np.float32), (0, 64, 4))},
     r"o is written and its elements must not overlap"),
    ({"out": read_only((2, HEADS, DIM))}, r"out must be writable; found a read-only array"),
    ({"lse": np.zeros((2, HEADS), np.float64)}, r"lse must"),
    ({"lse": np.zeros((2, HEADS + 1), np.float32)}, r"lse must have shape"),
    ({"sinks": np.zeros(3, np.float32)}, r"sinks must have shape \[2\]; found \[3\]"),
    ({"kv": np.zeros((2, 2, 3, HEADS, DIM), np.float32)}, r"either kv or k and v"),
    ({"q_rope": np.zeros((2, HEADS, 4), np.float32)}, r"MLA"),
    ({"q_scale": 0.0}, r"q_scale must be finite and positive; found 0.0"),
    ({"k_scale": -1.0}, r"k_scale must be finite and positive; found -1.0"),
    ({"v_scale": math.inf}, r"v_scale must be finite and positive; found inf"),
    ({"k_scale": np.zeros(2, np.float32)}, r"k_scale must be finite and positive; found 0"),
    ({"k_scale": np.ones(3, np.float32)}, r"k_scale must have shape"),
    ({"o_scale": np.ones((2, HEADS), np.float32)}, r"o_scale must have shape"),
    ({"kpe_scale": 2.0}, r"kpe_scale must be one outside MLA"),
    ({"q_scale": "1"}, r"q_scale must be a tensor"),
    ({"workspace": np.zeros(4, np.float32)}, r"workspace must"),
    ({"stream": 5}, r"stream must be None for back end cpu; found 5"),
])
def test_arguments(arguments: dict[str, Any], message: str) -> None:
    given = tensors()
    with pytest.raises(ValueError, match=message):
        plan().run(given.pop("q"), **given, **arguments)


def test_a_workspace_that_is_too_small() -> None:
    long = plan(
        qo_indptr=[0, 1], max_length=4096, split_size=64, kv_head_count=1, qo_head_count=1)
    assert long.workspace_size > 0
    q, k = np.ones((1, 1, DIM), np.float32), np.ones((1, 4096, 1, DIM), np.float32)
    with pytest.raises(ValueError, match=rf"workspace must hold {long.workspace_size} bytes"):
        long.run(q, k=k, v=k, workspace=np.zeros(long.workspace_size - 1, np.uint8))
    enough = np.zeros(long.workspace_size, np.uint8)
    assert np.array_equal(long.run(q, k=k, v=k, workspace=enough), long.run(q, k=k, v=k))


def test_a_failed_call_leaves_the_next_one_as_it_was() -> None:
    made, given = plan(), tensors()
    q = given.pop("q")
    wanted = made.run(q, **given)
    for bad in ({"sinks": np.zeros(3, np.float32)}, {"k_scale": -1.0}, {"q_scale": np.ones(9)}):
        with pytest.raises(ValueError):
            made.run(q, **given, **bad)
        assert np.array_equal(made.run(q, **given), wanted)
    with pytest.raises(ValueError):
        made.run(q, k=given["k"])
    assert np.array_equal(made.run(q, **given), wanted)


def test_page_indices_beyond_the_cache() -> None:
    made = plan(
        max_length=..., page_size=4, page_indptr=[0, 1, 2], page_indices=[0, 9],
        last_page_length=[1, 1])
    cache = np.zeros((2, 4, HEADS, DIM), np.float32)
    with pytest.raises(ValueError, match=r"page indices must be below .* k; found index 9 of 2"):
        made.run(tensors()["q"], k=cache, v=cache)


@pytest.mark.parametrize("device, message", [
    ("gpu", r"device must be 'cpu', 'cuda' or 'cuda:N'; found 'gpu'"),
    ("cuda:x", r"found 'cuda:x'"), ("cuda:-1", r"found 'cuda:-1'"), (None, r"found None"),
    ("cuda:99999999999999999999", r"31 bits")])
def test_devices(device: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apus.backend(device)


def test_a_cuda_back_end_where_there_is_none() -> None:
    if apus.cuda_device_count() > 0:
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(RuntimeError, match="driver"):
        apus.backend("cuda:0")


@pytest.mark.parametrize("name, value, message", [
    ("keys", np.zeros((4, 2, 8), np.float32), r"must have shape"),
    ("values", np.zeros((3, 2, 8), np.float32), r"v cache must have shape"),
    ("k", np.zeros((2, 4, 2, 16), np.float16), r"k cache must have type|v cache"),
    ("k", None, r"k and v, or kv, must be given; found neither"),
    ("batch_indices", [0, 0, 5], r"batch"),
    ("positions", [0, 1, 8], r"position"),
    ("positions", [0, 1], r"position|batch"),
    ("page_indices", [0, 7], r"page indices must be below"),
    ("page_size", 3, r"must have shape"),
    ("layout", "XYZ", r"layout must be one of NHD, HND"),
    ("source_type", "f8", r"source_type must be one of"),
    ("k_scale", 0.0, r"k_scale must be finite and positive"),
    ("v", read_only((2, 4, 2, 16)), r"v must be writable"),
])
def test_append(name: str, value: Any, message: str) -> None:
    arguments: dict[str, Any] = {
        "keys": np.zeros((3, 2, 16), np.float32), "values": np.zeros((3, 2, 16), np.float32),
        "k": np.zeros((2, 4, 2, 16), np.float32), "v": np.zeros((2, 4, 2, 16), np.float32),
        "page_indptr": [0, 2], "page_indices": [0, 1], "last_page_length": [4],
        "batch_indices": [0, 0, 0], "positions": [0, 1, 7]}
    keys, values = "keys", "values"
    apus.append(arguments.pop(keys), arguments.pop(values), **arguments)
    arguments |= {"keys": np.zeros((3, 2, 16), np.float32),
                  "values": np.zeros((3, 2, 16), np.float32), name: value}
    with pytest.raises(ValueError, match=message):
        apus.append(arguments.pop(keys), arguments.pop(values), **arguments)


def test_merges_and_packs() -> None:
    v, s = np.zeros((2, 3, 8), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"s_b must have shape"):
        apus.merge_state(v, s, v, s[:1])
    with pytest.raises(ValueError, match=r"lse must be one of"):
        apus.merge_state(v, s, v, s, lse="e")
    with pytest.raises(ValueError, match=r"states must have 4 dimensions; found \[2, 3, 8\]"):
        apus.merge_states(v, s)
    with pytest.raises(ValueError, match=r"v_a must have a floating type; found uint16. Name"):
        apus.merge_state(v.astype(np.uint16), s, v.astype(np.uint16), s)
    with pytest.raises(ValueError, match=r"mask must"):
        apus.merge_state_in_place(v, s, v.copy(), s.copy(), np.zeros(3, bool))
    with pytest.raises(ValueError, match=r"flags must have 1 dimension"):
        apus.pack_bits(np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match=r"indptr"):
        apus.pack_bits(np.zeros(4, bool), [0, 9])
    with pytest.raises(ValueError, match=r"indptr"):
        apus.pack_bits(np.zeros(4, bool), [0, 1 << 60])
    with pytest.raises(ValueError, match=r"q and k must have 3 dimensions"):
        apus.rotate(v[0], v[0], [0, 1, 2], rope=apus.Rope())


@pytest.mark.parametrize("bad, message", [
    (apus.Rope(theta=0.0), "theta must be positive"),
    (apus.Rope(scale=-1), "scale must be positive"),
    (apus.Rope(llama31=3), "llama31"),  # type: ignore[arg-type]
    (apus.Rope(theta="x"), "theta must be a number")])  # type: ignore[arg-type]
def test_ropes(bad: apus.Rope, message: str) -> None:
    q = np.zeros((1, 1, 8), np.float32)
    with pytest.raises(ValueError, match=message):
        apus.rotate(q, q, [0], rope=bad)

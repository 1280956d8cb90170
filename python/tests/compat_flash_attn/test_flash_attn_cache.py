"""The function over a KV cache: append, rotation, pages, batch indices, left padding."""

import math

import pytest
import torch
from flash_cases import DTYPES, agree, normal

from apus.compat import flash_attn
from apus.compat.flash_attn import hopper

BATCH, HEADS, KV_HEADS, DIM, ROOM = 3, 4, 2, 32, 24
USED = torch.tensor([5, 0, 17], dtype=torch.int32)


def caches(dtype=torch.float32, rows=BATCH, room=ROOM):
    return [normal(rows, room, KV_HEADS, DIM, dtype=dtype) for _ in range(2)]


def table_of(cache, page):
    """The cache cut into shuffled pages, and its block table."""
    per_request = cache.shape[1] // page
    order = torch.randperm(cache.shape[0] * per_request)
    pages = torch.empty(len(order), page, *cache.shape[2:], dtype=cache.dtype)
    pages[order] = cache.reshape(-1, page, *cache.shape[2:])
    return pages, order.view(cache.shape[0], per_request).int()


def rotated(x, cos, sin, positions, interleaved):
    """Rows x `(n, heads, dim)` in float64, rounded once to their type."""
    half = cos.shape[1]
    c, s = cos.double()[positions][:, None], sin.double()[positions][:, None]
    wide = x.double().clone()
    if interleaved:
        a, b = wide[..., 0 : 2 * half : 2].clone(), wide[..., 1 : 2 * half : 2].clone()
        wide[..., 0 : 2 * half : 2], wide[..., 1 : 2 * half : 2] = a * c - b * s, b * c + a * s
    else:
        a, b = wide[..., :half].clone(), wide[..., half : 2 * half].clone()
        wide[..., :half], wide[..., half : 2 * half] = a * c - b * s, b * c + a * s
    return wide.to(x.dtype)


def same_bits(a, b):
    """Equal, NaN included."""
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def near_rounding(found, expected):
    """Equal to a number rounded once to its type, or to that of the neighbouring f32 result."""
    step = torch.finfo(found.dtype).eps
    gap = (found.double() - expected.double()).abs()
    assert (gap <= step * expected.double().abs() + 8 * torch.finfo(torch.float32).eps).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("release", [2, 3])
@pytest.mark.parametrize("new", [None, 1, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_append_then_attend(dtype, release, new, causal):
    k_cache, v_cache = caches(dtype)
    for r, used in enumerate(USED.tolist()):
        k_cache[r, used:], v_cache[r, used:] = math.nan, math.nan
    q = normal(BATCH, 3, HEADS, DIM, dtype=dtype)
    k = v = None
    count = new or 0
    expected_k, expected_v = k_cache.clone(), v_cache.clone()
    if new:
        k, v = (normal(BATCH, new, KV_HEADS, DIM, dtype=dtype) for _ in range(2))
        for r, used in enumerate(USED.tolist()):
            expected_k[r, used : used + new], expected_v[r, used : used + new] = k[r], v[r]
    function = (flash_attn if release == 2 else hopper).flash_attn_with_kvcache
    out, lse, *rest = function(
        q, k_cache, v_cache, k, v, cache_seqlens=USED, causal=causal, return_softmax_lse=True)
    assert [x.numel() for x in rest] == ([] if release == 2 else [0, 0])
    assert same_bits(k_cache, expected_k) and same_bits(v_cache, expected_v)
    for r, used in enumerate(USED.tolist()):
        agree(
            out[r], lse[r], q[r], expected_k[r, : used + count], expected_v[r, : used + count],
            causal=causal, empty=math.inf if release == 2 else -math.inf)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("width", [32, 16])
@pytest.mark.parametrize("mode", ["full", "causal", "window"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rotation_of_new_keys_and_queries(interleaved, width, mode, dtype):
    k_cache, v_cache = caches(dtype)
    q = normal(BATCH, 3, HEADS, DIM, dtype=dtype)
    k, v = (normal(BATCH, 3, KV_HEADS, DIM, dtype=dtype) for _ in range(2))
    angles = torch.rand(ROOM, width // 2) * 6
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    options = {"causal": mode == "causal", "window_size": (6, 0) if mode == "window" else (-1, -1)}
    out, lse = flash_attn.flash_attn_with_kvcache(
        q, k_cache, v_cache, k, v, rotary_cos=cos, rotary_sin=sin, cache_seqlens=USED,
        rotary_interleaved=interleaved, return_softmax_lse=True, **options)
    for r, used in enumerate(USED.tolist()):
        steps = used + torch.arange(3)
        turned_k = rotated(k[r], cos, sin, steps, interleaved)
        near_rounding(k_cache[r, used : used + 3], turned_k)
        assert torch.equal(v_cache[r, used : used + 3], v[r])
        # The rotation is checked above; attention is compared over what it wrote.
        at = steps if mode != "full" else torch.full((3,), used)
        turned_q = rotated(q[r], cos, sin, at, interleaved)
        agree(
            out[r], None, turned_q, k_cache[r, : used + 3], v_cache[r, : used + 3],
            causal=options["causal"], window=options["window_size"],
            **({"storage": torch.bfloat16} if dtype == torch.bfloat16 else {}))


@pytest.mark.parametrize("release", [2, 3])
@pytest.mark.parametrize("page", [1, 4, 8])
def test_pages(release, page):
    k_cache, v_cache = caches()
    both = torch.cat([k_cache, v_cache], -1)
    pages, table = table_of(both, page)
    k_pages, v_pages = pages[..., :DIM], pages[..., DIM:]
    q = normal(BATCH, 2, HEADS, DIM)
    k, v = normal(BATCH, 2, KV_HEADS, DIM), normal(BATCH, 2, KV_HEADS, DIM)
    name, function = (
        ("block_table", flash_attn.flash_attn_with_kvcache) if release == 2
        else ("page_table", hopper.flash_attn_with_kvcache))
    out, lse, *_ = function(
        q, k_pages, v_pages, k, v, cache_seqlens=USED, causal=True, return_softmax_lse=True,
        **{name: table})
    expected, expected_lse, *_ = function(
        q, k_cache, v_cache, k, v, cache_seqlens=USED, causal=True, return_softmax_lse=True)
    for r, used in enumerate(USED.tolist()):
        found = torch.cat([pages[block] for block in table[r].tolist()])[: used + 2]
        assert torch.equal(found[..., :DIM], k_cache[r, : used + 2])
        assert torch.equal(found[..., DIM:], v_cache[r, : used + 2])
        agree(out[r], lse[r], q[r], k_cache[r, : used + 2], v_cache[r, : used + 2], causal=True,
              empty=math.inf if release == 2 else -math.inf)
        agree(expected[r], None, q[r], k_cache[r, : used + 2], v_cache[r, : used + 2], causal=True)


def test_batch_indices_pick_rows_of_the_cache():
    k_cache, v_cache = caches(rows=6)
    before = k_cache.clone()
    index = torch.tensor([4, 1, 3], dtype=torch.int32)
    q = normal(BATCH, 1, HEADS, DIM)
    k, v = normal(BATCH, 1, KV_HEADS, DIM), normal(BATCH, 1, KV_HEADS, DIM)
    out = flash_attn.flash_attn_with_kvcache(
        q, k_cache, v_cache, k, v, cache_seqlens=USED, cache_batch_idx=index)
    assert torch.equal(k_cache[[0, 2, 5]], before[[0, 2, 5]])
    for r, used in enumerate(USED.tolist()):
        row = int(index[r])
        assert torch.equal(k_cache[row, used], k[r, 0])
        agree(out[r], None, q[r], k_cache[row, : used + 1], v_cache[row, : used + 1])


@pytest.mark.parametrize("layout", ["rows", "indices", "pages"])
def test_left_padding(layout):
    k_cache, v_cache = caches()
    skipped = torch.tensor([2, 0, 9], dtype=torch.int32)
    q = normal(BATCH, 2, HEADS, DIM)
    options, given = {}, (k_cache, v_cache)
    if layout == "indices":
        options["cache_batch_idx"] = torch.tensor([2, 0, 1], dtype=torch.int32)
    if layout == "pages":
        pages, table = table_of(torch.cat([k_cache, v_cache], -1), 8)
        given, options["block_table"] = (pages[..., :DIM], pages[..., DIM:]), table
    out, lse = flash_attn.flash_attn_with_kvcache(
        q, *given, cache_seqlens=USED, cache_leftpad=skipped, causal=True, return_softmax_lse=True,
        **options)
    for r, (start, used) in enumerate(zip(skipped.tolist(), USED.tolist())):
        row = int(options.get("cache_batch_idx", torch.arange(BATCH))[r])
        agree(out[r], lse[r], q[r], k_cache[row, start:used], v_cache[row, start:used], causal=True)


def test_one_length_for_all_and_the_whole_cache_by_default():
    k_cache, v_cache = caches()
    q = normal(BATCH, 1, HEADS, DIM)
    out = flash_attn.flash_attn_with_kvcache(q, k_cache, v_cache, cache_seqlens=7)
    whole = flash_attn.flash_attn_with_kvcache(q, k_cache, v_cache)
    for r in range(BATCH):
        agree(out[r], None, q[r], k_cache[r, :7], v_cache[r, :7])
        agree(whole[r], None, q[r], k_cache[r], v_cache[r])


def test_window_soft_cap_and_alibi():
    k_cache, v_cache = caches()
    q = normal(BATCH, 3, HEADS, DIM)
    slopes = torch.rand(HEADS)
    out = flash_attn.flash_attn_with_kvcache(
        q, k_cache, v_cache, cache_seqlens=USED, causal=True, window_size=(4, 0), softcap=3.0,
        alibi_slopes=slopes, num_splits=1)
    for r, used in enumerate(USED.tolist()):
        agree(out[r], None, q[r], k_cache[r, :used], v_cache[r, :used], causal=True, window=(4, 0),
              softcap=3.0, slopes=slopes)


def test_ragged_queries_and_new_keys():
    k_cache, v_cache = caches()
    counts, new = [2, 0, 3], [1, 4, 0]
    q = normal(5, HEADS, DIM)
    k, v = normal(5, KV_HEADS, DIM), normal(5, KV_HEADS, DIM)
    bounds = [torch.tensor([0, *x]).cumsum(0).int() for x in (counts, new)]
    start = torch.tensor([3, 1, 8], dtype=torch.int32)
    angles = torch.rand(ROOM, 8)
    out, lse, *_ = hopper.flash_attn_with_kvcache(
        q, k_cache, v_cache, k, v, rotary_cos=angles.cos(), rotary_sin=angles.sin(),
        rotary_seqlens=start, cache_seqlens=USED, cu_seqlens_q=bounds[0],
        cu_seqlens_k_new=bounds[1], max_seqlen_q=3, causal=True, return_softmax_lse=True)
    assert out.shape == q.shape and lse.shape == (HEADS, 5)
    for r, used in enumerate(USED.tolist()):
        a, b = slice(*bounds[0][r : r + 2].tolist()), slice(*bounds[1][r : r + 2].tolist())
        steps = int(start[r]) + torch.arange(new[r])
        expected = rotated(k[b], angles.cos(), angles.sin(), steps, True)
        near_rounding(k_cache[r, used : used + new[r]], expected)
        steps = int(start[r]) + torch.arange(counts[r])
        turned = rotated(q[a], angles.cos(), angles.sin(), steps, True)
        end = used + new[r]
        agree(out[a], lse[:, a], turned, k_cache[r, :end], v_cache[r, :end], causal=True,
              empty=-math.inf)


@pytest.mark.parametrize("paged", [False, True])
def test_absorbed_query_over_a_latent_cache(paged):
    k_cache, v_cache = normal(BATCH, ROOM, 1, 64), normal(BATCH, ROOM, 1, 256)
    q, qv = normal(BATCH, 2, 8, 64), normal(BATCH, 2, 8, 256)
    given, options = (k_cache, v_cache), {}
    if paged:
        pages, table = table_of(torch.cat([k_cache, v_cache], -1), 8)
        given, options = (pages[..., :64], pages[..., 64:]), {"page_table": table}
    out, lse, *_ = hopper.flash_attn_with_kvcache(
        q, *given, qv=qv, cache_seqlens=USED, causal=True, return_softmax_lse=True, **options)
    for r, used in enumerate(USED.tolist()):
        agree(
            out[r], lse[r], torch.cat([qv[r], q[r]], -1),
            torch.cat([v_cache[r, :used], k_cache[r, :used]], -1), v_cache[r, :used], causal=True,
            empty=-math.inf)


def test_fp8_cache_with_descales():
    e4m3 = torch.float8_e4m3fn
    k_cache, v_cache = (x.to(e4m3) for x in caches())
    q = normal(BATCH, 1, HEADS, DIM).to(e4m3)
    new = [normal(BATCH, 1, KV_HEADS, DIM).to(e4m3) for _ in range(2)]
    scales = [torch.full((BATCH, KV_HEADS), value) for value in (0.5, 0.25, 2.0)]
    out, lse, *_ = hopper.flash_attn_with_kvcache(
        q, k_cache, v_cache, *new, cache_seqlens=USED, q_descale=scales[0], k_descale=scales[1],
        v_descale=scales[2], return_softmax_lse=True)
    for r, used in enumerate(USED.tolist()):
        assert torch.equal(k_cache[r, used].view(torch.uint8), new[0][r, 0].view(torch.uint8))
        wide = [x.double() * s for x, s in zip(
            (q[r], k_cache[r, : used + 1], v_cache[r, : used + 1]), (0.5, 0.25, 2.0))]
        agree(out[r], lse[r], *wide, empty=-math.inf, compute=torch.bfloat16)

"""Attention in float64 by FlashInfer's rules, with bounds of what a back end may round.

One request at a time, loops over nothing but requests, no tiling. Operands are what is stored,
widened exactly; scales are applied here.

The bound of o follows from the roundings between the exact operands and the stored result: q·k and
its modification in f32 (`score_error`), weights that may be rounded to the width of q before they
meet v (`unit(q)`), sums in f32, and one rounding to o's type.
"""

import dataclasses
import math
import os

import torch

DEVICE = os.environ.get("APUS_TEST_DEVICE", "cpu")
F32 = 2.0**-24
LOG2_E = math.log2(math.e)


def unit(dtype):
    """Half the distance of neighbours, relative: the error of one rounding."""
    return torch.finfo(dtype).eps / 2


def smallest(dtype):
    """Half the least subnormal: the absolute error of one rounding near 0."""
    return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps / 2


@dataclasses.dataclass
class Options:
    """Everything but the operands of one request."""

    sm_scale: float | None = None
    causal: bool = False
    window_left: int = -1
    soft_cap: float = 0.0
    mask: torch.Tensor | None = None
    mode: str = "NONE"
    rope_scale: float = 1.0
    rope_theta: float = 1e4
    sinks: torch.Tensor | None = None
    q_scale: float | torch.Tensor = 1.0
    k_scale: float | torch.Tensor = 1.0
    v_scale: float | torch.Tensor = 1.0
    o_scale: float = 1.0


def slopes(heads):
    """ALiBi's slopes, float64."""
    n = 2 ** int(math.floor(math.log2(heads)))
    first = [2 ** (-8 * (i + 1) / n) for i in range(n)]
    rest = [2 ** (-4 * (2 * i + 1) / n) for i in range(heads - n)]
    return torch.tensor(first + rest, dtype=torch.float64)


def rotate(x, positions, scale=1.0, theta=1e4, rotary_dim=None, interleave=False, llama31=None):
    """x `[rows, heads, dim]` turned by positions `[rows]`."""
    x = x.to(torch.float64)
    dim = rotary_dim or x.shape[-1]
    half = dim // 2
    frequency = theta ** (-torch.arange(half, dtype=torch.float64) * 2 / dim)
    if llama31 is None:
        frequency = frequency / scale
    else:
        low, high, length = llama31
        smooth = (frequency * length / (2 * math.pi) - low) / (high - low)
        smooth = smooth.clamp(0, 1)
        frequency = (1 - smooth) * frequency / scale + smooth * frequency
    angle = positions.to(torch.float64)[:, None, None] * frequency
    cosine, sine = angle.cos(), angle.sin()
    part = x[..., :dim]
    first, second = (
        (part[..., ::2], part[..., 1::2]) if interleave else (part[..., :half], part[..., half:])
    )
    turned = first * cosine - second * sine, second * cosine + first * sine
    result = torch.stack(turned, -1).flatten(-2) if interleave else torch.cat(turned, -1)
    return torch.cat((result, x[..., dim:]), -1)


def _scaled(x, scale):
    x = x.to(torch.float64)
    if isinstance(scale, torch.Tensor) and scale.numel() > 1:
        return x * scale.to(torch.float64)[:, None]
    return x * float(scale)


def attention(q, k, v, options, o_dtype):
    """o, lse and their bounds for one request.

    Args:
        q: `[qo_len, qo_heads, dim]`; k: `[kv_len, kv_heads, dim]`; v: `[kv_len, kv_heads, dim_vo]`.

    Returns:
        o `[qo_len, qo_heads, dim_vo]`, its bound, lse `[qo_len, qo_heads]` in base 2, its bound.
    """
    s = options
    precision = max(unit(q.dtype), F32)
    qo_len, heads, dim = q.shape
    kv_len, group = k.shape[0], heads // k.shape[1]
    q, k, v = _scaled(q, s.q_scale), _scaled(k, s.k_scale), _scaled(v, s.v_scale)
    sm_scale = 1 / math.sqrt(dim) if s.sm_scale is None else s.sm_scale
    kv_index = torch.arange(kv_len)
    position = kv_len - qo_len + torch.arange(qo_len)
    if s.mode == "ROPE_LLAMA":
        q = rotate(q, position, s.rope_scale, s.rope_theta)
        k = rotate(k, kv_index, s.rope_scale, s.rope_theta)
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    x = torch.einsum("ihd,jhd->hij", q, k) * sm_scale
    # |q|·|k| by Cauchy and Schwarz, what errors of the product and of a rotation scale with.
    size = abs(sm_scale) * q.norm(dim=-1).T[:, :, None] * k.norm(dim=-1).T[:, None, :]
    roundings = dim + 16.0
    if s.mode == "ROPE_LLAMA":
        roundings += 4.0 * (8 + max(kv_len, qo_len))
    error = roundings * F32 * size
    if s.soft_cap > 0:
        x = s.soft_cap * torch.tanh(x / s.soft_cap)
        error = error + 8 * F32 * (x.abs() + size.clamp(max=s.soft_cap))
    if s.mode == "ALIBI":
        distance = (kv_index[None, :] - torch.arange(qo_len)[:, None]).to(torch.float64)
        bias = slopes(heads)[:, None, None] * distance
        x = x + bias
        spread = slopes(heads)[:, None, None] * (kv_len + qo_len)
        error = error + 4 * F32 * (bias.abs() + spread)
    visible = torch.ones(qo_len, kv_len, dtype=torch.bool)
    if s.mask is not None:
        visible &= s.mask
    elif s.causal:
        visible &= kv_index[None, :] <= position[:, None]
    if s.window_left >= 0:
        visible &= kv_index[None, :] >= position[:, None] - s.window_left
    x = torch.where(visible, x, -math.inf)
    error = torch.where(visible, error, 0.0)
    is_empty = ~visible.any(-1)
    if kv_len == 0:
        o = torch.zeros(qo_len, heads, v.shape[-1], dtype=torch.float64)
        lse = torch.full((qo_len, heads), -math.inf, dtype=torch.float64)
        return o, torch.zeros_like(o), lse, torch.zeros_like(lse)
    top = x.amax(-1, keepdim=True)
    top = torch.where(top.isinf(), 0.0, top)
    p = torch.exp(x - top)
    total = p.sum(-1, keepdim=True)
    lse = torch.where(is_empty, -math.inf, ((top + total.log()) * LOG2_E).squeeze(-1))
    if s.sinks is not None:
        total = total + torch.exp(s.sinks.to(torch.float64)[:, None, None] - top)
    weights = torch.where(is_empty[None, :, None], 0.0, p / total)
    o = torch.einsum("hij,jhd->ihd", weights, v) / s.o_scale
    # Relative error of every weight: its score's, its exponential's, and that of the sum.
    worst = error.amax(-1, keepdim=True)
    relative = 2 * (worst + (x.abs().nan_to_num(0, 0, 0).amax(-1, keepdim=True) + 8) * F32 * 2)
    relative = relative + (kv_len + 8) * F32
    mass = torch.einsum("hij,jhd->ihd", weights, v.abs()) / abs(s.o_scale)
    bound = mass * (precision + relative.squeeze(-1).T[:, :, None] + (kv_len + 8) * F32)
    bound = bound + unit(o_dtype) * (o.abs() + bound) + smallest(o_dtype)
    lse_bound = (relative.squeeze(-1) + 8 * F32) * LOG2_E + 4 * F32 * lse.abs().nan_to_num(0, 0, 0)
    return o, bound, lse.T, lse_bound.T


def assert_close(name, found, expected, bound):
    """|found − expected| ≤ bound everywhere; −inf and 0 of empty rows exactly."""
    found = found.to(torch.float64)
    assert found.shape == expected.shape, (name, tuple(found.shape), tuple(expected.shape))
    difference = (found - expected).abs()
    is_fine = (difference <= bound) | (found == expected)
    if not is_fine.all():
        worst = torch.where(is_fine, 0.0, difference / bound.clamp(min=1e-300)).nan_to_num(
            math.inf).argmax()
        index = [int(i) for i in torch.unravel_index(worst, found.shape)]
        at = tuple(index)
        raise AssertionError(
            f"{name} differs at {index}: found {found[at]}, expected {expected[at]} ± {bound[at]}, "
            f"{int((~is_fine).sum())} of {found.numel()}"
        )


class Batch:
    """Requests of given lengths, with their operands in every geometry."""

    def __init__(
        self, qo_lengths, kv_lengths, *, qo_heads=4, kv_heads=2, dim=64, dim_vo=None,
        q_dtype=torch.float16, kv_dtype=None, page_size=16, layout="NHD", spread=1.0,
    ):
        self.qo_lengths, self.kv_lengths = list(qo_lengths), list(kv_lengths)
        self.qo_heads, self.kv_heads, self.dim = qo_heads, kv_heads, dim
        self.q_dtype, self.kv_dtype = q_dtype, kv_dtype or q_dtype
        self.page_size, self.layout = page_size, layout
        dim_vo = dim_vo or dim
        self.dim_vo = dim_vo
        self.q = (spread * torch.randn(sum(qo_lengths), qo_heads, dim)).to(q_dtype)
        total = sum(kv_lengths)
        self.k = torch.randn(total, kv_heads, dim).to(self.kv_dtype)
        self.v = torch.randn(total, kv_heads, dim_vo).to(self.kv_dtype)
        self.qo_indptr = _indptr(qo_lengths)
        self.kv_indptr = _indptr(kv_lengths)
        self._page()

    def _page(self):
        """Pages in a shuffled order, unused slots full of NaN where the type has it."""
        size = self.page_size
        counts = [-(-n // size) for n in self.kv_lengths]
        self.page_indptr = _indptr(counts)
        total = sum(counts) + 2
        order = torch.randperm(total)[: sum(counts)]
        self.page_indices = order.to(torch.int32)
        self.last_page_len = torch.tensor(
            [n - (c - 1) * size if c else 0 for n, c in zip(self.kv_lengths, counts)],
            dtype=torch.int32,
        )
        shapes = [(total, size, self.kv_heads, d) for d in (self.dim, self.dim_vo)]
        k, v = (torch.full(s, math.nan).to(self.kv_dtype) for s in shapes)
        for r, start in enumerate(self.kv_indptr[:-1].tolist()):
            for t in range(self.kv_lengths[r]):
                page = order[int(self.page_indptr[r]) + t // size]
                k.view(-1, self.kv_heads, self.dim)[page * size + t % size] = self.k[start + t]
                v.view(-1, self.kv_heads, self.dim_vo)[page * size + t % size] = self.v[start + t]
        if self.layout == "HND":
            k, v = (x.transpose(1, 2).contiguous() for x in (k, v))
        self.k_pages, self.v_pages = k, v

    @property
    def pair(self):
        """The paged cache as a pair."""
        return self.k_pages, self.v_pages

    @property
    def combined(self):
        """The paged cache in one tensor."""
        return torch.stack((self.k_pages.view(_bits(self.kv_dtype)),
                            self.v_pages.view(_bits(self.kv_dtype))), 1).view(self.kv_dtype)

    @property
    def ragged(self):
        """k and v one request after the other."""
        if self.layout == "HND":
            return tuple(x.transpose(0, 1).contiguous() for x in (self.k, self.v))
        return self.k, self.v

    @property
    def lists(self):
        """indptr, indices and last_page_len of the pages."""
        return self.page_indptr, self.page_indices, self.last_page_len

    @property
    def block_tables(self):
        """The pages as a dense table, −1 where there are none."""
        counts = self.page_indptr.diff().tolist()
        table = torch.full((len(counts), max([*counts, 1])), -1, dtype=torch.int32)
        for r, (count, start) in enumerate(zip(counts, self.page_indptr.tolist())):
            table[r, :count] = self.page_indices[start : start + count]
        return table

    def expect(self, options, o_dtype=None, masks=None):
        """o, bound, lse, bound over all rows."""
        parts = []
        for r in range(len(self.qo_lengths)):
            rows = slice(int(self.qo_indptr[r]), int(self.qo_indptr[r + 1]))
            keys = slice(int(self.kv_indptr[r]), int(self.kv_indptr[r + 1]))
            one = dataclasses.replace(options, mask=masks[r]) if masks else options
            parts.append(
                attention(self.q[rows], self.k[keys], self.v[keys], one, o_dtype or self.q_dtype)
            )
        return tuple(torch.cat([p[i] for p in parts]) for i in range(4))

    def check(self, result, options, o_dtype=None, masks=None):
        """Compares o, or (o, lse)."""
        o, o_bound, lse, lse_bound = self.expect(options, o_dtype, masks)
        found = result if isinstance(result, tuple) else (result,)
        assert found[0].dtype == (o_dtype or self.q_dtype)
        assert_close("o", found[0], o, o_bound)
        if len(found) == 2:
            assert found[1].dtype == torch.float32
            assert_close("lse", found[1], lse, lse_bound)


def _bits(dtype):
    return {1: torch.uint8, 2: torch.int16, 4: torch.int32}[dtype.itemsize]


def _indptr(lengths):
    result = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    result[1:] = torch.tensor(lengths, dtype=torch.int32).cumsum(0)
    return result


def workspace(size=1 << 20):
    """A float workspace as users make it."""
    return torch.empty(size, dtype=torch.uint8, device=DEVICE)

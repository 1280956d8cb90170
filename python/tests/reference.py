"""The operators in float64 NumPy, plain and slow, and the bounds that their results must keep.

The bounds are those of ``Documentation/Numerics.md``: sums of worst cases over counted roundings,
with ``u = 2⁻²⁴``. No number in them is fitted to results.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

U = 2.0**-24
LN2 = math.log(2.0)

# Bits of the mantissa, least exponent of a normal number, greatest finite value.
FORMATS = {
    "f32": (23, -126, float(np.finfo(np.float32).max)),
    "f16": (10, -14, 65504.0),
    "bf16": (7, -126, 255 * 2.0**120),
    "e4m3": (3, -6, 448.0),
    "e5m2": (2, -14, 57344.0),
}
STORAGE = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16, "e4m3": np.uint8,
           "e5m2": np.uint8}


def decode(stored: np.ndarray, kind: str) -> np.ndarray:
    """The values of an array that stores ``kind``, as float64."""
    if kind in ("f32", "f16"):
        return stored.astype(np.float64)
    if kind == "bf16":
        return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if kind == "e5m2":
        return (stored.astype(np.uint16) << 8).view(np.float16).astype(np.float64)
    return _E4M3[stored]


def _e4m3(code: int) -> float:
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return math.nan
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return sign * (8 + mantissa) * 2.0 ** (exponent - 10)


_E4M3 = np.array([_e4m3(code) for code in range(256)])


def encode(values: Any, kind: str) -> np.ndarray:
    """Values rounded once to ``kind``, nearest, ties to even, saturating."""
    values = np.asarray(values, dtype=np.float64)
    mantissa, least, greatest = FORMATS[kind]
    if kind == "f32":
        return values.astype(np.float32)
    exponent = np.maximum(np.frexp(values)[1] - 1, least)
    step = np.ldexp(1.0, exponent - mantissa)
    rounded = np.clip(np.round(values / step) * step, -greatest, greatest)
    if kind == "f16":
        return rounded.astype(np.float16)
    if kind == "bf16":
        return (rounded.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if kind == "e5m2":
        return (rounded.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)
    positive = np.searchsorted(_E4M3[:127], np.abs(rounded)).astype(np.uint8)
    return positive | np.where(np.signbit(rounded), np.uint8(0x80), np.uint8(0))


def ulp(kind: str, value: np.ndarray) -> np.ndarray:
    """The distance between neighbours of ``kind`` at a value."""
    mantissa, least, greatest = FORMATS[kind]
    inside = np.minimum(np.abs(value), greatest)
    exponent = np.maximum(np.frexp(inside)[1] - 1, least)
    return np.ldexp(1.0, exponent - mantissa)


def random(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Normal numbers stored as ``kind``."""
    return encode(rng.standard_normal(shape), kind)


@dataclasses.dataclass
class Rotation:
    """Rotary embedding by frequencies."""

    interleaved: bool = False
    rotary_dim: int = 0
    scale: float = 1.0
    theta: float = 1e4
    llama31: tuple[float, float, float] | None = None

    def __call__(self, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """x ``[rows, heads, dim]``."""
        dim = self.rotary_dim or x.shape[-1]
        plain = self.theta ** (-2.0 * np.arange(dim // 2) / dim)
        frequency = plain / self.scale
        if self.llama31 is not None:
            low, high, length = self.llama31
            kept = plain * length / (2 * math.pi * (high - low)) - 1 / (high / low - 1)
            kept = np.clip(kept, 0, 1)
            frequency = (1 - kept) * frequency + kept * plain
        angle = positions[:, None] * frequency
        return turned(x, np.cos(angle)[:, None], np.sin(angle)[:, None], dim, self.interleaved)


def turned(x: Any, cos: Any, sin: Any, dim: int, interleaved: bool) -> np.ndarray:
    """Pairs of x turned by angles ``[rows, 1, dim / 2]``."""
    result = np.array(x, dtype=np.float64)
    half = dim // 2
    first, second = (slice(0, dim, 2), slice(1, dim, 2)) if interleaved else (
        slice(0, half), slice(half, dim))
    a, b = result[..., first].copy(), result[..., second].copy()
    result[..., first] = a * cos - b * sin
    result[..., second] = b * cos + a * sin
    return result


@dataclasses.dataclass
class Attention:
    """One request: real (dequantised) q ``[rows, heads, dim]``, k and v ``[keys, kv_heads, …]``."""

    scale: float
    causal: bool = False
    window: int = -1
    mask: np.ndarray | None = None
    cap: float = 0.0
    slopes: np.ndarray | None = None
    sinks: np.ndarray | None = None
    rope: Rotation | None = None
    o_kind: str = "f32"
    o_scale: Any = 1.0
    rounds_weights: bool = False

    def __call__(self, q: Any, k: Any, v: Any) -> tuple[np.ndarray, ...]:
        """o, natural lse, and what each may be off by; o is divided by ``o_scale``."""
        rows, heads, dim = q.shape
        keys, group = k.shape[0], heads // k.shape[1]
        k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
        positions = keys - rows + np.arange(rows)
        if self.rope is not None:
            q, k = self.rope(q, positions), self.rope(k, np.arange(keys))
        dots = np.einsum("ihd,jhd->hij", q, k)
        bound = abs(self.scale) * np.einsum(
            "hi,hj->hij", np.linalg.norm(q, axis=2).T, np.linalg.norm(k, axis=2).T)
        x = bound.max(axis=(1, 2), initial=0.0)
        scores = dots * self.scale
        if self.cap:
            scores = self.cap * np.tanh(scores / self.cap)
        j = np.arange(keys)
        distance = j[None] - positions[:, None]
        if self.slopes is not None:
            scores = scores + self.slopes[:, None, None] * distance
        seen = np.ones((rows, keys), bool)
        if self.causal:
            seen &= distance <= 0
        if self.window >= 0:
            seen &= distance >= -self.window
        if self.mask is not None:
            seen &= self.mask
        scores = np.where(seen, scores, -np.inf)
        greatest = scores.max(axis=2, initial=-np.inf)
        safe = np.where(np.isfinite(greatest), greatest, 0.0)
        p = np.exp(scores - safe[..., None])
        total = p.sum(axis=2)
        with np.errstate(divide="ignore"):
            lse = safe + np.log(total)
        if self.sinks is not None:
            total = total + np.exp(self.sinks[:, None] - safe)
        # An empty row is zero, with or without a sink.
        weights = p / np.where(total > 0, total, 1.0)[..., None]
        o = np.einsum("hij,jhd->ihd", weights, v)
        magnitude = np.einsum("hij,jhd->ihd", weights, np.abs(v))
        return self._bounded(o, lse.T, magnitude, x, max(rows, keys), dim, keys)

    def _bounded(
        self, o: Any, lse: Any, magnitude: Any, x: Any, longest: int, dim: int, keys: int
    ) -> tuple[np.ndarray, ...]:
        slopes = 0.0 if self.slopes is None else np.abs(self.slopes)
        error = U * (dim + 12) * x + 4 * U * slopes * longest + 4 * U
        if self.rope is not None:
            error = error + 8 * U * x
        if self.cap:
            error = error + np.minimum(x, self.cap) * 2.0**-22 + 4 * U * self.cap
        weights = 2 * 2.0**-8 if self.rounds_weights else 0.0
        relative = np.expm1(2 * error) + 2 * U * (2 * keys + 24) + weights
        o_scale = np.broadcast_to(np.asarray(self.o_scale, np.float64), (o.shape[1],))
        o_scale = o_scale[None, :, None]
        o, allowed = o / o_scale, relative[None, :, None] * magnitude / o_scale
        size = np.abs(np.where(np.isfinite(lse), lse, 0.0)) + x + slopes * longest
        return (
            o, lse, allowed + 0.5 * ulp(self.o_kind, np.abs(o) + allowed),
            error + U * (2 * keys + 8) + 3 * U * size)


def merged(v: Any, s: Any, base: float = math.e) -> tuple[np.ndarray, ...]:
    """States v ``[rows, count, heads, dim]``, s ``[rows, count, heads]`` in logarithms to ``base``:
    merged v and s, and what each may be off by (v before it is rounded)."""
    unit = math.log(base)
    s = s * unit
    greatest = s.max(axis=1, keepdims=True)
    safe = np.where(np.isfinite(greatest), greatest, 0.0)
    w = np.exp(s - safe)
    total = w.sum(axis=1)
    divisor = np.where(total > 0, total, 1.0)
    result = np.einsum("rch,rchd->rhd", w, v) / divisor[..., None]
    magnitude = np.einsum("rch,rchd->rhd", w, np.abs(v)) / divisor[..., None]
    with np.errstate(divide="ignore"):
        lse = safe[:, 0] + np.log(total)
    finite = np.where(np.isfinite(s), s, 0.0)
    size = np.abs(finite).max(axis=1) / LN2
    spread = (np.where(w > 0, safe - finite, 0.0) * w).max(axis=1) / LN2
    count = v.shape[1]
    relative = U * (spread + 2 * size) + 2 * U * count + 8 * U
    return (
        result, lse / unit, 2 * relative[..., None] * magnitude,
        (relative * LN2 + 4 * U * size * LN2) / unit)


def assert_within(found: Any, wanted: np.ndarray, allowed: np.ndarray, what: str) -> None:
    """Every element within its allowance; infinities equal."""
    found = np.asarray(found, np.float64)
    assert found.shape == wanted.shape, f"{what}: shape {found.shape} for {wanted.shape}"
    allowed = np.broadcast_to(allowed, wanted.shape)
    with np.errstate(invalid="ignore"):
        bad = ~((found == wanted) | (np.abs(found - wanted) <= allowed))
    if bad.any():
        at = tuple(int(axis[0]) for axis in np.nonzero(bad))
        raise AssertionError(
            f"{what}: {int(bad.sum())} of {bad.size} elements are off, the first at {at}: found "
            f"{found[at]!r}, wanted {wanted[at]!r} within {allowed[at]!r}")

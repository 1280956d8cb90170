"""Rotary position embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from . import _native
from ._lists import integer, number


@dataclass(frozen=True)
class Rope:
    """A rotary embedding of q and k.

    Pair ``i`` of position ``p`` turns by ``p / scale · theta^(−2i / rotary_dim)``.

    interleaved: pairs are neighbours (GPT-J) instead of halves (GPT-NeoX).
    rotary_dim: leading elements that are rotated; 0 for the whole head.
    llama31: (low frequency factor, high frequency factor, old context length) of Llama 3.1's
        frequency scaling.
    """

    interleaved: bool = False
    rotary_dim: int = 0
    scale: float = 1.0
    theta: float = 10_000.0
    llama31: tuple[float, float, float] | None = None

    def _struct(self) -> _native.RopeStruct:
        result = _native.RopeStruct()
        result.interleaved = bool(self.interleaved)
        result.rotary_dim = integer("rotary_dim", self.rotary_dim)
        for name in ("scale", "theta"):
            value = number(name, getattr(self, name))
            if not value > 0:
                raise ValueError(f"apus.Rope: {name} must be positive; found {value}.")
            setattr(result, name, value)
        if self.llama31 is not None:
            try:
                low, high, length = self.llama31
            except (TypeError, ValueError):
                raise ValueError(
                    "apus.Rope: llama31 must be (low frequency factor, high frequency factor, old "
                    f"context length); found {self.llama31!r}.") from None
            result.is_llama31 = 1
            result.low_frequency_factor = number("llama31[0]", low)
            result.high_frequency_factor = number("llama31[1]", high)
            result.old_context_length = number("llama31[2]", length)
        return result

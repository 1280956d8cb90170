"""The argument memory of a run of attention."""

from __future__ import annotations

import ctypes
from typing import Any

from . import _native
from ._lists import number
from ._streams import StreamSlot
from ._tensors import Slot, shape_of

_SCALES = ("q_scale", "k_scale", "v_scale", "o_scale", "kpe_scale")
TENSORS = ("q_rope", "k", "v", "kv", "lse", "sinks", "workspace")


def _word(field: str) -> int:
    """Index of a field of the arguments among its 64-bit words."""
    return int(getattr(_native.AttentionArguments, field).offset) // 8


_Q, _O = _word("q"), _word("o")
WORDS = {name: _word(name) for name in TENSORS}
_SCALE_WORDS = {name: _word(name) for name in _SCALES}


class Frame:
    """The argument memory of one call; calls of several threads use several."""

    __slots__ = (
        "arguments", "address", "words", "q", "o", "optional", "scales", "present", "has_scales",
        "stream", "keep")

    def __init__(self) -> None:
        self.arguments = _native.AttentionArguments()
        self.address = ctypes.addressof(self.arguments)
        self.words = memoryview(self.arguments).cast("B").cast("Q")
        self.keep: list[Any] = []
        self.q = Slot("q", keep=self.keep)
        self.o = Slot("out", is_output=True, keep=self.keep)
        self.words[_Q] = self.q.address
        self.words[_O] = self.o.address
        self.optional = {
            name: Slot(name, is_output=name in ("lse", "workspace"), keep=self.keep)
            for name in TENSORS}
        self.scales = {name: Slot(name, keep=self.keep) for name in _SCALES}
        self.present: tuple[bool, ...] = (False,) * len(TENSORS)
        self.has_scales = False
        self.stream = StreamSlot()

    def fill_scales(self, values: dict[str, Any]) -> None:
        """Multipliers: numbers, tensors of one element or per head, or per token and head."""
        arguments = self.arguments
        self.has_scales = True
        for name, value in values.items():
            scale = getattr(arguments, name)
            scale.per_head = scale.per_token_head = None
            scale.value = 0.0
            if value is None:
                continue
            if isinstance(value, (int, float)):
                set_scale_value(name, scale, value)
                continue
            rank = len(shape_of(value, name))
            if rank == 0:
                set_scale_value(name, scale, value)
            elif rank == 1 or name not in ("k_scale", "v_scale"):
                scale.per_head = self.scales[name].fill(value)
            else:
                scale.per_token_head = self.scales[name].fill(value)

    def clear_scales(self) -> None:
        start = _SCALE_WORDS["q_scale"]
        for index in range(start, start + 3 * len(_SCALES)):
            self.words[index] = 0
        self.has_scales = False


def set_scale_value(name: str, scale: Any, value: Any) -> None:
    """A multiplier of a whole tensor. In C zero stands for one, which is so no scale at all."""
    multiplier = number(name, value)
    if not 0 < multiplier < 3.5e38:
        raise ValueError(f"apus: {name} must be finite and positive; found {value}.")
    scale.value = 0.0 if multiplier == 1 else multiplier

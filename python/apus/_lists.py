"""Lists of integers and numbers as the C interface takes them."""

from __future__ import annotations

import ctypes
import importlib
import math
import operator
from array import array
from collections.abc import Mapping
from typing import Any

from . import _native
from ._tensors import is_torch

_INT32, _INT64 = 1 << 31, 1 << 63


def integer(name: str, value: Any, bits: int = 32) -> int:
    """An integer that fits ``bits`` bits with sign."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"apus: {name} must be an integer; found {value!r}.") from None
    limit = 1 << (bits - 1)
    if not -limit <= number < limit:
        raise ValueError(f"apus: {name} must fit {bits} bits; found {number}.")
    return number


def number(name: str, value: Any) -> float:
    """A number; single elements of tensors too."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"apus: {name} must be a number; found {value!r}.") from None


def choice(name: str, value: Any, choices: Mapping[str, int]) -> int:
    """The code of a name."""
    found = choices.get(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"apus: {name} must be one of {', '.join(choices)}; found {value!r}.")
    return found


class Integers:
    """A list of integers in host memory that the C interface can read.

    ``values`` may be a sequence, a NumPy array or a torch tensor; int32 and int64 that are
    contiguous are not copied, tensors of a device are copied to the host.
    """

    __slots__ = ("struct", "keepalive", "shape")

    def __init__(self, name: str, values: Any, ndim: int = 1, copies: bool = False) -> None:
        self.struct = _native.IntList()
        self.shape: tuple[int, ...] = ()
        if is_torch(values):
            self._take_torch(name, values)
        else:
            if not _is_plain(values) and hasattr(values, "__array__"):
                # NumPy is there where arrays are, and can be had where others convert to them.
                numpy = importlib.import_module("numpy")
                self._take_numpy(name, numpy.asarray(values), numpy)
            else:
                self._take_sequence(name, values)
        if len(self.shape) != ndim:
            raise ValueError(
                f"apus: {name} must have {ndim} dimension{'s' if ndim > 1 else ''}; found shape "
                f"{list(self.shape)}.")

        if copies and not isinstance(self.keepalive, array):
            self._copy()

    def _copy(self) -> None:
        """Takes the list out of the reach of its owner."""
        count = self.struct.count * self.struct.width
        memory = (ctypes.c_uint8 * max(count, 1))()
        if count:
            ctypes.memmove(memory, self.struct.data, count)
        self._set(
            ctypes.addressof(memory), self.struct.count, self.struct.width, memory)

    def last(self) -> int:
        """The last of them; 0 of an empty list."""
        if self.struct.count == 0:
            return 0
        kind = ctypes.c_int32 if self.struct.width == 4 else ctypes.c_int64
        offset = (self.struct.count - 1) * self.struct.width
        return int(kind.from_address(self.struct.data + offset).value)

    def values(self) -> list[int]:
        """All of them."""
        kind = ctypes.c_int32 if self.struct.width == 4 else ctypes.c_int64
        count = self.struct.count
        return list((kind * count).from_address(self.struct.data)) if count else []

    def _set(self, address: int, count: int, width: int, keepalive: Any) -> None:
        self.struct.data, self.struct.count, self.struct.width = address, count, width
        self.keepalive = keepalive

    def _take_torch(self, name: str, values: Any) -> None:
        import torch

        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise ValueError(f"apus: {name} must hold integers; found a tensor of {values.dtype}.")
        if values.dtype not in (torch.int32, torch.int64):
            values = values.to(torch.int64)
        values = values.detach().cpu().contiguous()
        self.shape = tuple(values.shape)
        self._set(values.data_ptr(), values.numel(), values.element_size(), values)

    def _take_numpy(self, name: str, values: Any, numpy: Any) -> None:
        if values.dtype.kind not in "iu" and values.size > 0:
            raise ValueError(f"apus: {name} must hold integers; found an array of {values.dtype}.")
        if values.dtype not in (numpy.dtype("=i4"), numpy.dtype("=i8")):
            if values.dtype.kind == "u" and values.size > 0 and int(values.max()) >= _INT64:
                raise ValueError(f"apus: {name} must fit 64 bits; found {values.max()}.")
            values = values.astype(numpy.int64)
        values = numpy.ascontiguousarray(values).reshape(values.shape)
        self.shape = tuple(values.shape)
        self._set(values.ctypes.data, values.size, values.dtype.itemsize, values)

    def _take_sequence(self, name: str, values: Any) -> None:
        try:
            values = list(values)
        except TypeError:
            raise ValueError(
                f"apus: {name} must be a list of integers; found {type(values).__name__}."
            ) from None
        self.shape = (len(values),)
        if values and isinstance(values[0], (list, tuple)):
            width = len(values[0])
            if any(not isinstance(row, (list, tuple)) or len(row) != width for row in values):
                raise ValueError(f"apus: {name} must have rows of one length; found a ragged list.")
            self.shape = (len(values), width)
            values = [value for row in values for value in row]
        try:
            stored = array("q", [operator.index(value) for value in values])
        except TypeError:
            raise ValueError(f"apus: {name} must hold integers; found {values!r:.200}.") from None
        except OverflowError:
            raise ValueError(f"apus: {name} must fit 64 bits; found a greater number.") from None
        address, count = stored.buffer_info()
        self._set(address, count, 8, stored)


def _is_plain(values: Any) -> bool:
    return isinstance(values, (list, tuple, range, array))


def floats(name: str, values: Any, count: int) -> ctypes.Array[ctypes.c_float]:
    """``count`` numbers as f32."""
    if is_torch(values):
        values = values.detach().cpu().reshape(-1).tolist()
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        raise ValueError(f"apus: {name} must hold numbers; found {values!r:.200}.") from None
    if len(numbers) != count:
        raise ValueError(f"apus: {name} must hold {count} numbers; found {len(numbers)}.")
    greatest = 3.4028235677973366e38
    if any(math.isfinite(value) and abs(value) >= greatest for value in numbers):
        raise ValueError(f"apus: {name} must fit f32; found {max(numbers, key=abs)}.")
    return (ctypes.c_float * max(count, 1))(*numbers)


def require_one_table(operation: str, page_indptr: Any, block_table: Any, kv_lengths: Any) -> None:
    """Pages come as lists per request or as a dense table, not both."""
    if (page_indptr is None) == (block_table is None):
        raise ValueError(
            f"{operation}: exactly one of page_indptr and block_table must be given; found "
            f"{'neither' if page_indptr is None else 'both'}.")
    if block_table is not None and kv_lengths is None:
        raise ValueError(f"{operation}: kv_lengths must be given with block_table; found None.")
    if page_indptr is not None and kv_lengths is not None:
        raise ValueError(
            f"{operation}: kv_lengths must be None beside page_indptr; found a list. The lengths "
            "follow from last_page_length.")


def tensor_core_use(value: Any) -> int:
    """The code of a use of tensor cores: its name, or whether they are used."""
    if isinstance(value, bool):
        value = "always" if value else "never"
    return choice("use_tensor_cores", value, _native.TENSOR_CORES)

"""Tensors of other libraries as DLPack tensors, without copies.

A :class:`Slot` is a DLPack tensor in memory that is filled again and again: a call with tensors of
the same shape, strides, type and device as the last one writes nothing but an address.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from . import _native

MAX_RANK = 8

# Names of types, as DLPack's (code, bits).
_FLOAT32, _FLOAT16, _BFLOAT16 = (2, 32), (2, 16), (4, 16)
_E4M3, _E5M2 = (10, 8), (12, 8)
_UINT8, _INT8, _UINT16, _INT16, _BOOL = (1, 8), (0, 8), (1, 16), (0, 16), (6, 8)
_INT32, _INT64 = (0, 32), (0, 64)

TYPE_NAMES = {_FLOAT32: "f32", _FLOAT16: "f16", _BFLOAT16: "bf16", _E4M3: "e4m3", _E5M2: "e5m2"}
_CODES = {name: code for code, name in TYPE_NAMES.items()}
_KNOWN = "float32, float16, bfloat16, float8_e4m3fn, float8_e5m2, integers of 8 or 16 bits for them"

_TORCH_TYPES = {
    "float32": _FLOAT32, "float16": _FLOAT16, "bfloat16": _BFLOAT16, "float8_e4m3fn": _E4M3,
    "float8_e5m2": _E5M2, "uint8": _UINT8, "int8": _INT8, "uint16": _UINT16, "int16": _INT16,
    "bool": _BOOL, "int32": _INT32, "int64": _INT64,
}
# NumPy spells those of ml_dtypes by the same names.
_NUMPY_TYPES = _TORCH_TYPES


# The module of torch's operators, once torch is in use.
torch_operators: Any = None


def register_torch() -> None:
    """Registers the operators of torch.library where torch was imported by somebody."""
    global torch_operators
    if torch_operators is None and "torch" in sys.modules:
        from . import _torch

        torch_operators = _torch


class _Memory(ctypes.Structure):
    _fields_ = [
        ("tensor", _native.DLTensor),
        ("shape", ctypes.c_int64 * MAX_RANK),
        ("strides", ctypes.c_int64 * MAX_RANK),
    ]


class Slot:
    """Memory of one DLPack tensor.

    ``address`` is that of the ``DLTensor``. ``fill`` points it at a tensor, which the caller keeps
    alive until the call that uses it has returned.
    """

    __slots__ = ("name", "is_output", "memory", "address", "words", "key", "keep")

    def __init__(
        self, name: str, is_output: bool = False, keep: list[Any] | None = None
    ) -> None:
        self.name = name
        self.is_output = is_output
        self.memory = _Memory()
        self.address = ctypes.addressof(self.memory)
        # The first word of a DLTensor is its address of data.
        self.words = memoryview(self.memory).cast("B").cast("Q")
        self.key: Any = None
        # What must live until the call has returned.
        self.keep: list[Any] = [] if keep is None else keep

    def fill(self, tensor: Any) -> int:
        """Describes a tensor; returns the address of the ``DLTensor``."""
        adapter = _ADAPTERS.get(type(tensor))
        if adapter is None:
            adapter = _adapter_of(type(tensor), self.name, tensor)
        adapter(self, tensor)
        return self.address

    def retype(self, kind: str) -> None:
        """Takes integers of 8 or 16 bits for the type of that name, where the width is its own."""
        tensor = self.memory.tensor
        code, bits = _CODES[kind]
        if tensor.code in (0, 1) and tensor.bits == bits and bits < 32:
            tensor.code = code
            self.key = None

    def describe(
        self, shape: tuple[int, ...], strides: tuple[int, ...], code: tuple[int, int],
        device: tuple[int, int],
    ) -> None:
        """Writes all but the address; strides in elements."""
        rank = len(shape)
        if rank > MAX_RANK:
            raise ValueError(
                f"apus: {self.name} must have at most {MAX_RANK} dimensions; found {rank}.")
        tensor = self.memory.tensor
        tensor.device_type, tensor.device_id = device
        tensor.ndim = rank
        tensor.code, tensor.bits = code
        tensor.lanes = 1
        tensor.byte_offset = 0
        base = self.address
        tensor.shape = base + _Memory.shape.offset
        tensor.strides = base + _Memory.strides.offset
        self.memory.shape[:rank] = shape
        self.memory.strides[:rank] = strides


def _describe_torch(slot: Slot, tensor: Any) -> None:
    import torch

    slot.key = None
    name = str(tensor.dtype).removeprefix("torch.")
    code = _TORCH_TYPES.get(name)
    if code is None:
        raise ValueError(f"apus: {slot.name} must have a type of {_KNOWN}; found {tensor.dtype}.")
    device = tensor.device
    if device.type == "cpu":
        place = (_native.CPU, 0)
    elif device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        place = (_native.CUDA, index)
    else:
        raise ValueError(f"apus: {slot.name} must live on a CPU or a CUDA device; found {device}.")
    needed = 0
    if tensor.numel() > 0:
        needed = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride())) + 1
        needed = (needed + tensor.storage_offset()) * tensor.element_size()
    if needed > tensor.untyped_storage().nbytes():
        raise ValueError(
            f"apus: {slot.name} must have its elements in its storage; found "
            f"{tensor.untyped_storage().nbytes()} of {needed} bytes: the storage was freed or "
            "resized.")
    slot.describe(tuple(tensor.shape), tuple(tensor.stride()), code, place)


def _not_dense(slot: Slot, tensor: Any, error: Exception) -> ValueError:
    return ValueError(
        f"apus: {slot.name} must be a dense tensor with memory of its own; found "
        f"{type(tensor).__name__}: {error}")


def _fill_torch(slot: Slot, tensor: Any) -> None:
    try:
        key = (tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        if key != slot.key:
            _describe_torch(slot, tensor)
            slot.key = key
        slot.words[0] = tensor.data_ptr()
    except RuntimeError as error:
        raise _not_dense(slot, tensor, error) from error


def _fill_numpy(slot: Slot, array: Any) -> None:
    interface = array.__array_interface__
    address, is_read_only = interface["data"]
    if is_read_only and slot.is_output:
        raise ValueError(f"apus: {slot.name} must be writable; found a read-only array.")
    key = (array.dtype, array.shape, array.strides)
    if key != slot.key:
        slot.key = None
        code = _NUMPY_TYPES.get(array.dtype.name)
        if code is None or not array.dtype.isnative:
            raise ValueError(
                f"apus: {slot.name} must have a type of {_KNOWN} in the byte order of the machine; "
                f"found {array.dtype}.")
        item = array.dtype.itemsize
        if array.size > 0 and any(s % item for n, s in zip(array.shape, array.strides) if n > 1):
            raise ValueError(
                f"apus: {slot.name} must have strides of whole elements; found {array.strides} "
                f"bytes for elements of {item}.")
        strides = tuple(s // item for s in array.strides)
        if array.size == 0:
            # NumPy's mean nothing: negative ones of a reversed array, zeros of a new one.
            strides = dense_strides(array.shape)
        slot.describe(array.shape, strides, code, (_native.CPU, 0))
        slot.key = key
    slot.words[0] = address


# A function object of our own: types set on that of pythonapi would be everybody's.
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))


def _fill_dlpack(slot: Slot, tensor: Any) -> None:
    slot.key = None
    try:
        kind, _ = tensor.__dlpack_device__()
        # 1 is the legacy default stream: what was enqueued before is visible to work on it.
        if int(kind) in (_native.CUDA, _native.CUDA_MANAGED):
            capsule = tensor.__dlpack__(stream=1)
        else:
            capsule = tensor.__dlpack__()
        source = _native.DLTensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    except Exception as error:
        raise ValueError(
            f"apus: {slot.name} must be exportable through DLPack; found {type(tensor).__name__}: "
            f"{error}") from error
    # The capsule owns the description.
    slot.keep.append(capsule)
    rank = source.ndim
    if not 0 <= rank <= MAX_RANK:
        raise ValueError(
            f"apus: {slot.name} must have at most {MAX_RANK} dimensions; found {rank}.")
    shape = tuple((ctypes.c_int64 * rank).from_address(source.shape)) if rank else ()
    if source.strides and rank:
        strides = tuple((ctypes.c_int64 * rank).from_address(source.strides))
    else:
        strides = dense_strides(shape)
    slot.describe(
        shape, strides, (source.code, source.bits), (source.device_type, source.device_id))
    slot.memory.tensor.lanes = source.lanes
    slot.words[0] = (source.data or 0) + source.byte_offset


_ADAPTERS: dict[type, Callable[[Slot, Any], None]] = {}


def _adapter_of(kind: type, name: str, tensor: Any) -> Callable[[Slot, Any], None]:
    """Finds and remembers how tensors of a class are described; libraries are never imported."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    adapter: Callable[[Slot, Any], None]
    if torch is not None and issubclass(kind, torch.Tensor):
        register_torch()
        adapter = _fill_torch
    elif numpy is not None and issubclass(kind, numpy.ndarray):
        adapter = _fill_numpy
    elif hasattr(kind, "__dlpack__") and hasattr(kind, "__dlpack_device__"):
        adapter = _fill_dlpack
    else:
        raise ValueError(
            f"apus: {name} must be a tensor of torch, NumPy or another producer of DLPack; found "
            f"{kind.__name__}.")
    _ADAPTERS[kind] = adapter
    return adapter


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    strides, running = [], 1
    for extent in reversed(shape):
        strides.append(running)
        running *= max(extent, 1)
    return tuple(reversed(strides))


def is_torch(tensor: Any) -> bool:
    """Whether it is a tensor of torch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(tensor, torch.Tensor)


def shape_of(tensor: Any, name: str) -> tuple[int, ...]:
    """The extents of a tensor of any library."""
    try:
        return tuple(int(extent) for extent in tensor.shape)
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"apus: {name} must be a tensor of torch, NumPy or another producer of DLPack; found "
            f"{type(tensor).__name__}.") from error


# By dtype of torch.
_torch_names: dict[Any, str | None] = {}


def type_of(tensor: Any, name: str) -> str | None:
    """The name of a tensor's element type; None for integers, which stand for any type."""
    if is_torch(tensor):
        try:
            return _torch_names[tensor.dtype]
        except KeyError:
            slot = Slot(name)
            slot.fill(tensor)
            kind = TYPE_NAMES.get((slot.memory.tensor.code, slot.memory.tensor.bits))
            _torch_names[tensor.dtype] = kind
            return kind
    slot = Slot(name)
    slot.fill(tensor)
    return TYPE_NAMES.get((slot.memory.tensor.code, slot.memory.tensor.bits))


_NUMPY_STORAGE = {
    "f32": "float32", "f16": "float16", "bf16": "uint16", "e4m3": "uint8", "e5m2": "uint8"}
_ML_DTYPES = {"bf16": "bfloat16", "e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2"}
_TORCH_STORAGE = {
    "f32": "float32", "f16": "float16", "bf16": "bfloat16", "e4m3": "float8_e4m3fn",
    "e5m2": "float8_e5m2", "u8": "uint8"}


def torch_type(name: str) -> Any:
    """torch's type of a name."""
    return getattr(sys.modules["torch"], _TORCH_STORAGE[name])


def empty_like(tensor: Any, shape: tuple[int, ...], kind: str) -> Any:
    """A new tensor beside another: its library and device, another shape and type.

    NumPy arrays have ``uint16`` and ``uint8`` for types that NumPy lacks, or those of ml_dtypes
    where ``tensor`` has one. Beside other libraries' tensors on the CPU it is a NumPy array.
    """
    if is_torch(tensor):
        return tensor.new_empty(shape, dtype=torch_type(kind))
    import numpy

    stored = "uint8" if kind == "u8" else _NUMPY_STORAGE[kind]
    if (
        kind in _ML_DTYPES and isinstance(tensor, numpy.ndarray)
        and tensor.dtype.name in _ML_DTYPES.values()
    ):
        return numpy.empty(shape, dtype=getattr(sys.modules["ml_dtypes"], _ML_DTYPES[kind]))
    if not isinstance(tensor, numpy.ndarray):
        kind_of_device = int(tensor.__dlpack_device__()[0])
        if kind_of_device not in (_native.CPU, _native.CUDA_HOST):
            cupy = sys.modules.get("cupy")
            if cupy is not None and isinstance(tensor, cupy.ndarray):
                with tensor.device:
                    return cupy.empty(shape, dtype=stored)
            raise ValueError(
                "apus: out must be given for CUDA tensors of libraries other than torch and CuPy; "
                f"found {type(tensor).__module__}.{type(tensor).__name__}.")
    return numpy.empty(shape, dtype=stored)


def device_of(tensor: Any, name: str = "tensor") -> str:
    """``"cpu"`` or ``"cuda:0"``: where a tensor lives."""
    if is_torch(tensor):
        place = tensor.device
        if place.type == "cpu":
            return "cpu"
        if place.type == "cuda" and place.index is not None:
            return f"cuda:{place.index}"
    slot = Slot(name)
    slot.fill(tensor)
    kind, index = slot.memory.tensor.device_type, slot.memory.tensor.device_id
    if kind in (_native.CPU, _native.CUDA_HOST):
        return "cpu"
    if kind in (_native.CUDA, _native.CUDA_MANAGED):
        return f"cuda:{index}"
    raise ValueError(
        f"apus: {name} must live on a CPU or a CUDA device; found DLPack device type {kind}.")

"""Lists of integers on a CUDA device: kernels follow them there, the host never reads them.

What they hold is not checked, since that would wait for the device. ``APUS_CHECK_INDICES=1`` in the
environment has them copied to the host and checked, for debugging; while a graph is captured the
kernels check them, where they can.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from . import _native
from ._lists import Integers
from ._streams import handle_of
from ._tensors import is_torch

checks_lists = os.environ.get("APUS_CHECK_INDICES") == "1"


def is_on_device(values: Any, stays: bool = False) -> bool:
    """Whether a list is a tensor of a CUDA device that is not to be read on the host, which one
    that ``stays`` never is."""
    if values is None or isinstance(values, (list, tuple, range)):
        return False
    if is_torch(values):
        return bool(values.is_cuda) and (stays or not checks_lists or _is_capturing())
    if checks_lists and not stays:
        return False
    device = getattr(values, "__dlpack_device__", None)
    return device is not None and int(device()[0]) in (_native.CUDA, _native.CUDA_MANAGED)


def _is_capturing() -> bool:
    return bool(sys.modules["torch"].cuda.is_current_stream_capturing())


def on_device(
    name: str, values: Any, *, index: int, ndim: int = 1, wide: bool = False, stream: Any = None,
) -> Any:
    """A list as a contiguous int32 tensor of a device, ``wide`` also as int64.

    Tensors that are so already are returned as they are. Others of torch are converted on the
    device, in stream order; those of the host are copied there, without a wait.
    """
    if not is_torch(values) and is_on_device(values, stays=True):
        return values
    torch = sys.modules.get("torch")
    if torch is None:
        raise ValueError(
            f"apus: {name} must be on the device, as the other lists are; found "
            f"{type(values).__name__}.")
    if not is_torch(values):
        # Checks what it is; the copy outlives the values.
        found = Integers(name, values, ndim)
        values = torch.tensor(found.values(), dtype=torch.int64, device="cpu").reshape(found.shape)
    elif values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"apus: {name} must hold integers; found a tensor of {values.dtype}.")
    if values.dim() != ndim:
        raise ValueError(
            f"apus: {name} must have {ndim} dimension{'s' if ndim > 1 else ''}; found shape "
            f"{list(values.shape)}.")
    if values.is_cuda and values.device.index not in (None, index):
        raise ValueError(
            f"apus: {name} must live in cuda:{index} memory; found {values.device}.")
    values = values.detach()
    kind = torch.int64 if wide and values.dtype == torch.int64 else torch.int32
    # Rows of a table may be strided; what is not dense is copied below, on the call's stream.
    is_dense = values.is_contiguous() or (ndim == 2 and values.stride(-1) == 1)
    if values.is_cuda and values.dtype == kind and is_dense:
        return values
    if not values.is_cuda and torch.cuda.is_current_stream_capturing():
        raise ValueError(
            f"apus: {name} must be on the device while a CUDA graph is captured; found a list of "
            "the host.")
    if not values.is_cuda and values.is_pinned():
        # The copy is asynchronous, and the caller may change its list.
        values = values.clone()
    with _on_stream(torch, index, stream):
        return values.to(kind).to(f"cuda:{index}", non_blocking=True).contiguous()


def _on_stream(torch: Any, index: int, stream: Any) -> Any:
    """torch's allocations and work go to the stream of the call, where it is not torch's own."""
    if stream is None:
        return contextlib.nullcontext()
    return torch.cuda.stream(torch.cuda.ExternalStream(handle_of(stream), device=index))


def append_lists(
    lists: dict[str, Any], index: int, stream: Any, slots: Any
) -> _native.AppendLists:
    """The lists of an append as tensors of the device, in the slots of a call."""
    struct = _native.AppendLists()
    for name in ("batch_indices", "positions", "page_indptr", "page_indices", "block_table"):
        values = lists[name]
        if values is None:
            continue
        tensor = on_device(
            name, values, index=index, ndim=2 if name == "block_table" else 1, stream=stream)
        slots.keep.append(tensor)
        setattr(struct, name, slots(name, tensor))
    slots.keep.append(struct)
    return struct

"""Plans kept between calls.

The functions of this package have no plan step, so a call would plan anew for each layer of a model
although only its tensors changed. Plans are therefore kept by the content of everything they depend
on. Integer lists are read on the host; lists that lie on a device cost a copy to the host per call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import torch

import apus

_LIMIT = 64
_plans: OrderedDict[Any, Any] = OrderedDict()
_captured: list[Any] = []
_lock = threading.Lock()

TYPE_NAMES = {
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "e4m3",
    torch.float8_e5m2: "e5m2",
}


def type_name(operation: str, name: str, tensor: torch.Tensor) -> str:
    """Apus's name of the tensor's element type."""
    try:
        return TYPE_NAMES[tensor.dtype]
    except KeyError:
        supported = ", ".join(str(dtype).removeprefix("torch.") for dtype in TYPE_NAMES)
        raise NotImplementedError(
            f"{operation}: {name} must be one of {supported}; found "
            f"{str(tensor.dtype).removeprefix('torch.')}."
        ) from None


def _is_capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def host_ints(operation: str, name: str, values: Any) -> np.ndarray:
    """A list of integers as a contiguous host array of 32 or 64 bits."""
    if isinstance(values, torch.Tensor):
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise ValueError(f"{operation}: {name} must hold integers; found {values.dtype}.")
        if _is_capturing(values.device):
            raise NotImplementedError(
                f"{operation}: {name} must be a host tensor while a CUDA graph is captured; found "
                f"one on {values.device}. Use apus.AttentionPlan, which plans before the capture."
            )
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.dtype not in (np.int32, np.int64):
        array = array.astype(np.int64)
    return np.ascontiguousarray(array).reshape(array.shape)


def _frozen(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    return value


def plan_for(device: torch.device, **problem: Any) -> Any:
    """The plan of a problem: a kept one, or a new one.

    Runs of one plan on a GPU must follow each other, so plans are kept per stream there, and those
    that a graph captured stay for good.
    """
    backend = apus.backend(device_name(device))
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    key = (device_name(device), stream) + tuple(
        (name, _frozen(value)) for name, value in sorted(problem.items())
    )
    with _lock:
        plan = _plans.get(key)
        if plan is not None:
            _plans.move_to_end(key)
    if plan is None:
        plan = apus.AttentionPlan(backend, **problem)
        with _lock:
            _plans[key] = plan
            while len(_plans) > _LIMIT:
                _plans.popitem(last=False)
    if _is_capturing(device) and all(plan is not kept for kept in _captured):
        _captured.append(plan)
    return plan


def device_name(device: torch.device) -> str:
    """`cpu` or `cuda:<index>`."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return f"cuda:{index}"
    return device.type

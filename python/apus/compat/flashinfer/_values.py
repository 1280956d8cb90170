"""Types, lists and checks that every part of the FlashInfer interface shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch

LN_2 = 0.6931471805599453
LOG2_E = 1.4426950408889634

# Element types by Apus's names.
TYPE_NAMES: dict[torch.dtype, str] = {
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "e4m3",
    torch.float8_e5m2: "e5m2",
}
FP8_TYPES = (torch.float8_e4m3fn, torch.float8_e5m2)

BACKENDS = frozenset(
    (
        "auto fa2 fa3 cutlass cudnn trtllm-gen cute-dsl cutile xqa prims-ts fmha_v2 cake "
        "cute-dsl-monolithic cute-dsl-modular"
    ).split()
)


class InvalidNameError(ValueError, KeyError):
    """An unknown layout or mode: ValueError as Apus has it, KeyError as FlashInfer has it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def fail(operation: str, requirement: str, found: Any, remedy: str = "") -> NoReturn:
    """Raises ValueError in the form `operation: requirement; found value. remedy`."""
    raise ValueError(message(operation, requirement, found, remedy))


def message(operation: str, requirement: str, found: Any, remedy: str = "") -> str:
    """The sentence of an error."""
    text = f"{operation}: {requirement}; found {found}."
    return f"{text} {remedy}" if remedy else text


def unsupported(operation: str, feature: str, supported: str) -> NoReturn:
    """Raises NotImplementedError that names the supported set."""
    raise NotImplementedError(f"{operation}: {feature} is not supported. Supported: {supported}.")


def reject(operation: str, supported: str, **arguments: Any) -> None:
    """Raises NotImplementedError for the first argument that is neither None nor False."""
    for name, value in arguments.items():
        if value is not None and value is not False:
            unsupported(operation, name, supported)


def torch_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A dtype given by itself or by its name in torch."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if isinstance(dtype, str):
        value = getattr(torch, dtype, None)
        if isinstance(value, torch.dtype):
            return value
        raise ValueError(f"dtype must name a torch dtype; found {dtype!r}.")
    raise TypeError(f"dtype must be a torch.dtype or its name; found {type(dtype).__name__}.")


def output_type(q_dtype: torch.dtype, of_fp8: torch.dtype) -> torch.dtype:
    """The type of o where none is stated: q's, or `of_fp8` where q has 8 bits."""
    return of_fp8 if q_dtype in FP8_TYPES else q_dtype


def type_name(dtype: torch.dtype, operation: str, name: str) -> str:
    """Apus's name of a torch dtype."""
    try:
        return TYPE_NAMES[dtype]
    except KeyError:
        supported = ", ".join(str(t).removeprefix("torch.") for t in TYPE_NAMES)
        raise NotImplementedError(
            f"{operation}: {name} of {dtype} is not supported. Supported: {supported}."
        ) from None


def check_layout(operation: str, kv_layout: str) -> str:
    """`NHD` or `HND`."""
    if kv_layout not in ("NHD", "HND"):
        requirement = "kv_layout must be 'NHD' or 'HND'"
        raise InvalidNameError(message(operation, requirement, repr(kv_layout)))
    return kv_layout


def check_position_mode(operation: str, mode: str) -> str:
    """`NONE`, `ROPE_LLAMA` or `ALIBI`."""
    if mode not in ("NONE", "ROPE_LLAMA", "ALIBI"):
        requirement = "pos_encoding_mode must be 'NONE', 'ROPE_LLAMA' or 'ALIBI'"
        raise InvalidNameError(message(operation, requirement, repr(mode)))
    return mode


def check_backend(operation: str, backend: str) -> str:
    """FlashInfer's choice of kernels. Apus has its own; the name is only checked."""
    if backend not in BACKENDS:
        fail(operation, f"backend must be one of {', '.join(sorted(BACKENDS))}", repr(backend))
    return backend


def check_lse(operation: str, base: str, layout: str) -> None:
    """`log2` or `ln`, and `NH` or `HN`."""
    if base not in ("log2", "ln"):
        fail(operation, "lse_base must be 'log2' or 'ln'", repr(base))
    if layout not in ("NH", "HN"):
        fail(operation, "lse_layout must be 'NH' or 'HN'", repr(layout))


def check_tensor(
    operation: str,
    name: str,
    tensor: torch.Tensor,
    shape: Sequence[int],
    dtype: torch.dtype | None,
    device: torch.device | None,
) -> None:
    """Shape, dtype and device of a tensor that the caller supplies."""
    if tuple(tensor.shape) != tuple(shape):
        fail(operation, f"{name} must have the shape {tuple(shape)}", tuple(tensor.shape))
    if dtype is not None and tensor.dtype != dtype:
        fail(operation, f"{name} must have the dtype {dtype}", tensor.dtype)
    if device is not None and tensor.device != device:
        fail(operation, f"{name} must be on {device}", tensor.device)


def host_integers(values: Any, operation: str, name: str) -> np.ndarray:
    """A list of integers in host memory, int64. Tensors of a device are copied."""
    if isinstance(values, torch.Tensor):
        if values.dtype.is_floating_point or values.dtype == torch.bool:
            fail(operation, f"{name} must hold integers", values.dtype)
        if values.is_cuda and torch.cuda.is_current_stream_capturing():
            supported = "lists in host memory, and plan() before the capture"
            unsupported(operation, f"{name} on a device while a CUDA graph is captured", supported)
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.ndim != 1:
        fail(operation, f"{name} must have one dimension", array.ndim)
    if array.dtype.kind not in "iu" and array.size:
        fail(operation, f"{name} must hold integers", array.dtype)
    return array.astype(np.int64, copy=False)


def host_indptr(values: Any, operation: str, name: str) -> np.ndarray:
    """Offsets that start at or above 0 and never fall."""
    offsets = host_integers(values, operation, name)
    if offsets.size == 0:
        fail(operation, f"{name} must hold batch_size + 1 offsets", "an empty list")
    if offsets[0] < 0 or (np.diff(offsets) < 0).any():
        fail(operation, f"{name} must not be negative and must not fall", offsets.tolist()[:16])
    return offsets


def head_scale(scale: Any, heads: int, operation: str, name: str) -> Any:
    """A multiplier for `plan.run`: a float, one f32 per head, or one per token and head.

    A tensor of one element on a device is repeated per head, so that the host never reads it.
    """
    if not isinstance(scale, torch.Tensor):
        return float(scale)
    if scale.numel() == 1:
        if scale.device.type == "cpu":
            return float(scale)
        return scale.reshape(1).to(torch.float32).expand(heads).contiguous()
    if scale.numel() == heads:
        return scale.reshape(heads).to(torch.float32)
    if scale.ndim > 1 and name in ("k_scale", "v_scale"):
        return scale
    fail(operation, f"{name} must have 1 or {heads} elements", tuple(scale.shape))

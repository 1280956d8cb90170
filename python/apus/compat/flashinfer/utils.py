"""flashinfer.utils: modes, slopes of ALiBi, and questions about a device that engines ask."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import torch

from . import _attention_core
from ._values import FP8_TYPES, check_lse, check_tensor, fail, torch_dtype

LSE_BASES = ("log2", "ln")
LSE_LAYOUTS = ("NH", "HN")
log2e = 1.4426950408889634
ln2 = 0.6931471805599453


class PosEncodingMode(enum.Enum):
    """Position encodings inside attention."""

    NONE = 0
    ROPE_LLAMA = 1
    ALIBI = 2


class MaskMode(enum.Enum):
    """Forms of masks."""

    NON_CAUSAL = 0
    CAUSAL = 1
    CUSTOM = 2
    MULTIITEMSCORING = 3


class TensorLayout(enum.Enum):
    """Orders of tokens and heads."""

    NHD = 0
    HND = 1


class GPUArchitectureError(Exception):
    """A device that cannot run an operator."""


class LibraryError(Exception):
    """A library that an operator needs is missing."""


class BackendSupportedError(Exception):
    """A back end that cannot run an operator."""


def get_alibi_slopes(n_heads: int, device: torch.device | None = None) -> torch.Tensor:
    """ALiBi's slope of each head, f32 `[n_heads]`."""
    slopes = _attention_core.alibi_slopes(n_heads)
    return torch.tensor(slopes, dtype=torch.float32, device=device)


def check_lse_base(lse_base: str) -> None:
    """Raises ValueError for what is neither `log2` nor `ln`."""
    check_lse("check_lse_base", lse_base, "NH")


def check_lse_layout(lse_layout: str) -> None:
    """Raises ValueError for what is neither `NH` nor `HN`."""
    check_lse("check_lse_layout", "log2", lse_layout)


def check_shape_dtype_device(
    x: torch.Tensor, expected_shape: Sequence[int] | None, expected_dtype: torch.dtype | None,
    expected_device: torch.device | None, name: str,
) -> None:
    """Raises ValueError where a tensor differs from what is expected."""
    shape = tuple(x.shape) if expected_shape is None else expected_shape
    check_tensor("check_shape_dtype_device", name, x, shape, expected_dtype, expected_device)


def canonicalize_torch_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A dtype by itself or by its name."""
    return torch_dtype(dtype)


def is_float8(x: torch.Tensor) -> bool:
    """Whether a tensor is of e4m3 or e5m2."""
    return x.dtype in FP8_TYPES


def get_indptr(x: torch.Tensor) -> torch.Tensor:
    """Offsets `[n + 1]`, int64, of lengths `[n]`."""
    offsets = torch.zeros(len(x) + 1, dtype=torch.int64, device=x.device)
    offsets[1:] = x.to(torch.int64).cumsum(0)
    return offsets


def ceil_div(x: int, y: int) -> int:
    """⌈x / y⌉."""
    return -(-x // y)


def round_up(x: int, y: int) -> int:
    """The least multiple of y that is at least x."""
    return ceil_div(x, y) * y


def next_positive_power_of_2(x: int) -> int:
    """The least power of two that is at least x, and at least 1."""
    return 1 if x < 1 else 1 << (x - 1).bit_length()


def last_positive_power_of_2(x: int) -> int:
    """The greatest power of two that is at most x."""
    if x < 1:
        fail("last_positive_power_of_2", "x must be at least 1", x)
    return 1 << (x.bit_length() - 1)


def get_compute_capability(device: torch.device) -> tuple[int, int]:
    """Major and minor of a CUDA device."""
    if torch.device(device).type != "cuda":
        fail("get_compute_capability", "device must be a CUDA device", device)
    return torch.cuda.get_device_capability(device)


def _is(device: torch.device, *majors: int) -> bool:
    return torch.device(device).type == "cuda" and get_compute_capability(device)[0] in majors


def is_sm90a_supported(device: torch.device) -> bool:
    """Whether the device is of Hopper's generation."""
    return _is(device, 9)


def is_sm100a_supported(device: torch.device) -> bool:
    """Whether the device is of data-centre Blackwell's generation."""
    return _is(device, 10)


def is_sm12x_supported(device: torch.device) -> bool:
    """Whether the device is of desktop Blackwell's generation."""
    return _is(device, 12)


def device_support_pdl(device: torch.device) -> bool:
    """Whether launches of the device may overlap their predecessors."""
    return _is(device, 9, 10, 11, 12)


def get_device_sm_count(device: torch.device) -> int:
    """Multiprocessors of a CUDA device."""
    return torch.cuda.get_device_properties(device).multi_processor_count


def determine_attention_backend(*args: object, **kwargs: object) -> str:
    """The kernels in use: always Apus's."""
    return "apus"

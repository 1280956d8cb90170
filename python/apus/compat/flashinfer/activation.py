"""flashinfer.activation on torch operations: outside Apus's subject, here so that engines run."""

from __future__ import annotations

import torch
from torch.nn import functional

from ._values import fail

__all__ = ["gelu_and_mul", "gelu_tanh_and_mul", "silu_and_mul"]


def _gated(
    operation: str, activate: object, input: torch.Tensor, out: torch.Tensor | None
) -> torch.Tensor:
    if input.shape[-1] % 2:
        fail(operation, "the last dimension must be even", input.shape[-1])
    gate, value = input.to(torch.float32).chunk(2, dim=-1)
    result = (activate(gate) * value).to(input.dtype)
    return result if out is None else out.copy_(result)


def silu_and_mul(
    input: torch.Tensor, out: torch.Tensor | None = None, enable_pdl: bool | None = None
) -> torch.Tensor:
    """silu of the first half of the last dimension times the second half."""
    return _gated("silu_and_mul", functional.silu, input, out)


def gelu_and_mul(
    input: torch.Tensor, out: torch.Tensor | None = None, enable_pdl: bool | None = None
) -> torch.Tensor:
    """gelu of the first half of the last dimension times the second half."""
    return _gated("gelu_and_mul", functional.gelu, input, out)


def gelu_tanh_and_mul(
    input: torch.Tensor, out: torch.Tensor | None = None, enable_pdl: bool | None = None
) -> torch.Tensor:
    """gelu by its tanh form, of the first half of the last dimension times the second half."""
    return _gated(
        "gelu_tanh_and_mul", lambda x: functional.gelu(x, approximate="tanh"), input, out
    )

"""flashinfer.norm on torch operations: outside Apus's subject, here so that engines run."""

from __future__ import annotations

import torch

from ._unavailable import lookup_of

__all__ = [
    "fused_add_rmsnorm",
    "fused_add_rmsnorm_quant",
    "gemma_fused_add_rmsnorm",
    "gemma_rmsnorm",
    "layernorm",
    "layernorm_quant",
    "rmsnorm",
    "rmsnorm_quant",
]


def _rms(x: torch.Tensor, weight: torch.Tensor, eps: float, bias: float = 0.0) -> torch.Tensor:
    """f32 x / √(mean x² + eps) · (weight + bias)."""
    x = x.to(torch.float32)
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * (weight.float() + bias)


def _store(value: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Rounds into out; saturates where out has 8 bits."""
    if out.dtype.itemsize == 1:
        limit = torch.finfo(out.dtype).max
        value = value.clamp(-limit, limit)
    return out.copy_(value)


def _add(input: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """The sum in f32, rounded into residual."""
    total = input.to(torch.float32) + residual.to(torch.float32)
    residual.copy_(total)
    return total


def rmsnorm(
    input: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6, out: torch.Tensor | None = None,
    enable_pdl: bool | None = None,
) -> torch.Tensor:
    """input / √(mean input² + eps) · weight over the last dimension."""
    return _store(_rms(input, weight, eps), torch.empty_like(input) if out is None else out)


def rmsnorm_quant(
    out: torch.Tensor, input: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor | float,
    eps: float = 1e-6, enable_pdl: bool | None = None,
) -> None:
    """`rmsnorm` divided by scale, into out of 8 bits."""
    _store(_rms(input, weight, eps) / scale, out)


def fused_add_rmsnorm(
    input: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6,
    enable_pdl: bool | None = None,
) -> None:
    """residual += input, then input = rmsnorm(residual); both are written."""
    _store(_rms(_add(input, residual), weight, eps), input)


def fused_add_rmsnorm_quant(
    out: torch.Tensor, input: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor,
    scale: torch.Tensor | float, eps: float = 1e-6, enable_pdl: bool | None = None,
) -> None:
    """residual += input, then out = rmsnorm(residual) / scale in 8 bits."""
    _store(_rms(_add(input, residual), weight, eps) / scale, out)


def gemma_rmsnorm(
    input: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6, out: torch.Tensor | None = None,
    enable_pdl: bool | None = None,
) -> torch.Tensor:
    """`rmsnorm` with weight + 1."""
    return _store(_rms(input, weight, eps, 1.0), torch.empty_like(input) if out is None else out)


def gemma_fused_add_rmsnorm(
    input: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6,
    enable_pdl: bool | None = None,
) -> None:
    """`fused_add_rmsnorm` with weight + 1."""
    _store(_rms(_add(input, residual), weight, eps, 1.0), input)


def _layer(
    input: torch.Tensor, gemma: torch.Tensor, beta: torch.Tensor, eps: float
) -> torch.Tensor:
    x = input.to(torch.float32)
    return torch.nn.functional.layer_norm(x, x.shape[-1:], gemma.float(), beta.float(), eps)


def layernorm(
    input: torch.Tensor, gemma: torch.Tensor, beta: torch.Tensor, eps: float = 1e-6
) -> torch.Tensor:
    """(input − mean) / √(variance + eps) · gemma + beta over the last dimension."""
    return _layer(input, gemma, beta, eps).to(input.dtype)


def layernorm_quant(
    out: torch.Tensor, input: torch.Tensor, gemma: torch.Tensor, beta: torch.Tensor,
    scale: torch.Tensor | float, eps: float = 1e-6,
) -> None:
    """`layernorm` divided by scale, into out of 8 bits."""
    _store(_layer(input, gemma, beta, eps) / scale, out)

__getattr__ = lookup_of(__name__, "fused_norm")

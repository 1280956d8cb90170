"""Checks that every function of the package makes before it calls the library."""

from __future__ import annotations

from typing import Any

import torch


def require(condition: bool, operation: str, requirement: str, found: object) -> None:
    """Raises ValueError `operation: requirement; found value.` unless the condition holds."""
    if not condition:
        raise ValueError(f"{operation}: {requirement}; found {found}.")


def unsupported(operation: str, requirement: str, found: object, remedy: str = "") -> None:
    """Raises NotImplementedError `operation: requirement; found value. remedy`."""
    tail = f" {remedy}" if remedy else ""
    raise NotImplementedError(f"{operation}: {requirement}; found {found}.{tail}")


def require_forward(operation: str, **tensors: Any) -> None:
    """Refuses tensors whose gradient is wanted: the library computes the forward pass alone."""
    if not torch.is_grad_enabled():
        return
    for name, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
            unsupported(
                operation,
                "inputs must not require gradients, because only the forward pass exists",
                f"{name} with requires_grad=True",
                "Call it under torch.no_grad() or torch.inference_mode(), or detach the inputs.",
            )


def require_no_dropout(operation: str, dropout_p: float) -> None:
    """Refuses dropout, which belongs to training."""
    if dropout_p:
        unsupported(
            operation, "dropout_p must be 0, because dropout belongs to training", dropout_p,
            "Put the model into eval mode.",
        )


def require_rank(operation: str, name: str, tensor: torch.Tensor, *axes: str) -> None:
    """The tensor has one dimension per axis name."""
    require(
        isinstance(tensor, torch.Tensor), operation, f"{name} must be a torch tensor",
        type(tensor).__name__,
    )
    require(
        tensor.dim() == len(axes), operation, f"{name} must be ({', '.join(axes)})",
        f"shape {tuple(tensor.shape)}",
    )


def require_shape(operation: str, name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    """The tensor has exactly this shape."""
    require(
        tuple(tensor.shape) == tuple(shape), operation, f"{name} must have shape {tuple(shape)}",
        f"{tuple(tensor.shape)}",
    )


def require_same(operation: str, what: str, **tensors: torch.Tensor) -> None:
    """All tensors agree in `what`: "dtype" or "device"."""
    values = {name: getattr(tensor, what) for name, tensor in tensors.items()}
    require(
        len(set(values.values())) == 1, operation,
        f"{', '.join(values)} must have the same {what}",
        " and ".join(str(value) for value in values.values()),
    )

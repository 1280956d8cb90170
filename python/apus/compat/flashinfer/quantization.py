"""flashinfer.quantization: masks as bits."""

from __future__ import annotations

import torch

import apus

from ._values import fail, host_integers

__all__ = ["packbits", "segment_packbits"]


def _flags(x: torch.Tensor, bitorder: str, operation: str) -> torch.Tensor:
    if bitorder not in ("big", "little"):
        fail(operation, "bitorder must be 'big' or 'little'", repr(bitorder))
    if x.dtype in (torch.bool, torch.uint8):
        return x.contiguous().view(-1)
    return (x != 0).reshape(-1)


def packbits(x: torch.Tensor, bitorder: str = "big") -> torch.Tensor:
    """Eight flags per byte, as numpy.packbits: uint8 `[⌈n / 8⌉]` of bool `[n]`."""
    return apus.pack_bits(_flags(x, bitorder, "packbits"), bit_order=bitorder)


def segment_packbits(
    x: torch.Tensor, indptr: torch.Tensor, bitorder: str = "big"
) -> tuple[torch.Tensor, torch.Tensor]:
    """`packbits` of every segment, each from a byte on.

    Args:
        x: bool `[indptr[-1]]`.
        indptr: `[segments + 1]`, in flags.

    Returns:
        uint8 bytes, and indptr in bytes, int32.
    """
    offsets = host_integers(indptr, "segment_packbits", "indptr")
    packed = apus.pack_bits(_flags(x, bitorder, "segment_packbits"), offsets, bit_order=bitorder)
    lengths = (torch.as_tensor(offsets).diff() + 7) // 8
    in_bytes = torch.zeros(len(offsets), dtype=torch.int32)
    in_bytes[1:] = lengths.cumsum(0)
    return packed, in_bytes.to(indptr.device)

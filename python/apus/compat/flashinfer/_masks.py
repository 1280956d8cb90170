"""Custom masks, from FlashInfer's forms to packed bits in host memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ._values import fail, host_integers


def mask_arguments(
    custom_mask: torch.Tensor | None, packed_custom_mask: torch.Tensor | None,
    qo_lengths: np.ndarray, kv_lengths: np.ndarray, operation: str,
) -> dict[str, Any]:
    """Mask arguments of a plan; empty without a mask.

    Args:
        custom_mask: bool, per request `[qo_len, kv_len]` in row-major order, one after the other.
        packed_custom_mask: uint8 instead of it: bits in little order, each request from a byte on.
        qo_lengths: `[batch]`.
        kv_lengths: `[batch]`.
    """
    if custom_mask is None and packed_custom_mask is None:
        return {}
    bits = qo_lengths * kv_lengths
    offsets = np.concatenate(([0], np.cumsum((bits + 7) // 8)))
    if packed_custom_mask is None:
        flags = _host_bytes(custom_mask, "custom_mask", operation) != 0
        if flags.size != bits.sum():
            requirement = f"custom_mask must hold {bits.sum()} flags (Σ qo_len · kv_len)"
            fail(operation, requirement, flags.size)
        packed = _pack(flags, bits)
    else:
        packed = _host_bytes(packed_custom_mask, "packed_custom_mask", operation)
        if packed.size < offsets[-1]:
            requirement = f"packed_custom_mask must hold {offsets[-1]} bytes in whole requests"
            fail(operation, requirement, packed.size)
        packed = packed[: offsets[-1]]
    return {"mask_bits": packed, "mask_indptr": offsets, "mask_bit_order": "little"}


def item_arguments(
    prefix_len_ptr: Any, token_pos_in_items_ptr: Any, token_pos_in_items_len: int,
    qo_lengths: np.ndarray, kv_lengths: np.ndarray, operation: str,
) -> dict[str, Any]:
    """Mask arguments of a plan for items that are scored behind a common prefix.

    A token sees the prefix, and the tokens of its own item up to itself; delimiters see the prefix
    alone.

    Args:
        prefix_len_ptr: `[batch]`.
        token_pos_in_items_ptr: `[batch · token_pos_in_items_len]`, per token behind the prefix its
            place in its item from 1 on, 0 for a delimiter.
    """
    prefixes = host_integers(prefix_len_ptr, operation, "prefix_len_ptr")
    places = host_integers(token_pos_in_items_ptr, operation, "token_pos_in_items_ptr")
    if prefixes.size != kv_lengths.size:
        fail(operation, f"prefix_len_ptr must hold {kv_lengths.size} lengths", prefixes.size)
    if places.size < kv_lengths.size * token_pos_in_items_len:
        requirement = "token_pos_in_items_ptr must hold batch_size · token_pos_in_items_len places"
        fail(operation, requirement, places.size)
    masks = []
    for r, (rows, length, prefix) in enumerate(zip(qo_lengths, kv_lengths, prefixes)):
        own = places[r * token_pos_in_items_len : (r + 1) * token_pos_in_items_len]
        if length - prefix > own.size:
            requirement = f"token_pos_in_items_len must be at least {length - prefix}"
            fail(operation, requirement, token_pos_in_items_len)
        position = np.arange(length - rows, length)[:, None]
        key = np.arange(length)[None, :]
        place = np.zeros(length, np.int64)
        place[min(prefix, length) :] = own[: max(length - prefix, 0)]
        place = place[np.clip(position, 0, None)] if length else position
        is_own = (position < prefix) | (key < prefix) | (key > position - place)
        masks.append(((key <= position) & is_own).reshape(-1))
    flat = np.concatenate(masks) if masks else np.zeros(0, bool)
    return mask_arguments(torch.from_numpy(flat), None, qo_lengths, kv_lengths, operation)


def _host_bytes(mask: torch.Tensor, name: str, operation: str) -> np.ndarray:
    if mask.dtype not in (torch.bool, torch.uint8):
        fail(operation, f"{name} must be of bool or uint8", mask.dtype)
    return mask.detach().contiguous().view(torch.uint8).reshape(-1).cpu().numpy()


def _pack(flags: np.ndarray, bits: np.ndarray) -> np.ndarray:
    if (bits % 8 == 0).all():
        return np.packbits(flags, bitorder="little")
    ends = np.cumsum(bits)
    parts = [np.packbits(flags[e - n : e], bitorder="little") for e, n in zip(ends, bits)]
    return np.concatenate(parts)

"""Between padded batches `(batch, seqlen, …)` and rows without padding `(total, …)`; torch
alone."""

from __future__ import annotations

from typing import Optional

import torch

from ._checks import require


def index_first_axis(input: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Rows of input `(rows, …)` at indices `(n,)`."""
    require(
        input.dim() >= 2, "index_first_axis", "input must have at least two dimensions",
        f"shape {tuple(input.shape)}",
    )
    return input.index_select(0, indices)


def index_put_first_axis(
    values: torch.Tensor, indices: torch.Tensor, first_axis_dim: int
) -> torch.Tensor:
    """`(first_axis_dim, …)` of zeros with values `(n, …)` at indices `(n,)`."""
    output = values.new_zeros((first_axis_dim, *values.shape[1:]))
    return output.index_put((indices,), values)


def index_first_axis_residual(
    input: torch.Tensor, indices: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows and the input itself, detached."""
    return index_first_axis(input, indices), input.detach()


def unpad_input(
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor,
    unused_mask: Optional[torch.Tensor] = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int, torch.Tensor]:
    """Takes the rows of hidden_states `(batch, seqlen, …)` where a mask `(batch, seqlen)` is set.

    unused_mask marks rows that are kept but not counted as used. Returns the rows `(total, …)`,
    their indices `(total,)` in the flattened batch, cumulative lengths `(batch + 1,)` int32, the
    greatest length, and the used lengths `(batch,)` int32.
    """
    kept = attention_mask if unused_mask is None else attention_mask + unused_mask
    counts = kept.sum(-1, dtype=torch.int32)
    used = attention_mask.sum(-1, dtype=torch.int32)
    indices = kept.flatten().nonzero().flatten()
    starts = torch.nn.functional.pad(counts.cumsum(0, dtype=torch.int32), (1, 0))
    longest = int(counts.max()) if counts.numel() else 0
    flat = hidden_states.reshape(-1, *hidden_states.shape[2:])
    return flat.index_select(0, indices), indices, starts, longest, used


def unpad_input_for_concatenated_sequences(
    hidden_states: torch.Tensor, attention_mask_in_length: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """`unpad_input` for rows that hold several sequences each.

    attention_mask_in_length `(batch, seqlen)` lists the lengths of a row's sequences, then zeros.
    Returns rows, indices, cumulative lengths of all sequences, and the greatest length.
    """
    totals = attention_mask_in_length.sum(-1)
    slots = torch.arange(attention_mask_in_length.shape[1], device=totals.device)
    indices = (slots[None, :] < totals[:, None]).flatten().nonzero().flatten()
    counts = attention_mask_in_length.flatten()
    counts = counts[counts != 0]
    starts = torch.nn.functional.pad(counts.cumsum(0, dtype=torch.int32), (1, 0))
    longest = int(counts.max()) if counts.numel() else 0
    flat = hidden_states.reshape(-1, *hidden_states.shape[2:])
    return flat.index_select(0, indices), indices, starts, longest


def pad_input(
    hidden_states: torch.Tensor, indices: torch.Tensor, batch: int, seqlen: int
) -> torch.Tensor:
    """The inverse of `unpad_input`: `(batch, seqlen, …)` with zeros in the padding."""
    output = index_put_first_axis(hidden_states, indices, batch * seqlen)
    return output.view(batch, seqlen, *hidden_states.shape[1:])


__all__ = [
    "index_first_axis",
    "index_first_axis_residual",
    "index_put_first_axis",
    "pad_input",
    "unpad_input",
    "unpad_input_for_concatenated_sequences",
]

"""flashinfer.sampling on torch operations: outside Apus's subject, here so that engines run.

Distributions are FlashInfer's; streams of random numbers are torch's, so samples of one seed differ
from those of its kernels.
"""

from __future__ import annotations

from typing import Any

import torch

from ._values import fail

__all__ = [
    "chain_speculative_sampling",
    "min_p_sampling_from_probs",
    "sampling_from_logits",
    "sampling_from_probs",
    "softmax",
    "top_k_mask_logits",
    "top_k_renorm_probs",
    "top_k_sampling_from_probs",
    "top_k_top_p_sampling_from_logits",
    "top_k_top_p_sampling_from_probs",
    "top_p_renorm_probs",
    "top_p_sampling_from_probs",
]


def _column(value: Any, like: torch.Tensor) -> torch.Tensor:
    """A number, or one per row, as `[1 or rows, 1]`."""
    return torch.as_tensor(value, device=like.device).reshape(-1, 1)


def _generator(
    device: torch.device, generator: torch.Generator | None, seed: Any, offset: Any
) -> torch.Generator | None:
    if seed is None:
        return generator
    result = torch.Generator(device)
    result.manual_seed((int(seed) * 0x9E3779B97F4A7C15 + int(offset or 0)) % (1 << 63))
    return result


def _check_nan(operation: str, values: torch.Tensor, check_nan: bool) -> None:
    if check_nan and torch.isnan(values).any():
        fail(operation, "there must be no NaN", "NaN")


def _rows(probs: torch.Tensor, indices: torch.Tensor | None) -> torch.Tensor:
    wide = probs.to(torch.float32)
    return wide if indices is None else wide[indices.to(torch.int64)]


def _draw(
    weights: torch.Tensor, indices: torch.Tensor | None, generator: torch.Generator | None,
    seed: Any, offset: Any, return_valid: bool = False,
) -> Any:
    """One index per row by exponential races: argmin of Exp(1) / weight."""
    noise = torch.empty_like(weights)
    noise.exponential_(generator=_generator(weights.device, generator, seed, offset))
    dtype = torch.int32 if indices is None else indices.dtype
    samples = (weights / noise).argmax(-1).to(dtype)
    if not return_valid:
        return samples
    return samples, (weights > 0).any(-1)


def _kth(values: torch.Tensor, top_k: Any) -> torch.Tensor:
    """The k-th greatest value of each row, `[rows, 1]`."""
    k = _column(top_k, values).to(torch.int64).clamp(1, values.shape[-1])
    ordered = values.sort(-1, descending=True).values
    return ordered.gather(-1, (k - 1).expand(values.shape[0], 1))


def _keep_top_k(probs: torch.Tensor, top_k: Any) -> torch.Tensor:
    return torch.where(probs >= _kth(probs, top_k), probs, 0.0)


def _keep_top_p(probs: torch.Tensor, top_p: Any) -> torch.Tensor:
    """Zeroes what lies behind the least set of greatest probabilities that reaches top_p."""
    ordered, order = probs.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = torch.where(before < _column(top_p, probs), ordered, 0.0)
    return torch.zeros_like(probs).scatter(-1, order, kept)


def _normal(probs: torch.Tensor) -> torch.Tensor:
    return probs / probs.sum(-1, keepdim=True)


def softmax(
    logits: torch.Tensor, temperature: torch.Tensor | float | None = None,
    enable_pdl: bool | None = None,
) -> torch.Tensor:
    """f32 probabilities of `[rows, classes]`; the temperature is one number, or one per row."""
    wide = logits.to(torch.float32)
    if temperature is not None:
        wide = wide / _column(temperature, wide)
    return wide.softmax(-1)


def sampling_from_logits(
    logits: torch.Tensor, indices: torch.Tensor | None = None, deterministic: bool = True,
    generator: torch.Generator | None = None, check_nan: bool = False, seed: Any = None,
    offset: Any = None,
) -> torch.Tensor:
    """A class per row of logits, int32 (or of the type of indices, which choose the rows)."""
    _check_nan("sampling_from_logits", logits, check_nan)
    return _draw(_rows(logits, indices).softmax(-1), indices, generator, seed, offset)


def sampling_from_probs(
    probs: torch.Tensor, indices: torch.Tensor | None = None, deterministic: bool = True,
    generator: torch.Generator | None = None, check_nan: bool = False, seed: Any = None,
    offset: Any = None, return_valid: bool = False,
) -> Any:
    """A class per row of probabilities; with `return_valid` also whether the row had any."""
    _check_nan("sampling_from_probs", probs, check_nan)
    return _draw(_rows(probs, indices), indices, generator, seed, offset, return_valid)


def top_p_sampling_from_probs(
    probs: torch.Tensor, top_p: torch.Tensor | float, indices: torch.Tensor | None = None,
    deterministic: bool = True, generator: torch.Generator | None = None,
    check_nan: bool = False, seed: Any = None, offset: Any = None, return_valid: bool = False,
) -> Any:
    """A class out of the least set of greatest probabilities that reaches top_p."""
    _check_nan("top_p_sampling_from_probs", probs, check_nan)
    kept = _keep_top_p(_rows(probs, indices), top_p)
    return _draw(kept, indices, generator, seed, offset, return_valid)


def top_k_sampling_from_probs(
    probs: torch.Tensor, top_k: torch.Tensor | int, indices: torch.Tensor | None = None,
    deterministic: bool = True, generator: torch.Generator | None = None,
    check_nan: bool = False, seed: Any = None, offset: Any = None, return_valid: bool = False,
) -> Any:
    """A class out of the top_k greatest, ties of the last one included."""
    _check_nan("top_k_sampling_from_probs", probs, check_nan)
    kept = _keep_top_k(_rows(probs, indices), top_k)
    return _draw(kept, indices, generator, seed, offset, return_valid)


def min_p_sampling_from_probs(
    probs: torch.Tensor, min_p: torch.Tensor | float, indices: torch.Tensor | None = None,
    deterministic: bool = True, generator: torch.Generator | None = None,
    check_nan: bool = False, seed: Any = None, offset: Any = None, return_valid: bool = False,
) -> Any:
    """A class whose probability is at least min_p times the greatest (arXiv 2407.01082)."""
    _check_nan("min_p_sampling_from_probs", probs, check_nan)
    rows = _rows(probs, indices)
    kept = torch.where(rows >= rows.amax(-1, keepdim=True) * _column(min_p, rows), rows, 0.0)
    return _draw(kept, indices, generator, seed, offset, return_valid)


def top_k_top_p_sampling_from_logits(
    logits: torch.Tensor, top_k: torch.Tensor | int, top_p: torch.Tensor | float,
    indices: torch.Tensor | None = None, filter_apply_order: str = "top_k_first",
    deterministic: bool = True, generator: torch.Generator | None = None,
    check_nan: bool = False, seed: Any = None, offset: Any = None,
) -> torch.Tensor:
    """`top_k_top_p_sampling_from_probs` of the softmax of logits."""
    _check_nan("top_k_top_p_sampling_from_logits", logits, check_nan)
    return top_k_top_p_sampling_from_probs(
        softmax(logits), top_k, top_p, indices, filter_apply_order, deterministic, generator,
        False, seed, offset,
    )


def top_k_top_p_sampling_from_probs(
    probs: torch.Tensor, top_k: torch.Tensor | int, top_p: torch.Tensor | float,
    indices: torch.Tensor | None = None, filter_apply_order: str = "top_k_first",
    deterministic: bool = True, generator: torch.Generator | None = None,
    check_nan: bool = False, seed: Any = None, offset: Any = None, return_valid: bool = False,
) -> Any:
    """A class by both limits: top_p of what top_k leaves, renormalised (`top_k_first`), or of the
    whole (`joint`)."""
    operation = "top_k_top_p_sampling_from_probs"
    if filter_apply_order not in ("top_k_first", "joint"):
        found = repr(filter_apply_order)
        fail(operation, "filter_apply_order must be 'top_k_first' or 'joint'", found)
    _check_nan(operation, probs, check_nan)
    rows = _rows(probs, indices)
    few = _keep_top_k(rows, top_k)
    if filter_apply_order == "top_k_first":
        kept = _keep_top_p(_normal(few), top_p)
    else:
        kept = torch.where(few > 0, _keep_top_p(rows, top_p), 0.0)
    return _draw(kept, indices, generator, seed, offset, return_valid)


def top_p_renorm_probs(
    probs: torch.Tensor, top_p: torch.Tensor | float, is_deterministic: bool = False
) -> torch.Tensor:
    """Probabilities of the least set that reaches top_p, renormalised; 0 elsewhere."""
    return _normal(_keep_top_p(probs.to(torch.float32), top_p)).to(probs.dtype)


def top_k_renorm_probs(
    probs: torch.Tensor, top_k: torch.Tensor | int, is_deterministic: bool = False
) -> torch.Tensor:
    """Probabilities of the top_k greatest, renormalised; 0 elsewhere."""
    return _normal(_keep_top_k(probs.to(torch.float32), top_k)).to(probs.dtype)


def top_k_mask_logits(logits: torch.Tensor, top_k: torch.Tensor | int) -> torch.Tensor:
    """Logits with −inf behind the top_k greatest."""
    return torch.where(logits >= _kth(logits, top_k), logits, float("-inf"))


def chain_speculative_sampling(
    draft_probs: torch.Tensor, draft_token_ids: torch.Tensor, target_probs: torch.Tensor,
    maybe_output_accepted_token_num: torch.Tensor | None = None,
    maybe_output_emitted_draft_token_num: torch.Tensor | None = None, deterministic: bool = True,
    generator: torch.Generator | None = None, seed: Any = None, offset: Any = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Accepts a prefix of a draft and samples the token behind it (arXiv 2302.01318).

    Args:
        draft_probs: `[batch, n, classes]`; draft_token_ids: `[batch, n]`.
        target_probs: `[batch, n + 1, classes]`.
        maybe_output_accepted_token_num, maybe_output_emitted_draft_token_num: int32 `[batch]`; the
            counts are added to them.

    Returns:
        int32 tokens `[batch, n + 1]`, −1 behind the last one; draft tokens that would be accepted
        one by one; draft tokens that are emitted.
    """
    batch, count = draft_token_ids.shape
    device = draft_probs.device
    source = _generator(device, generator, seed, offset)
    ids = draft_token_ids.to(torch.int64).unsqueeze(-1)
    drafted = draft_probs.to(torch.float32).gather(-1, ids).squeeze(-1)
    wanted = target_probs[:, :count].to(torch.float32).gather(-1, ids).squeeze(-1)
    uniform = torch.rand((batch, count), generator=source, device=device)
    accepted = uniform * drafted < wanted
    emitted = accepted.to(torch.int32).cumprod(-1).sum(-1)
    # Behind a refusal: what the target has more than the draft; behind the whole draft: the target.
    padded = torch.nn.functional.pad(draft_probs.to(torch.float32), (0, 0, 0, 1))
    excess = (target_probs.to(torch.float32) - padded).clamp(min=0)
    weights = excess[torch.arange(batch, device=device), emitted]
    last = _draw(weights, None, source, None, None)
    tokens = torch.full((batch, count + 1), -1, dtype=torch.int32, device=device)
    place = torch.arange(count + 1, device=device)
    drafts = torch.nn.functional.pad(draft_token_ids.to(torch.int32), (0, 1))
    tokens = torch.where(place < emitted.unsqueeze(-1), drafts, tokens)
    tokens = torch.where(place == emitted.unsqueeze(-1), last.unsqueeze(-1), tokens)
    counts = []
    for given, value in (
        (maybe_output_accepted_token_num, accepted.sum(-1)),
        (maybe_output_emitted_draft_token_num, emitted),
    ):
        counts.append(value.to(torch.int32) if given is None else given.add_(value.to(given.dtype)))
    return tokens, counts[0], counts[1]

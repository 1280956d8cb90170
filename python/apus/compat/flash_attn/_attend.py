"""Attention over one batch, as all functions of the package need it.

`attend` takes flat query rows and a `Keys`, which says where the keys of each request lie, and
translates FlashAttention's parameters:

- `window_size=(left, right)`: with `position = len_k - len_q + i`, query `i` sees the keys
  `position - left … position + right`; -1 is no limit. `causal` sets `right` to 0. Apus has causal
  and left-window masks of its own; other right limits and chunks become explicit bits.
- `alibi_slopes`: FlashAttention's bias is `-slope * |position - j|`. Apus adds
  `slope * (j - position)`, the same wherever no key lies after the query's position.
- descales `(batch, heads_k)`: multipliers per request and KV head. Requests that share theirs run
  together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ._checks import require, unsupported
from ._plans import host_ints, plan_for, type_name


@dataclass(frozen=True)
class Keys:
    """Keys and values of a batch. `geometry` holds the planning arguments that say where."""

    k: torch.Tensor
    v: torch.Tensor
    lengths: np.ndarray
    geometry: dict[str, Any]

    @property
    def batch(self) -> int:
        """Number of requests."""
        return len(self.lengths)

    def select(self, requests: np.ndarray) -> "Keys":
        """The same for some of the requests, in this order."""
        lengths = self.lengths[requests]
        geometry = dict(self.geometry)
        if "max_length" in geometry:
            index = torch.as_tensor(requests, device=self.k.device)
            geometry["kv_lengths"] = lengths
            return Keys(self.k[index], self.v[index], lengths, geometry)
        if "block_table" in geometry:
            geometry["block_table"] = np.ascontiguousarray(geometry["block_table"][requests])
            geometry["kv_lengths"] = lengths
            return replace(self, lengths=lengths, geometry=geometry)
        raise AssertionError("ragged keys are turned into rows before a selection")


def padded(k: torch.Tensor, v: torch.Tensor, lengths: np.ndarray) -> Keys:
    """One slab per request: k `(batch, max_length, heads, dim)`."""
    return Keys(k, v, lengths, {"max_length": int(k.shape[1]), "kv_lengths": lengths})


def ragged(k: torch.Tensor, v: torch.Tensor, indptr: np.ndarray) -> Keys:
    """Rows of one tensor: k `(total, heads, dim)`."""
    return Keys(k, v, np.diff(indptr), {"kv_indptr": indptr})


def paged(k: torch.Tensor, v: torch.Tensor, table: np.ndarray, lengths: np.ndarray) -> Keys:
    """Pages by a block table: k `(pages, page_size, heads, dim)`, table `(batch, columns)`."""
    page_size = int(k.shape[1])
    # Entries behind a request's last page may be anything. Cleared, they do not tell plans apart.
    used = -(-lengths // max(page_size, 1))
    columns = int(used.max()) if len(used) else 0
    table = np.array(table[:, :columns], dtype=np.int32, copy=True)
    table[np.arange(columns)[None, :] >= used[:, None]] = 0
    geometry = {"page_size": page_size, "block_table": table, "kv_lengths": lengths}
    return Keys(k, v, lengths, geometry)


def rows(k: torch.Tensor, v: torch.Tensor, indices: list[np.ndarray]) -> Keys:
    """Listed rows of flat tensors k `(rows, heads, dim)`: pages of one token."""
    lengths = np.array([len(part) for part in indices], dtype=np.int64)
    table = np.zeros((len(indices), int(lengths.max()) if len(indices) else 0), dtype=np.int32)
    for request, part in enumerate(indices):
        table[request, : len(part)] = part
    return paged(k.unsqueeze(1), v.unsqueeze(1), table, lengths)


def resolve_window(
    causal: bool, window: tuple[int, int], longest_query: int
) -> tuple[int, int]:
    """(left, right) with -1 for no limit, after causal and where a limit cannot bind."""
    left, right = (int(side) if side >= 0 else -1 for side in window)
    if causal:
        right = 0
    # The last query's position is the last key, so no key lies more than this far after a query.
    if right >= max(longest_query - 1, 0):
        right = -1 if right > 0 or longest_query <= 1 else right
    return left, right


def mask_bits(
    q_lengths: np.ndarray, k_lengths: np.ndarray, right: int, chunk: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bits of `j ≤ position + right` and of equal chunks, with byte offsets per request."""
    parts, offsets = [], [0]
    for len_q, len_k in zip(q_lengths.tolist(), k_lengths.tolist()):
        position = (len_k - len_q + np.arange(len_q))[:, None]
        key = np.arange(len_k)[None, :]
        visible = np.ones((len_q, len_k), dtype=bool)
        if right >= 0:
            visible &= key <= position + right
        if chunk > 0:
            start = position // chunk * chunk
            visible &= (key >= start) & (key < start + chunk)
        parts.append(np.packbits(visible.reshape(-1), bitorder="little"))
        offsets.append(offsets[-1] + len(parts[-1]))
    bits = np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint8)
    return bits, np.array(offsets, dtype=np.int64)


def attend(
    operation: str,
    q: torch.Tensor,
    q_indptr: np.ndarray,
    keys: Keys,
    *,
    softmax_scale: float,
    causal: bool = False,
    window: tuple[int, int] = (-1, -1),
    chunk: int = 0,
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    sinks: torch.Tensor | None = None,
    descales: tuple[Any, Any, Any] = (None, None, None),
    q_rope: torch.Tensor | None = None,
    lse: str = "natural",
    out: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    disable_split_kv: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of rows q `(rows, heads, dim)`: out `(rows, heads, dim_v)` and lse `(rows, heads)`.

    With `q_rope`, q is the latent part of MLA's query, `keys.v` the latent and `keys.k` its rotary
    part. Rows that no request owns are zero.
    """
    heads = int(q.shape[1])
    groups = check(operation, heads, keys, alibi_slopes=alibi_slopes, descales=descales)
    require(
        len(q_indptr) - 1 == keys.batch, operation,
        "queries and keys must have the same batch size", f"{len(q_indptr) - 1} and {keys.batch}",
    )
    owned = int(q_indptr[-1]) - int(q_indptr[0]) == int(q.shape[0])
    if out_dtype is None:
        out_dtype = torch.bfloat16 if q.dtype.itemsize == 1 else q.dtype
    dim_v = int(keys.v.shape[-1])
    make = torch.empty if owned else torch.zeros
    if out is None:
        out = make((q.shape[0], heads, dim_v), dtype=out_dtype, device=q.device)
    lse_out = make((q.shape[0], heads), dtype=torch.float32, device=q.device)
    if q.shape[0] == 0 or keys.batch == 0:
        return out, lse_out

    shared = {
        "softmax_scale": float(softmax_scale),
        "logits_soft_cap": float(softcap) if softcap > 0 else 0.0,
        "lse": lse,
        "disable_split_kv": disable_split_kv,
        "q_type": type_name(operation, "q", q),
        "kv_type": type_name(operation, "k", keys.k),
        "o_type": type_name(operation, "out", out),
    }
    for requests, slopes, scales in groups:
        if requests is None:
            _run(operation, q, q_indptr, keys, out, lse_out, shared, causal, window, chunk, slopes,
                 sinks, scales, q_rope)
            continue
        if "kv_indptr" in keys.geometry:
            starts = keys.geometry["kv_indptr"]
            keys = rows(keys.k, keys.v, [
                np.arange(starts[r], starts[r + 1]) for r in range(keys.batch)
            ])
        for request in requests:
            low, high = int(q_indptr[request]), int(q_indptr[request + 1])
            part = slice(low, high)
            _run(operation, q[part], np.array([0, high - low]), keys.select(np.array([request])),
                 out[part], lse_out[part], shared, causal, window, chunk, slopes, sinks, scales,
                 None if q_rope is None else q_rope[part])
    return out, lse_out


def check(
    operation: str, heads: int, keys: Keys, *, alibi_slopes: torch.Tensor | None = None,
    descales: tuple[Any, Any, Any] = (None, None, None), **others: Any,
) -> list[tuple[list[int] | None, Any, dict[str, Any]]]:
    """Requests that share ALiBi slopes and descales; None stands for all of them.

    Checks what depends on heads and requests, so that a caller can do so before it writes.
    """
    kv_heads = int(keys.k.shape[-2])
    require(
        kv_heads > 0 and heads % kv_heads == 0, operation,
        "the number of query heads must be a multiple of that of key heads",
        f"{heads} and {kv_heads}",
    )
    slopes = None
    if alibi_slopes is not None:
        slopes = alibi_slopes.detach().float().cpu().numpy()
        require(
            slopes.shape in ((heads,), (keys.batch, heads)), operation,
            f"alibi_slopes must have shape ({heads},) or ({keys.batch}, {heads})",
            f"{slopes.shape}",
        )
        slopes = np.broadcast_to(slopes, (keys.batch, heads))
    factors: dict[str, np.ndarray] = {}
    for name, value in zip(("q_descale", "k_descale", "v_descale"), descales):
        if value is None:
            continue
        array = value.detach().float().cpu().numpy()
        require(
            array.shape == (keys.batch, kv_heads), operation,
            f"{name} must have shape ({keys.batch}, {kv_heads})", f"{array.shape}",
        )
        factors[name] = array

    def of(request: int) -> tuple[Any, dict[str, Any]]:
        scales: dict[str, Any] = {}
        for name, array in factors.items():
            row = array[request]
            if (row == row[0]).all():
                scales[name] = float(row[0])
            else:
                group = heads // kv_heads if name == "q_descale" else 1
                scales[name] = torch.as_tensor(row.repeat(group), device=keys.k.device)
        return (None if slopes is None else slopes[request]), scales

    together = all((array == array[:1]).all() for array in factors.values()) and (
        slopes is None or (slopes == slopes[:1]).all()
    )
    if together:
        return [(None, *of(0))] if keys.batch else []
    return [([request], *of(request)) for request in range(keys.batch)]


def _run(
    operation: str, q: torch.Tensor, q_indptr: np.ndarray, keys: Keys, out: torch.Tensor,
    lse_out: torch.Tensor, shared: dict[str, Any], causal: bool, window: tuple[int, int],
    chunk: int, slopes: Any, sinks: torch.Tensor | None, scales: dict[str, Any],
    q_rope: torch.Tensor | None,
) -> None:
    q_lengths = np.diff(q_indptr)
    longest = int(q_lengths.max()) if len(q_lengths) else 0
    if longest == 0:
        return
    left, right = resolve_window(causal, window, longest)
    if slopes is not None and right != 0 and longest > 1:
        unsupported(
            operation, "alibi_slopes must come with causal=True or window_size[1] == 0",
            f"causal={causal}, window_size={window}",
            "Supported: ALiBi over keys at or before the query's position.",
        )
    problem = dict(shared)
    problem.update(keys.geometry)
    if right > 0 or chunk > 0:
        bits, offsets = mask_bits(q_lengths, keys.lengths, right, chunk)
        problem.update(mask_bits=bits, mask_indptr=offsets, mask_bit_order="little")
    dim = int(q.shape[-1])
    if q_rope is not None:
        rotary = int(q_rope.shape[-1])
        problem.update(head_dim_qk=dim + rotary, latent=(dim, rotary))
    else:
        problem.update(head_dim_qk=dim)
    if slopes is not None:
        problem["alibi_slopes"] = tuple(float(slope) for slope in slopes)
    plan = plan_for(
        q.device,
        qo_head_count=int(q.shape[1]),
        kv_head_count=int(keys.k.shape[-2]),
        head_dim_vo=int(keys.v.shape[-1]),
        layout="NHD",
        qo_indptr=q_indptr,
        causal=right == 0,
        window_left=left,
        **problem,
    )
    arguments: dict[str, Any] = {"k": keys.k, "v": keys.v, "out": out, "lse": lse_out}
    if q_rope is not None:
        arguments.update(q_rope=q_rope, k=keys.v, v=keys.k)
    if sinks is not None:
        arguments["sinks"] = sinks
    for name, value in scales.items():
        arguments[name.replace("descale", "scale")] = value
    plan.run(q, **arguments)


def indptr(operation: str, name: str, values: Any) -> np.ndarray:
    """Cumulative lengths on the host, checked for being such."""
    array = host_ints(operation, name, values)
    require(
        array.ndim == 1 and len(array) >= 1, operation, f"{name} must be (batch + 1,)",
        f"shape {array.shape}",
    )
    require(
        bool((np.diff(array) >= 0).all()) and int(array[0]) >= 0, operation,
        f"{name} must start at 0 or above and never decrease", array.tolist(),
    )
    return array


def lengths(operation: str, name: str, values: Any, batch: int, limit: int) -> np.ndarray:
    """One length per request, between 0 and `limit`."""
    array = host_ints(operation, name, values).astype(np.int64)
    require(array.shape == (batch,), operation, f"{name} must be ({batch},)", array.shape)
    require(
        bool(((array >= 0) & (array <= limit)).all()), operation,
        f"{name} must be in 0…{limit}", array.tolist(),
    )
    return array

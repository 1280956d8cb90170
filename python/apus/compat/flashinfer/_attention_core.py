"""One planned attention with FlashInfer's conventions around Apus's."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import numpy as np
import torch

import apus

from ._values import (
    LN_2,
    LOG2_E,
    check_lse,
    check_position_mode,
    check_tensor,
    fail,
    head_scale,
    type_name,
    unsupported,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a plan fixes beside its lists. Heads, widths, types, and the form of the scores."""

    operation: str
    num_qo_heads: int
    num_kv_heads: int
    head_dim_qk: int
    q_dtype: torch.dtype
    kv_dtype: torch.dtype
    o_dtype: torch.dtype
    head_dim_vo: int | None = None
    kv_layout: str = "NHD"
    causal: bool = False
    pos_encoding_mode: str = "NONE"
    window_left: int = -1
    logits_soft_cap: float | None = None
    sm_scale: float | None = None
    rope_scale: float | None = None
    rope_theta: float | None = None
    split_size: int = 0
    disable_split_kv: bool = False
    latent: tuple[int, int] | None = None
    use_tensor_cores: bool = False


@functools.lru_cache(maxsize=64)
def alibi_slopes(heads: int) -> tuple[float, ...]:
    """ALiBi's slopes (arXiv 2108.12409): 2^(−8(i+1)/n) for n = 2^⌊log₂ heads⌋, then the odd ones
    of 2n."""
    n = 1 << (heads.bit_length() - 1)
    first = [2.0 ** (-8.0 * (i + 1) / n) for i in range(n)]
    return tuple(first + [2.0 ** (-4.0 * (2 * i + 1) / n) for i in range(heads - n)])


# Apus's names of arguments, and FlashInfer's.
_NAMES = {
    "qo_head_count": "num_qo_heads", "kv_head_count": "num_kv_heads", "softmax_scale": "sm_scale",
    "page_indptr": "kv_indptr", "page_indices": "kv_indices", "last_page_length": "last_page_len",
    "block_table": "block_tables", "kv_lengths": "seq_lens", "mask_bits": "custom_mask",
}
_SCALES = ("q_scale", "k_scale", "v_scale", "o_scale", "kpe_scale")
_PATTERN = re.compile(r"\b(" + "|".join(_NAMES) + r")\b")


def _renamed(operation: str, error: Exception) -> Exception:
    """The error with the caller's operation and FlashInfer's names."""
    text = _PATTERN.sub(lambda match: _NAMES[match[0]], str(error))
    prefix, separator, rest = text.partition(": ")
    if separator and prefix.startswith("apus"):
        text = f"{operation}: {rest}"
    return type(error)(text)


class PlannedAttention:
    """An Apus plan that takes and returns what FlashInfer's callers expect.

    - A custom mask replaces `causal`; a window still applies.
    - lse is base 2, with −inf where nothing is visible.
    - Under ALiBi FlashInfer measures the distance from the row's index instead of its position:
      o is the same, and lse has slope · (kv_len − qo_len) · log₂e more, which is added here.
    """

    def __init__(
        self, backend: Any, settings: Settings, geometry: dict[str, Any], qo_indptr: np.ndarray,
        kv_lengths: np.ndarray, mask: dict[str, Any],
        capacity: apus.PlanCapacity | None = None,
    ) -> None:
        s = self.settings = settings
        self.is_updatable = False
        self.qo_indptr = qo_indptr
        self.kv_lengths = kv_lengths
        self.rows = int(qo_indptr[-1])
        self.was_captured = False
        self._row_offsets: torch.Tensor | None = None
        self._workspace_given: torch.Tensor | None = None
        self._workspace: torch.Tensor | None = None
        check_position_mode(s.operation, s.pos_encoding_mode)
        soft_cap = s.logits_soft_cap or 0.0
        if soft_cap < 0:
            soft_cap = 0.0
        is_alibi = s.pos_encoding_mode == "ALIBI"
        if is_alibi and soft_cap > 0:
            supported = "logits_soft_cap with NONE or ROPE_LLAMA, ALIBI without it"
            unsupported(s.operation, "logits_soft_cap with ALIBI", supported)
        rope = None
        if s.pos_encoding_mode == "ROPE_LLAMA":
            rope = apus.Rope(
                scale=1.0 if s.rope_scale is None else float(s.rope_scale),
                theta=1e4 if s.rope_theta is None else float(s.rope_theta),
            )
        make = functools.partial(
            apus.AttentionPlan,
            backend,
            qo_head_count=s.num_qo_heads,
            kv_head_count=s.num_kv_heads,
            head_dim_qk=s.head_dim_qk,
            head_dim_vo=s.head_dim_vo,
            q_type=type_name(s.q_dtype, s.operation, "q_data_type"),
            kv_type=type_name(s.kv_dtype, s.operation, "kv_data_type"),
            o_type=type_name(s.o_dtype, s.operation, "o_data_type"),
            layout=s.kv_layout,
            qo_indptr=qo_indptr,
            latent=s.latent,
            causal=bool(s.causal) and not mask,
            window_left=max(int(s.window_left), -1),
            softmax_scale=None if s.sm_scale is None else float(s.sm_scale),
            logits_soft_cap=float(soft_cap),
            alibi_slopes=alibi_slopes(s.num_qo_heads) if is_alibi else None,
            rope=rope,
            split_size=s.split_size,
            disable_split_kv=s.disable_split_kv,
            # False is FlashInfer's default and asks for nothing: the faster ones are taken.
            use_tensor_cores=(
                "always" if s.use_tensor_cores and s.q_dtype.itemsize == 2 else "automatic"),
            **geometry,
            **mask,
        )
        try:
            self.plan = self._made(make, capacity)
        except (ValueError, NotImplementedError) as error:
            raise _renamed(s.operation, error) from error
        self._run = self.plan.run
        if is_alibi:
            # Now, since a CUDA graph may capture the first run: it could not be copied then.
            self._row_offsets = self._offset_values().to(self.plan.backend.device)

    def _made(self, make: Any, capacity: apus.PlanCapacity | None) -> apus.AttentionPlan:
        """A plan that can be updated, or where its capacity is too much, one of the batch."""
        if capacity is not None:
            try:
                plan = make(capacity=capacity)
                self.is_updatable = True
                return plan
            except NotImplementedError:
                pass
        return make()

    def update(
        self, geometry: dict[str, Any], qo_indptr: np.ndarray, kv_lengths: np.ndarray
    ) -> None:
        """Changes the batch, also under graphs that captured runs."""
        try:
            self.plan.update(
                qo_indptr=qo_indptr,
                **{name: values for name, values in geometry.items() if name != "page_size"})
        except (ValueError, NotImplementedError) as error:
            raise _renamed(self.settings.operation, error) from error
        self.qo_indptr, self.kv_lengths = qo_indptr, kv_lengths
        self.rows = int(qo_indptr[-1])
        if self._row_offsets is not None:
            # In place: graphs read it.
            self._row_offsets.copy_(self._offset_values())

    def run(
        self, q: torch.Tensor, caches: dict[str, torch.Tensor], *,
        q_rope: torch.Tensor | None = None, q_scale: Any = None, k_scale: Any = None,
        v_scale: Any = None, o_scale: Any = None, kpe_scale: Any = None,
        out: torch.Tensor | None = None, lse: torch.Tensor | None = None,
        return_lse: bool = False, lse_base: str = "log2", lse_layout: str = "NH",
        sinks: torch.Tensor | None = None, workspace: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """o, or (o, lse).

        Args:
            q: `[rows, num_qo_heads, head_dim_qk]`.
            caches: `kv`, or `k` and `v`.
            out: `[rows, num_qo_heads, head_dim_vo]`, written if given.
            lse: f32 `[rows, num_qo_heads]` (NH) or `[num_qo_heads, rows]` (HN), likewise.
            sinks: f32 `[num_qo_heads]`.
        """
        s = self.settings
        operation = s.operation
        if workspace is not self._workspace_given:
            self._take(workspace)
        options = caches
        if q_rope is not None or sinks is not None or self._workspace is not None:
            if sinks is not None and s.pos_encoding_mode == "ALIBI":
                unsupported(operation, "sinks with ALIBI", "sinks with NONE or ROPE_LLAMA")
            options = {
                **caches, "q_rope": q_rope, "sinks": sinks, "workspace": self._workspace
            }
        if not (
            q_scale is None and k_scale is None and v_scale is None and o_scale is None
            and kpe_scale is None
        ):
            options = {**options, **self._scales(q_scale, k_scale, v_scale, o_scale, kpe_scale)}
        if out is not None and out.dtype != s.o_dtype:
            fail(operation, f"out must have the o_data_type of the plan, {s.o_dtype}", out.dtype)
        final_lse = None
        if return_lse:
            check_lse(operation, lse_base, lse_layout)
            if lse is not None:
                shape = (q.shape[0], s.num_qo_heads)
                expected = shape if lse_layout == "NH" else shape[::-1]
                check_tensor(operation, "lse", lse, expected, torch.float32, q.device)
                if lse_layout == "HN":
                    lse, final_lse = None, lse
            if lse is None:
                lse = True
        else:
            lse = None
        if q.is_cuda and torch.cuda.is_current_stream_capturing():
            self.was_captured = True
        try:
            result = self._run(q, out=out, lse=lse, **options)
        except (ValueError, NotImplementedError) as error:
            raise _renamed(operation, error) from error
        if not return_lse:
            return result
        o, row_lse = result
        if s.pos_encoding_mode == "ALIBI":
            row_lse += self._offsets(q.device)
        if lse_base == "ln":
            row_lse *= LN_2
        if lse_layout == "HN":
            if final_lse is None:
                return o, row_lse.t().contiguous()
            final_lse.copy_(row_lse.t())
            return o, final_lse
        return o, row_lse

    def _scales(self, *values: Any) -> dict[str, Any]:
        """Those multipliers that are given, as `plan.run` takes them."""
        s = self.settings
        heads = (s.num_qo_heads, s.num_kv_heads, s.num_kv_heads, s.num_qo_heads, 1)
        return {
            name: head_scale(value, count, s.operation, name)
            for name, value, count in zip(_SCALES, values, heads)
            if value is not None
        }

    def _take(self, workspace: torch.Tensor | None) -> None:
        """Keeps the caller's workspace as bytes if it is large enough; else Apus has its own."""
        size = 0 if workspace is None else workspace.numel() * workspace.element_size()
        needed = self.plan.workspace_size
        is_usable = 0 < needed <= size and workspace.is_contiguous()
        self._workspace = workspace.view(-1).view(torch.uint8) if is_usable else None
        self._workspace_given = workspace

    def _offsets(self, device: torch.device) -> torch.Tensor:
        if self._row_offsets is None or self._row_offsets.device != device:
            self._row_offsets = self._offset_values().to(device)
        return self._row_offsets

    def _offset_values(self) -> torch.Tensor:
        qo_lengths = np.diff(self.qo_indptr)
        rows = np.repeat(self.kv_lengths - qo_lengths, qo_lengths).astype(np.float64)
        slopes = np.asarray(alibi_slopes(self.settings.num_qo_heads))
        return torch.from_numpy(np.outer(rows, slopes * LOG2_E).astype(np.float32))

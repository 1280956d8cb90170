"""Wrappers that plan a batch of decodes once and run it many times."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import torch

import apus

from ._attention_core import Settings
from ._pages import page_lists
from ._values import fail, torch_dtype, unsupported
from ._wrapper import PlannedWrapper, combined, fp8_scales

# Options that `plan` once took by position.
_POSITIONAL = (
    "pos_encoding_mode window_left logits_soft_cap q_data_type kv_data_type o_data_type data_type "
    "sm_scale rope_scale rope_theta non_blocking block_tables seq_lens fixed_split_size "
    "disable_split_kv q_len_per_req"
).split()


class BatchDecodeWithPagedKVCacheWrapper(PlannedWrapper):
    """Decode of a batch over a paged cache: `plan` with the lists of pages, then `run`.

    With `use_tensor_cores` 16-bit queries are computed on tensor cores; without it, FlashInfer's
    default, Apus takes the arithmetic that is faster for the shape. `backend` is accepted.
    """

    _name = "BatchDecodeWithPagedKVCacheWrapper"

    def __init__(
        self, float_workspace_buffer: torch.Tensor, kv_layout: str = "NHD",
        use_cuda_graph: bool = False, use_tensor_cores: bool = False,
        paged_kv_indptr_buffer: torch.Tensor | None = None,
        paged_kv_indices_buffer: torch.Tensor | None = None,
        paged_kv_last_page_len_buffer: torch.Tensor | None = None, backend: str = "auto",
        jit_args: list[Any] | None = None,
    ) -> None:
        buffers = {
            "paged_kv_indptr_buffer": paged_kv_indptr_buffer,
            "paged_kv_indices_buffer": paged_kv_indices_buffer,
            "paged_kv_last_page_len_buffer": paged_kv_last_page_len_buffer,
        }
        self._start(
            float_workspace_buffer, kv_layout, use_cuda_graph, backend, jit_args, buffers
        )
        if use_cuda_graph:
            self._fixed_batch_size = len(paged_kv_last_page_len_buffer)
            if len(paged_kv_indptr_buffer) != self._fixed_batch_size + 1:
                count = self._fixed_batch_size + 1
                requirement = f"paged_kv_indptr_buffer must hold {count} values"
                fail(self._name, requirement, len(paged_kv_indptr_buffer))
        self._paged_kv_indptr_buf = paged_kv_indptr_buffer
        self._paged_kv_indices_buf = paged_kv_indices_buffer
        self._paged_kv_last_page_len_buf = paged_kv_last_page_len_buffer
        self._use_tensor_cores = bool(use_tensor_cores)
        self._q_len_per_req = 1

    @property
    def use_tensor_cores(self) -> bool:
        """What the constructor was given."""
        return self._use_tensor_cores

    def plan(
        self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor,
        num_qo_heads: int, num_kv_heads: int, head_dim: int, page_size: int,
        *deprecated_positional_args: Any, **kwargs: Any,
    ) -> None:
        """Plans a batch; the options are those of `workspace_size`.

        Args:
            indptr: `[batch_size + 1]`, on any device.
            indices: `[indptr[-1]]`.
            last_page_len: `[batch_size]`, 1…page_size; ignored for requests without pages.
            q_data_type: a torch dtype or its name, f16 if nothing is said.
            window_left: tokens before the last one that stay visible; −1 is all.
            q_len_per_req: queries per request, causal among themselves.
        """
        if len(deprecated_positional_args) > len(_POSITIONAL):
            most, found = 7 + len(_POSITIONAL), 7 + len(deprecated_positional_args)
            raise TypeError(f"plan() takes at most {most} arguments; found {found}.")
        for name, value in zip(_POSITIONAL, deprecated_positional_args):
            if name in kwargs:
                raise TypeError(f"plan() got two values for {name!r}.")
            kwargs[name] = value
        self._plan(
            indptr, indices, last_page_len, num_qo_heads, num_kv_heads, head_dim, page_size,
            **kwargs,
        )

    def _plan(
        self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor,
        num_qo_heads: int, num_kv_heads: int, head_dim: int, page_size: int, *,
        pos_encoding_mode: str = "NONE", window_left: int = -1, window_right: int = 0,
        logits_soft_cap: float | None = None, q_data_type: Any = "float16",
        kv_data_type: Any = None, o_data_type: Any = None, data_type: Any = None,
        sm_scale: float | None = None, rope_scale: float | None = None,
        rope_theta: float | None = None, non_blocking: bool = True, block_tables: Any = None,
        seq_lens: Any = None, fixed_split_size: int | None = None, disable_split_kv: bool = False,
        q_len_per_req: int = 1, is_causal: bool | None = None,
    ) -> None:
        operation = f"{self._name}.plan"
        if window_right != 0:
            unsupported(operation, "window_right", "0")
        if q_len_per_req < 1:
            fail(operation, "q_len_per_req must be at least 1", q_len_per_req)
        if is_causal is not None and is_causal != (q_len_per_req > 1):
            unsupported(operation, f"is_causal={is_causal}", "what q_len_per_req implies")
        q_type = torch_dtype(_first(q_data_type, data_type, "float16"))
        kv_type = torch_dtype(_first(kv_data_type, data_type, q_type))
        o_type = torch_dtype(_first(o_data_type, q_type))
        lists = page_lists(indptr, indices, page_size, operation, last_page_len=last_page_len)
        lengths = lists.pop("lengths")
        batch = lengths.size
        self._check_batch(batch)
        if q_len_per_req > 1 and batch and lengths.min() < q_len_per_req:
            requirement = f"every request must hold q_len_per_req = {q_len_per_req} tokens"
            fail(operation, requirement, int(lengths.min()), "Append the new tokens before.")
        settings = Settings(
            operation=f"{self._name}.run", num_qo_heads=num_qo_heads, num_kv_heads=num_kv_heads,
            head_dim_qk=head_dim, q_dtype=q_type, kv_dtype=kv_type, o_dtype=o_type,
            kv_layout=self._kv_layout, causal=q_len_per_req > 1,
            pos_encoding_mode=pos_encoding_mode, window_left=window_left,
            logits_soft_cap=logits_soft_cap, sm_scale=sm_scale, rope_scale=rope_scale,
            rope_theta=rope_theta, split_size=max(fixed_split_size or 0, 0) * page_size,
            disable_split_kv=disable_split_kv, use_tensor_cores=self._use_tensor_cores,
        )
        kept = {
            "paged_kv_indptr": indptr, "paged_kv_indices": indices,
            "paged_kv_last_page_len": last_page_len,
        }
        self._check_buffers(**kept)
        capacity = None
        if self._use_cuda_graph:
            capacity = self._buffer_capacity(page_size, q_len_per_req)
        self._commit(
            settings, lists, np.arange(batch + 1) * q_len_per_req, lengths, {}, capacity)
        self._q_len_per_req = q_len_per_req
        self._keep(**kept)

    def _buffer_capacity(self, page_size: int, q_len_per_req: int) -> apus.PlanCapacity:
        """What the buffers of a graph hold, at any lengths."""
        pages = len(self._paged_kv_indices_buf)
        return apus.PlanCapacity(
            batch=self._fixed_batch_size, queries_per_request=q_len_per_req,
            keys_per_request=min(pages * page_size, 2**31 - 65), key_rows=max(pages, 1))

    begin_forward = plan

    def workspace_size(
        self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor,
        num_qo_heads: int, num_kv_heads: int, head_dim: int, page_size: int,
        pos_encoding_mode: str = "NONE", window_left: int = -1,
        logits_soft_cap: float | None = None, q_data_type: Any = "float16",
        kv_data_type: Any = None, o_data_type: Any = None, data_type: Any = None,
        sm_scale: float | None = None, rope_scale: float | None = None,
        rope_theta: float | None = None, block_tables: torch.Tensor | None = None,
        seq_lens: torch.Tensor | None = None, fixed_split_size: int | None = None,
        disable_split_kv: bool = False, q_len_per_req: int = 1,
    ) -> tuple[int, int]:
        """Bytes of the float and of the integer workspace that a plan needs; the latter are 0."""
        arguments = (
            indptr, indices, last_page_len, num_qo_heads, num_kv_heads, head_dim, page_size
        )
        options = {
            "pos_encoding_mode": pos_encoding_mode, "window_left": window_left,
            "logits_soft_cap": logits_soft_cap, "q_data_type": q_data_type,
            "kv_data_type": kv_data_type, "o_data_type": o_data_type, "data_type": data_type,
            "sm_scale": sm_scale, "rope_scale": rope_scale, "rope_theta": rope_theta,
            "fixed_split_size": fixed_split_size, "disable_split_kv": disable_split_kv,
            "q_len_per_req": q_len_per_req,
        }
        return self._measure(self._plan, arguments, options), 0

    def run(
        self, q: torch.Tensor, paged_kv_cache: Any, *args: Any,
        q_scale: float | torch.Tensor | None = None, k_scale: float | torch.Tensor | None = None,
        v_scale: float | torch.Tensor | None = None, out: torch.Tensor | None = None,
        lse: torch.Tensor | None = None, return_lse: bool = False, enable_pdl: bool | None = None,
        window_left: int | None = None, sinks: torch.Tensor | None = None,
        q_len_per_req: int | None = None,
        skip_softmax_threshold_scale_factor: float | None = None, kv_cache_sf: Any = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Runs the planned batch.

        Args:
            q: `[batch_size · q_len_per_req, num_qo_heads, head_dim]`.
            paged_kv_cache: `[pages, 2, page_size, num_kv_heads, head_dim]` (NHD), `[pages, 2,
                num_kv_heads, page_size, head_dim]` (HND), or a pair without the second dimension.
            args: for an FP8 query, its, k's and v's scales per head.
            sinks: f32 `[num_qo_heads]`, a logit that joins the denominator.

        Returns:
            o of the shape of q, with `return_lse` also f32 `[rows, num_qo_heads]`, base 2.
        """
        operation = f"{self._name}.run"
        if q_len_per_req is not None:
            text = "q_len_per_req belongs to plan(); run() takes it for compatibility."
            warnings.warn(text, DeprecationWarning, stacklevel=2)
        if kv_cache_sf is not None:
            unsupported(operation, "kv_cache_sf (NVFP4)", "caches of f32, f16, bf16, e4m3, e5m2")
        planned = self._planned()
        caches = self._operands(planned.settings, q, paged_kv_cache, window_left, operation)
        if q.shape[0] != planned.rows or q_len_per_req not in (None, self._q_len_per_req):
            rows = f"{planned.kv_lengths.size} · {self._q_len_per_req} rows"
            requirement = f"q must hold {rows} (batch_size · q_len_per_req)"
            fail(operation, requirement, q.shape[0], "Plan again with the matching q_len_per_req.")
        q_fp8, k_fp8, v_fp8 = fp8_scales(q, args)
        return planned.run(
            q, caches, q_scale=combined(q_scale, q_fp8), k_scale=combined(k_scale, k_fp8),
            v_scale=combined(v_scale, v_fp8), out=out, lse=lse, return_lse=return_lse,
            sinks=sinks, workspace=self._float_workspace_buffer,
        )

    run_return_lse = functools.partialmethod(run, return_lse=True)

    def _forward(self, return_lse: bool, q: torch.Tensor, cache: Any, scales: Any, **changes: Any):
        planned = self._planned(**changes)
        caches = self._operands(planned.settings, q, cache, None, f"{self._name}.forward")
        return planned.run(
            q, caches, q_scale=scales[0], k_scale=scales[1], v_scale=scales[2],
            return_lse=return_lse, workspace=self._float_workspace_buffer,
        )

    def forward(
        self, q: torch.Tensor, paged_kv_cache: Any, pos_encoding_mode: str = "NONE",
        q_scale: float | None = None, k_scale: float | None = None, v_scale: float | None = None,
        window_left: int = -1, logits_soft_cap: float | None = None, sm_scale: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
    ) -> torch.Tensor:
        """The former name of `run`, which sets the form of the scores anew."""
        return self._forward(
            False, q, paged_kv_cache, (q_scale, k_scale, v_scale),
            pos_encoding_mode=pos_encoding_mode, window_left=window_left,
            logits_soft_cap=logits_soft_cap, sm_scale=sm_scale, rope_scale=rope_scale,
            rope_theta=rope_theta,
        )

    def forward_return_lse(
        self, q: torch.Tensor, paged_kv_cache: Any, pos_encoding_mode: str = "NONE",
        q_scale: float | None = None, k_scale: float | None = None, v_scale: float | None = None,
        window_left: int = -1, logits_soft_cap: float | None = None, sm_scale: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The former name of `run_return_lse`."""
        return self._forward(
            True, q, paged_kv_cache, (q_scale, k_scale, v_scale),
            pos_encoding_mode=pos_encoding_mode, window_left=window_left,
            logits_soft_cap=logits_soft_cap, sm_scale=sm_scale, rope_scale=rope_scale,
            rope_theta=rope_theta,
        )

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""


class CUDAGraphBatchDecodeWithPagedKVCacheWrapper(BatchDecodeWithPagedKVCacheWrapper):
    """The wrapper with buffers that a CUDA graph captures; the batch size is theirs."""

    def __init__(
        self, workspace_buffer: torch.Tensor, indptr_buffer: torch.Tensor,
        indices_buffer: torch.Tensor, last_page_len_buffer: torch.Tensor, kv_layout: str = "NHD",
        use_tensor_cores: bool = False,
    ) -> None:
        super().__init__(
            workspace_buffer, kv_layout, use_cuda_graph=True, use_tensor_cores=use_tensor_cores,
            paged_kv_indptr_buffer=indptr_buffer, paged_kv_indices_buffer=indices_buffer,
            paged_kv_last_page_len_buffer=last_page_len_buffer,
        )


class BatchDecodeMlaWithPagedKVCacheWrapper:
    """The first MLA decode of FlashInfer, which 0.7 dropped."""

    def __init__(
        self, float_workspace_buffer: torch.Tensor, use_cuda_graph: bool = False,
        use_tensor_cores: bool = False, paged_kv_indptr_buffer: torch.Tensor | None = None,
        paged_kv_indices_buffer: torch.Tensor | None = None,
        paged_kv_last_page_len_buffer: torch.Tensor | None = None,
    ) -> None:
        operation = "BatchDecodeMlaWithPagedKVCacheWrapper"
        unsupported(operation, "rotation inside MLA", "BatchMLAPagedAttentionWrapper")


def fast_decode_plan(
    self: BatchDecodeWithPagedKVCacheWrapper, indptr: torch.Tensor, indices: torch.Tensor,
    last_page_len: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim: int,
    page_size: int, pos_encoding_mode: str = "NONE", window_left: int = -1,
    logits_soft_cap: float | None = None, q_data_type: Any = None, kv_data_type: Any = None,
    data_type: Any = None, sm_scale: float | None = None, rope_scale: float | None = None,
    rope_theta: float | None = None, non_blocking: bool = True, fixed_split_size: int | None = None,
    disable_split_kv: bool = False, q_len_per_req: int = 1,
    global_override_indptr_cpu: torch.Tensor | None = None,
) -> None:
    """`plan` for engines that bind it to a wrapper with functools.partial.

    Args:
        global_override_indptr_cpu: `indptr` on the host, so that it need not be copied.
    """
    if global_override_indptr_cpu is not None:
        indptr = global_override_indptr_cpu
    self._plan(
        indptr, indices, last_page_len, num_qo_heads, num_kv_heads, head_dim, page_size,
        pos_encoding_mode=pos_encoding_mode, window_left=window_left,
        logits_soft_cap=logits_soft_cap, q_data_type=q_data_type, kv_data_type=kv_data_type,
        data_type=data_type, sm_scale=sm_scale, rope_scale=rope_scale, rope_theta=rope_theta,
        non_blocking=non_blocking, fixed_split_size=fixed_split_size,
        disable_split_kv=disable_split_kv, q_len_per_req=q_len_per_req,
    )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)

"""flashinfer.attention: mixed batches of prefill and decode, and attention with sinks."""

from __future__ import annotations

from typing import Any

import torch

from ._attention_core import Settings
from ._pages import page_lists
from ._prefill_paged import BatchPrefillWithPagedKVCacheWrapper
from ._unavailable import lookup_of
from ._values import fail, host_indptr, torch_dtype, unsupported
from ._wrapper import PlannedWrapper

__all__ = ["BatchAttention", "BatchAttentionWithAttentionSinkWrapper"]


class BatchAttention(PlannedWrapper):
    """Attention of a batch in which some requests prefill and others decode."""

    _name = "BatchAttention"

    def __init__(self, kv_layout: str = "NHD", device: str | torch.device = "cuda") -> None:
        # No workspace of the caller: an empty tensor states the device.
        workspace = torch.empty(0, dtype=torch.uint8, device=torch.device(device))
        self._start(workspace, kv_layout, False, "auto", None, {})
        self.float_workspace_buffer = workspace
        self.int_workspace_buffer = self._int_workspace_buffer

    def plan(
        self, qo_indptr: torch.Tensor, kv_indptr: torch.Tensor, kv_indices: torch.Tensor,
        kv_len_arr: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim_qk: int,
        head_dim_vo: int, page_size: int, causal: bool = False, sm_scale: float | None = None,
        logits_soft_cap: float | None = None, q_data_type: torch.dtype = torch.bfloat16,
        kv_data_type: torch.dtype = torch.bfloat16, use_profiler: bool = False,
    ) -> None:
        """Plans a batch.

        Args:
            qo_indptr: `[batch_size + 1]`, queries of each request.
            kv_indptr: `[batch_size + 1]`, into kv_indices, the pages.
            kv_len_arr: `[batch_size]`.
        """
        operation = f"{self._name}.plan"
        if use_profiler:
            unsupported(operation, "use_profiler", "use_profiler=False")
        lists = page_lists(kv_indptr, kv_indices, page_size, operation, kv_len=kv_len_arr)
        lengths = lists.pop("lengths")
        offsets = host_indptr(qo_indptr, operation, "qo_indptr")
        if offsets.size != lengths.size + 1:
            requirement = f"qo_indptr must hold {lengths.size + 1} offsets (batch_size + 1)"
            fail(operation, requirement, offsets.size)
        q_type = torch_dtype(q_data_type)
        settings = Settings(
            operation=f"{self._name}.run", num_qo_heads=num_qo_heads, num_kv_heads=num_kv_heads,
            head_dim_qk=head_dim_qk, head_dim_vo=head_dim_vo, q_dtype=q_type,
            kv_dtype=torch_dtype(kv_data_type), o_dtype=q_type, kv_layout=self._kv_layout,
            causal=causal, sm_scale=sm_scale, logits_soft_cap=logits_soft_cap,
        )
        self._commit(settings, lists, offsets, lengths, {})

    def run(
        self, q: torch.Tensor, kv_cache: Any, out: torch.Tensor | None = None,
        lse: torch.Tensor | None = None, k_scale: float | torch.Tensor | None = None,
        v_scale: float | torch.Tensor | None = None, logits_soft_cap: float = 0.0,
        profiler_buffer: torch.Tensor | None = None, kv_cache_sf: Any = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Runs the planned batch.

        Args:
            q: `[qo_indptr[-1], num_qo_heads, head_dim_qk]`.
            kv_cache: as for the paged wrappers.
            logits_soft_cap: that of the scores; plan() must have had one.

        Returns:
            o `[rows, num_qo_heads, head_dim_vo]` and f32 lse `[rows, num_qo_heads]`, base 2.
        """
        operation = f"{self._name}.run"
        if kv_cache_sf is not None:
            unsupported(operation, "kv_cache_sf (NVFP4)", "caches of f32, f16, bf16, e4m3, e5m2")
        planned = self._planned()
        planned_cap = planned.settings.logits_soft_cap or 0.0
        if logits_soft_cap > 0 and planned_cap <= 0:
            fail(operation, "logits_soft_cap must have been given to plan()", logits_soft_cap)
        if logits_soft_cap > 0 and logits_soft_cap != planned_cap:
            planned = self._planned(logits_soft_cap=logits_soft_cap)
        caches = self._operands(planned.settings, q, kv_cache, None, operation)
        if q.shape[0] != planned.rows:
            fail(operation, f"q must hold qo_indptr[-1] = {planned.rows} rows", q.shape[0])
        return planned.run(
            q, caches, k_scale=k_scale, v_scale=v_scale, out=out, lse=lse, return_lse=True
        )


class BatchAttentionWithAttentionSinkWrapper(BatchPrefillWithPagedKVCacheWrapper):
    """Paged prefill with a logit per head that joins the denominator: `run(q, cache, sink,
    sm_scale)`."""

    _name = "BatchAttentionWithAttentionSinkWrapper"

    def __init__(
        self, float_workspace_buffer: torch.Tensor, kv_layout: str = "NHD",
        use_cuda_graph: bool = False, qo_indptr_buf: torch.Tensor | None = None,
        paged_kv_indptr_buf: torch.Tensor | None = None,
        paged_kv_indices_buf: torch.Tensor | None = None,
        paged_kv_last_page_len_buf: torch.Tensor | None = None,
        custom_mask_buf: torch.Tensor | None = None, mask_indptr_buf: torch.Tensor | None = None,
        backend: str = "auto", pos_encoding_mode: str = "NONE",
        use_fp16_qk_reduction: bool = False, q_data_type: torch.dtype = torch.bfloat16,
        kv_data_type: torch.dtype = torch.bfloat16, head_dim_qk: int = 128,
        head_dim_vo: int = 128, window_left: int = -1,
    ) -> None:
        super().__init__(
            float_workspace_buffer, kv_layout, use_cuda_graph, qo_indptr_buf, paged_kv_indptr_buf,
            paged_kv_indices_buf, paged_kv_last_page_len_buf, custom_mask_buf, mask_indptr_buf,
            backend,
        )

    def run(
        self, q: torch.Tensor, paged_kv_cache: Any, *args: Any, out: torch.Tensor | None = None,
        lse: torch.Tensor | None = None, return_lse: bool = False, **kwargs: Any,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Runs the planned batch.

        Args:
            q: `[qo_indptr[-1], num_qo_heads, head_dim_qk]`.
            paged_kv_cache: as for the paged wrappers.
            args: the sink, f32 `[num_qo_heads]`, and the softmax scale.
        """
        operation = f"{self._name}.run"
        sinks = args[0] if args else kwargs.pop("sinks", None)
        if sinks is None or len(args) > 2:
            fail(operation, "the sink and sm_scale must follow the cache", f"{len(args)} arguments")
        planned = self._planned()
        if len(args) == 2 and args[1] is not None:
            planned = self._planned(sm_scale=float(args[1]))
        caches = self._operands(
            planned.settings, q, paged_kv_cache, kwargs.pop("window_left", None), operation
        )
        kwargs.pop("enable_pdl", None)
        return planned.run(
            q, caches, out=out, lse=lse, return_lse=return_lse, sinks=sinks,
            workspace=self._float_workspace_buffer, **kwargs,
        )


__getattr__ = lookup_of(__name__, "ranges")

"""Prefill of a batch over a paged cache."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from ._attention_core import Settings
from ._masks import item_arguments, mask_arguments
from ._pages import page_lists
from ._values import check_lse, fail, host_indptr, torch_dtype, unsupported
from ._wrapper import PlannedWrapper, combined, fp8_scales


class BatchPrefillWithPagedKVCacheWrapper(PlannedWrapper):
    """Prefill, append and decode of a batch over a paged cache: `plan`, then `run`."""

    _name = "BatchPrefillWithPagedKVCacheWrapper"

    def __init__(
        self, float_workspace_buffer: torch.Tensor, kv_layout: str = "NHD",
        use_cuda_graph: bool = False, qo_indptr_buf: torch.Tensor | None = None,
        paged_kv_indptr_buf: torch.Tensor | None = None,
        paged_kv_indices_buf: torch.Tensor | None = None,
        paged_kv_last_page_len_buf: torch.Tensor | None = None,
        custom_mask_buf: torch.Tensor | None = None, mask_indptr_buf: torch.Tensor | None = None,
        backend: str = "auto", jit_args: list[Any] | None = None,
        jit_kwargs: dict[str, Any] | None = None, variant_owns_mask: bool = False,
    ) -> None:
        buffers = {
            "qo_indptr_buf": qo_indptr_buf,
            "paged_kv_indptr_buf": paged_kv_indptr_buf,
            "paged_kv_indices_buf": paged_kv_indices_buf,
            "paged_kv_last_page_len_buf": paged_kv_last_page_len_buf,
        }
        jit = jit_args if jit_args is not None else jit_kwargs
        self._start(float_workspace_buffer, kv_layout, use_cuda_graph, backend, jit, buffers)
        if use_cuda_graph:
            self._fixed_batch_size = len(qo_indptr_buf) - 1
            if len(paged_kv_indptr_buf) != self._fixed_batch_size + 1:
                requirement = f"paged_kv_indptr_buf must hold {self._fixed_batch_size + 1} values"
                fail(self._name, requirement, len(paged_kv_indptr_buf))
            if len(paged_kv_last_page_len_buf) != self._fixed_batch_size:
                count = self._fixed_batch_size
                requirement = f"paged_kv_last_page_len_buf must hold {count} values"
                fail(self._name, requirement, len(paged_kv_last_page_len_buf))
        self._qo_indptr_buf = qo_indptr_buf
        self._paged_kv_indptr_buf = paged_kv_indptr_buf
        self._paged_kv_indices_buf = paged_kv_indices_buf
        self._paged_kv_last_page_len_buf = paged_kv_last_page_len_buf
        self._custom_mask_buf = custom_mask_buf
        self._mask_indptr_buf = mask_indptr_buf

    def plan(
        self, qo_indptr: torch.Tensor, paged_kv_indptr: torch.Tensor,
        paged_kv_indices: torch.Tensor, paged_kv_last_page_len: torch.Tensor, num_qo_heads: int,
        num_kv_heads: int, head_dim_qk: int, page_size: int, head_dim_vo: int | None = None,
        custom_mask: torch.Tensor | None = None, packed_custom_mask: torch.Tensor | None = None,
        causal: bool = False, pos_encoding_mode: str = "NONE", use_fp16_qk_reduction: bool = False,
        sm_scale: float | None = None, window_left: int = -1, logits_soft_cap: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
        q_data_type: Any = "float16", kv_data_type: Any = None, o_data_type: Any = None,
        non_blocking: bool = True, prefix_len_ptr: torch.Tensor | None = None,
        token_pos_in_items_ptr: torch.Tensor | None = None, token_pos_in_items_len: int = 0,
        max_item_len_ptr: torch.Tensor | None = None, seq_lens: torch.Tensor | None = None,
        seq_lens_q: torch.Tensor | None = None, block_tables: torch.Tensor | None = None,
        max_token_per_sequence: int | None = None, max_sequence_kv: int | None = None,
        fixed_split_size: int | None = None, disable_split_kv: bool = False,
        uniform_q_len: int | None = None,
    ) -> None:
        """Plans a batch.

        Args:
            qo_indptr: `[batch_size + 1]`; request r owns rows `qo_indptr[r]:qo_indptr[r + 1]` of q.
            paged_kv_indptr: `[batch_size + 1]`, into paged_kv_indices.
            paged_kv_indices: `[paged_kv_indptr[-1]]`.
            paged_kv_last_page_len: `[batch_size]`; ignored for requests without pages.
            custom_mask: bool, requests `[qo_len, kv_len]` one after the other; replaces `causal`.
            packed_custom_mask: what `segment_packbits(…, bitorder="little")` makes of it.
            causal: query i of a request sees keys j ≤ kv_len − qo_len + i.
            prefix_len_ptr, token_pos_in_items_ptr, token_pos_in_items_len: items that are scored
                behind a common prefix, which replace the masks; a place of 0 is a delimiter.
            fixed_split_size: pages per split.
        """
        operation = f"{self._name}.plan"
        offsets = host_indptr(qo_indptr, operation, "qo_indptr")
        lists = page_lists(
            paged_kv_indptr, paged_kv_indices, page_size, operation,
            last_page_len=paged_kv_last_page_len,
        )
        lengths = lists.pop("lengths")
        if offsets.size != lengths.size + 1:
            requirement = f"qo_indptr must hold {lengths.size + 1} offsets (batch_size + 1)"
            fail(operation, requirement, offsets.size)
        self._check_batch(lengths.size)
        rows = np.diff(offsets)
        if prefix_len_ptr is None:
            mask = mask_arguments(custom_mask, packed_custom_mask, rows, lengths, operation)
        else:
            mask = item_arguments(
                prefix_len_ptr, token_pos_in_items_ptr, token_pos_in_items_len, rows, lengths,
                operation,
            )
        if mask and self._use_cuda_graph and self._custom_mask_buf is None:
            requirement = "custom_mask_buf must be given to the constructor for masks in a graph"
            fail(operation, requirement, None)
        q_type = torch_dtype(q_data_type)
        settings = Settings(
            operation=f"{self._name}.run", num_qo_heads=num_qo_heads, num_kv_heads=num_kv_heads,
            head_dim_qk=head_dim_qk, head_dim_vo=head_dim_vo, q_dtype=q_type,
            kv_dtype=q_type if kv_data_type is None else torch_dtype(kv_data_type),
            o_dtype=q_type if o_data_type is None else torch_dtype(o_data_type),
            kv_layout=self._kv_layout, causal=causal, pos_encoding_mode=pos_encoding_mode,
            window_left=window_left, logits_soft_cap=logits_soft_cap, sm_scale=sm_scale,
            rope_scale=rope_scale, rope_theta=rope_theta,
            split_size=max(fixed_split_size or 0, 0) * page_size,
            disable_split_kv=disable_split_kv,
        )
        kept = {
            "qo_indptr": qo_indptr, "paged_kv_indptr": paged_kv_indptr,
            "paged_kv_indices": paged_kv_indices,
            "paged_kv_last_page_len": paged_kv_last_page_len,
        }
        self._check_buffers(**kept)
        self._commit(settings, lists, offsets, lengths, mask)
        self._keep(**kept)

    begin_forward = plan

    def workspace_size(
        self, qo_indptr: torch.Tensor, paged_kv_indptr: torch.Tensor,
        paged_kv_indices: torch.Tensor, paged_kv_last_page_len: torch.Tensor, num_qo_heads: int,
        num_kv_heads: int, head_dim_qk: int, page_size: int, head_dim_vo: int | None = None,
        custom_mask: torch.Tensor | None = None, packed_custom_mask: torch.Tensor | None = None,
        causal: bool = False, pos_encoding_mode: str = "NONE", use_fp16_qk_reduction: bool = False,
        sm_scale: float | None = None, window_left: int = -1, logits_soft_cap: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
        q_data_type: Any = "float16", kv_data_type: Any = None, o_data_type: Any = None,
        prefix_len_ptr: torch.Tensor | None = None,
        token_pos_in_items_ptr: torch.Tensor | None = None, token_pos_in_items_len: int = 0,
        max_item_len_ptr: torch.Tensor | None = None, seq_lens: torch.Tensor | None = None,
        seq_lens_q: torch.Tensor | None = None, block_tables: torch.Tensor | None = None,
        max_token_per_sequence: int | None = None, max_sequence_kv: int | None = None,
        fixed_split_size: int | None = None, disable_split_kv: bool = False,
        uniform_q_len: int | None = None,
    ) -> tuple[int, int]:
        """Bytes of the float and of the integer workspace that a plan needs; the latter are 0."""
        arguments = (
            qo_indptr, paged_kv_indptr, paged_kv_indices, paged_kv_last_page_len, num_qo_heads,
            num_kv_heads, head_dim_qk, page_size, head_dim_vo, custom_mask, packed_custom_mask,
            causal, pos_encoding_mode, use_fp16_qk_reduction, sm_scale, window_left,
            logits_soft_cap, rope_scale, rope_theta, q_data_type, kv_data_type, o_data_type,
        )
        options = {
            "prefix_len_ptr": prefix_len_ptr, "token_pos_in_items_ptr": token_pos_in_items_ptr,
            "token_pos_in_items_len": token_pos_in_items_len, "fixed_split_size": fixed_split_size,
            "disable_split_kv": disable_split_kv,
        }
        plan = functools.partial(BatchPrefillWithPagedKVCacheWrapper.plan, self)
        return self._measure(plan, arguments, options), 0

    def run(
        self, q: torch.Tensor, paged_kv_cache: Any, *args: Any,
        q_scale: float | torch.Tensor | None = None, k_scale: float | torch.Tensor | None = None,
        v_scale: float | torch.Tensor | None = None, out: torch.Tensor | None = None,
        lse: torch.Tensor | None = None, return_lse: bool = False, lse_base: str = "log2",
        lse_layout: str = "NH", enable_pdl: bool | None = None, window_left: int | None = None,
        sinks: torch.Tensor | None = None, kv_cache_sf: Any = None,
        skip_softmax_threshold_scale_factor: float | None = None,
        use_fp16_softmax: bool | None = None, uses_spcompress: bool | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Runs the planned batch.

        Args:
            q: `[qo_indptr[-1], num_qo_heads, head_dim_qk]`.
            paged_kv_cache: `[pages, 2, page_size, num_kv_heads, head_dim]` (NHD), `[pages, 2,
                num_kv_heads, page_size, head_dim]` (HND), or a pair without the second dimension.
            args: for an FP8 query, its, k's and v's scales per head.
            lse_base: `log2` or `ln`; lse_layout: `[rows, heads]` (NH) or `[heads, rows]` (HN).
            sinks: f32 `[num_qo_heads]`, a logit that joins the denominator.

        Returns:
            o `[rows, num_qo_heads, head_dim_vo]`, with `return_lse` also f32 lse.
        """
        operation = f"{self._name}.run"
        check_lse(operation, lse_base, lse_layout)
        if kv_cache_sf is not None:
            unsupported(operation, "kv_cache_sf (NVFP4)", "caches of f32, f16, bf16, e4m3, e5m2")
        planned = self._planned()
        caches = self._operands(planned.settings, q, paged_kv_cache, window_left, operation)
        if q.shape[0] != planned.rows:
            fail(operation, f"q must hold qo_indptr[-1] = {planned.rows} rows", q.shape[0])
        q_fp8, k_fp8, v_fp8 = fp8_scales(q, args)
        return planned.run(
            q, caches, q_scale=combined(q_scale, q_fp8), k_scale=combined(k_scale, k_fp8),
            v_scale=combined(v_scale, v_fp8), out=out, lse=lse, return_lse=return_lse,
            lse_base=lse_base, lse_layout=lse_layout, sinks=sinks,
            workspace=self._float_workspace_buffer,
        )

    run_return_lse = functools.partialmethod(run, return_lse=True)

    def _forward(
        self, return_lse: bool, q: torch.Tensor, cache: Any, k_scale: Any, v_scale: Any,
        **changes: Any,
    ) -> Any:
        planned = self._planned(**changes)
        caches = self._operands(planned.settings, q, cache, None, f"{self._name}.forward")
        return planned.run(
            q, caches, k_scale=k_scale, v_scale=v_scale, return_lse=return_lse,
            workspace=self._float_workspace_buffer,
        )

    def forward(
        self, q: torch.Tensor, paged_kv_cache: Any, causal: bool = False,
        pos_encoding_mode: str = "NONE", use_fp16_qk_reduction: bool = False,
        k_scale: float | None = None, v_scale: float | None = None, window_left: int = -1,
        logits_soft_cap: float | None = None, sm_scale: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
    ) -> torch.Tensor:
        """The former name of `run`, which sets mask and form of the scores anew."""
        return self._forward(
            False, q, paged_kv_cache, k_scale, v_scale, causal=causal,
            pos_encoding_mode=pos_encoding_mode, window_left=window_left,
            logits_soft_cap=logits_soft_cap, sm_scale=sm_scale, rope_scale=rope_scale,
            rope_theta=rope_theta,
        )

    def forward_return_lse(
        self, q: torch.Tensor, paged_kv_cache: Any, causal: bool = False,
        pos_encoding_mode: str = "NONE", use_fp16_qk_reduction: bool = False,
        k_scale: float | None = None, v_scale: float | None = None, window_left: int = -1,
        logits_soft_cap: float | None = None, sm_scale: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The former name of `run_return_lse`."""
        return self._forward(
            True, q, paged_kv_cache, k_scale, v_scale, causal=causal,
            pos_encoding_mode=pos_encoding_mode, window_left=window_left,
            logits_soft_cap=logits_soft_cap, sm_scale=sm_scale, rope_scale=rope_scale,
            rope_theta=rope_theta,
        )

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""

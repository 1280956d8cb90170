"""Prefill of a batch whose keys and values lie one request after the other."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from ._attention_core import Settings
from ._masks import item_arguments, mask_arguments
from ._values import check_lse, fail, host_indptr, reject, torch_dtype, unsupported
from ._wrapper import PlannedWrapper, check_types, combined, fp8_scales


class BatchPrefillWithRaggedKVCacheWrapper(PlannedWrapper):
    """Prefill of a batch over contiguous k and v: `plan`, then `run`."""

    _name = "BatchPrefillWithRaggedKVCacheWrapper"

    def __init__(
        self, float_workspace_buffer: torch.Tensor, kv_layout: str = "NHD",
        use_cuda_graph: bool = False, qo_indptr_buf: torch.Tensor | None = None,
        kv_indptr_buf: torch.Tensor | None = None, custom_mask_buf: torch.Tensor | None = None,
        mask_indptr_buf: torch.Tensor | None = None, backend: str = "auto",
        jit_args: list[Any] | None = None, jit_kwargs: dict[str, Any] | None = None,
        variant_owns_mask: bool = False,
    ) -> None:
        buffers = {"qo_indptr_buf": qo_indptr_buf, "kv_indptr_buf": kv_indptr_buf}
        jit = jit_args if jit_args is not None else jit_kwargs
        self._start(float_workspace_buffer, kv_layout, use_cuda_graph, backend, jit, buffers)
        if use_cuda_graph:
            self._fixed_batch_size = len(qo_indptr_buf) - 1
            if len(kv_indptr_buf) != self._fixed_batch_size + 1:
                requirement = f"kv_indptr_buf must hold {self._fixed_batch_size + 1} values"
                fail(self._name, requirement, len(kv_indptr_buf))
        self._qo_indptr_buf = qo_indptr_buf
        self._kv_indptr_buf = kv_indptr_buf
        self._custom_mask_buf = custom_mask_buf
        self._mask_indptr_buf = mask_indptr_buf

    def plan(
        self, qo_indptr: torch.Tensor, kv_indptr: torch.Tensor, num_qo_heads: int,
        num_kv_heads: int, head_dim_qk: int, head_dim_vo: int | None = None,
        custom_mask: torch.Tensor | None = None, packed_custom_mask: torch.Tensor | None = None,
        causal: bool = False, pos_encoding_mode: str = "NONE", use_fp16_qk_reduction: bool = False,
        window_left: int = -1, logits_soft_cap: float | None = None, sm_scale: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
        q_data_type: Any = "float16", kv_data_type: Any = None, o_data_type: Any = None,
        non_blocking: bool = True, prefix_len_ptr: torch.Tensor | None = None,
        token_pos_in_items_ptr: torch.Tensor | None = None, token_pos_in_items_len: int = 0,
        max_item_len_ptr: torch.Tensor | None = None, fixed_split_size: int | None = None,
        disable_split_kv: bool = False, seq_lens: torch.Tensor | None = None,
        seq_lens_q: torch.Tensor | None = None, max_token_per_sequence: int | None = None,
        max_sequence_kv: int | None = None, v_indptr: torch.Tensor | None = None,
        o_indptr: torch.Tensor | None = None, uniform_q_len: int | None = None,
    ) -> None:
        """Plans a batch.

        Args:
            qo_indptr: `[batch_size + 1]`; request r owns rows `qo_indptr[r]:qo_indptr[r + 1]` of q.
            kv_indptr: `[batch_size + 1]`, likewise for k and v.
            custom_mask: bool, requests `[qo_len, kv_len]` one after the other; replaces `causal`.
            packed_custom_mask: what `segment_packbits(…, bitorder="little")` makes of it.
            causal: query i of a request sees keys j ≤ kv_len − qo_len + i.
            prefix_len_ptr, token_pos_in_items_ptr, token_pos_in_items_len: items that are scored
                behind a common prefix, which replace the masks; a place of 0 is a delimiter.
            fixed_split_size: tokens per split.
        """
        operation = f"{self._name}.plan"
        reject(operation, "qo_indptr and kv_indptr", v_indptr=v_indptr, o_indptr=o_indptr)
        offsets = host_indptr(qo_indptr, operation, "qo_indptr")
        kv_offsets = host_indptr(kv_indptr, operation, "kv_indptr")
        if offsets.size != kv_offsets.size:
            requirement = f"kv_indptr must hold {offsets.size} offsets (batch_size + 1)"
            fail(operation, requirement, kv_offsets.size)
        lengths = np.diff(kv_offsets)
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
        o_type = q_type if o_data_type is None else torch_dtype(o_data_type)
        if o_type.itemsize == 1:
            o_type = torch.bfloat16 if q_type.itemsize == 1 else q_type
        settings = Settings(
            operation=f"{self._name}.run", num_qo_heads=num_qo_heads, num_kv_heads=num_kv_heads,
            head_dim_qk=head_dim_qk, head_dim_vo=head_dim_vo, q_dtype=q_type,
            kv_dtype=q_type if kv_data_type is None else torch_dtype(kv_data_type),
            o_dtype=o_type, kv_layout=self._kv_layout, causal=causal,
            pos_encoding_mode=pos_encoding_mode, window_left=window_left,
            logits_soft_cap=logits_soft_cap, sm_scale=sm_scale, rope_scale=rope_scale,
            rope_theta=rope_theta, split_size=max(fixed_split_size or 0, 0),
            disable_split_kv=disable_split_kv,
        )
        self._commit(settings, {"kv_indptr": kv_offsets}, offsets, lengths, mask)
        self._keep(qo_indptr=qo_indptr, kv_indptr=kv_indptr)

    begin_forward = plan

    def run(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args: Any,
        q_scale: float | torch.Tensor | None = None, k_scale: float | torch.Tensor | None = None,
        v_scale: float | torch.Tensor | None = None, o_scale: float | torch.Tensor | None = None,
        out: torch.Tensor | None = None, lse: torch.Tensor | None = None,
        return_lse: bool = False, lse_base: str = "log2", lse_layout: str = "NH",
        enable_pdl: bool | None = None, kv_cache_sf: Any = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Runs the planned batch. Scales always apply, which some kernels of FlashInfer omit.

        Args:
            q: `[qo_indptr[-1], num_qo_heads, head_dim_qk]`.
            k: `[kv_indptr[-1], num_kv_heads, head_dim_qk]` (NHD) or `[num_kv_heads, kv_indptr[-1],
                head_dim_qk]` (HND).
            v: likewise, of head_dim_vo.
            args: for an FP8 query, its, k's and v's scales per head.
            o_scale: what o is divided by.
            lse_base: `log2` or `ln`; lse_layout: `[rows, heads]` (NH) or `[heads, rows]` (HN).

        Returns:
            o `[rows, num_qo_heads, head_dim_vo]`, with `return_lse` also f32 lse.
        """
        operation = f"{self._name}.run"
        check_lse(operation, lse_base, lse_layout)
        if kv_cache_sf is not None:
            unsupported(operation, "kv_cache_sf (NVFP4)", "k and v of f32, f16, bf16, e4m3, e5m2")
        planned = self._planned()
        check_types(planned.settings, q, k.dtype, operation)
        if q.shape[0] != planned.rows:
            fail(operation, f"q must hold qo_indptr[-1] = {planned.rows} rows", q.shape[0])
        q_fp8, k_fp8, v_fp8 = fp8_scales(q, args)
        return planned.run(
            q, {"k": k, "v": v}, q_scale=combined(q_scale, q_fp8),
            k_scale=combined(k_scale, k_fp8), v_scale=combined(v_scale, v_fp8), o_scale=o_scale,
            out=out, lse=lse, return_lse=return_lse, lse_base=lse_base, lse_layout=lse_layout,
            workspace=self._float_workspace_buffer,
        )

    run_return_lse = functools.partialmethod(run, return_lse=True)

    def _forward(
        self, return_lse: bool, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **changes: Any
    ) -> Any:
        planned = self._planned(**changes)
        check_types(planned.settings, q, k.dtype, f"{self._name}.forward")
        return planned.run(
            q, {"k": k, "v": v}, return_lse=return_lse, workspace=self._float_workspace_buffer
        )

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = False,
        pos_encoding_mode: str = "NONE", use_fp16_qk_reduction: bool = False,
        window_left: int = -1, logits_soft_cap: float | None = None, sm_scale: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
    ) -> torch.Tensor:
        """The former name of `run`, which sets mask and form of the scores anew."""
        return self._forward(
            False, q, k, v, causal=causal, pos_encoding_mode=pos_encoding_mode,
            window_left=window_left, logits_soft_cap=logits_soft_cap, sm_scale=sm_scale,
            rope_scale=rope_scale, rope_theta=rope_theta,
        )

    def forward_return_lse(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = False,
        pos_encoding_mode: str = "NONE", use_fp16_qk_reduction: bool = False,
        window_left: int = -1, logits_soft_cap: float | None = None, sm_scale: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The former name of `run_return_lse`."""
        return self._forward(
            True, q, k, v, causal=causal, pos_encoding_mode=pos_encoding_mode,
            window_left=window_left, logits_soft_cap=logits_soft_cap, sm_scale=sm_scale,
            rope_scale=rope_scale, rope_theta=rope_theta,
        )

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""

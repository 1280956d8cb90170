"""flashinfer.pod: a prefill and a batch of decodes in one call, here one after the other."""

from __future__ import annotations

from typing import Any

import torch

from ._decode_wrapper import BatchDecodeWithPagedKVCacheWrapper
from ._prefill_paged import BatchPrefillWithPagedKVCacheWrapper
from .prefill import single_prefill_with_kv_cache

__all__ = ["BatchPODWithPagedKVCacheWrapper", "PODWithPagedKVCacheWrapper"]


class PODWithPagedKVCacheWrapper:
    """One prefill over contiguous k and v, and decodes over a paged cache."""

    def __init__(
        self, float_workspace_buffer: torch.Tensor, kv_layout: str = "NHD",
        use_cuda_graph: bool = False, paged_kv_indptr_buffer: torch.Tensor | None = None,
        paged_kv_indices_buffer: torch.Tensor | None = None,
        paged_kv_last_page_len_buffer: torch.Tensor | None = None,
        jit_args: list[Any] | None = None,
    ) -> None:
        self._decode = BatchDecodeWithPagedKVCacheWrapper(
            float_workspace_buffer, kv_layout, use_cuda_graph, True, paged_kv_indptr_buffer,
            paged_kv_indices_buffer, paged_kv_last_page_len_buffer, jit_args=jit_args,
        )

    @property
    def is_cuda_graph_enabled(self) -> bool:
        """Whether the wrapper was made for CUDA graphs."""
        return self._decode.is_cuda_graph_enabled

    def reset_workspace_buffer(
        self, float_workspace_buffer: torch.Tensor, int_workspace_buffer: torch.Tensor
    ) -> None:
        """Replaces the workspace."""
        self._decode.reset_workspace_buffer(float_workspace_buffer, int_workspace_buffer)

    def plan(
        self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor,
        num_qo_heads: int, num_kv_heads: int, head_dim: int, page_size: int,
        pos_encoding_mode: str = "NONE", window_left: int = -1, q_data_type: Any = "float16",
        kv_data_type: Any = None, data_type: Any = None, sm_scale: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
        non_blocking: bool = True,
    ) -> None:
        """Plans the decodes, as `BatchDecodeWithPagedKVCacheWrapper.plan`."""
        self._decode.plan(
            indptr, indices, last_page_len, num_qo_heads, num_kv_heads, head_dim, page_size,
            pos_encoding_mode=pos_encoding_mode, window_left=window_left, q_data_type=q_data_type,
            kv_data_type=kv_data_type, data_type=data_type, sm_scale=sm_scale,
            rope_scale=rope_scale, rope_theta=rope_theta, non_blocking=non_blocking,
        )

    begin_forward = plan

    def run(
        self, q_p: torch.Tensor, k_p: torch.Tensor, v_p: torch.Tensor, q_d: torch.Tensor,
        paged_kv_cache_d: Any, custom_mask_p: torch.Tensor | None = None,
        packed_custom_mask_p: torch.Tensor | None = None, causal_p: bool = False,
        kv_layout_p: str = "NHD", pos_encoding_mode_p: str = "NONE",
        sm_scale_p: float | None = None, window_left_p: int = -1,
        rope_scale_p: float | None = None, rope_theta_p: float | None = None,
        return_lse_p: bool = False, custom_mask_d: torch.Tensor | None = None,
        packed_custom_mask_d: torch.Tensor | None = None, causal_d: bool = False,
        kv_layout_d: str = "NHD", pos_encoding_mode_d: str = "NONE",
        sm_scale_d: float | None = None, window_left_d: int = -1,
        rope_scale_d: float | None = None, rope_theta_d: float | None = None,
        q_scale: float | None = None, k_scale: float | None = None, v_scale: float | None = None,
        return_lse_d: bool = False, use_fp16_qk_reduction: bool = False,
        enable_pdl: bool | None = None, *args: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """o of the prefill and o of the decodes; scales concern the latter, whose options are those
        of `plan`."""
        out_p = single_prefill_with_kv_cache(
            q_p, k_p, v_p, custom_mask=custom_mask_p, packed_custom_mask=packed_custom_mask_p,
            causal=causal_p, kv_layout=kv_layout_p, pos_encoding_mode=pos_encoding_mode_p,
            sm_scale=sm_scale_p, window_left=window_left_p, rope_scale=rope_scale_p,
            rope_theta=rope_theta_p,
        )
        out_d = self._decode.run(
            q_d, paged_kv_cache_d, q_scale=q_scale, k_scale=k_scale, v_scale=v_scale
        )
        return out_p, out_d

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""


class BatchPODWithPagedKVCacheWrapper:
    """A batch of prefills and a batch of decodes, both over paged caches."""

    def __init__(self, float_workspace_buffer: torch.Tensor, kv_layout: str = "NHD") -> None:
        self._prefill = BatchPrefillWithPagedKVCacheWrapper(float_workspace_buffer, kv_layout)
        self._decode = BatchPrefillWithPagedKVCacheWrapper(float_workspace_buffer, kv_layout)
        self._lists: tuple[Any, ...] = ()
        self._options: dict[str, Any] = {}
        self._planned_mask: tuple[Any, ...] | None = None

    @property
    def is_cuda_graph_enabled(self) -> bool:
        """Always False."""
        return False

    def plan(
        self, qo_indptr_p: torch.Tensor, kv_indptr_p: torch.Tensor, kv_indices_p: torch.Tensor,
        last_page_len_p: torch.Tensor, qo_indptr_d: torch.Tensor, kv_indptr_d: torch.Tensor,
        kv_indices_d: torch.Tensor, last_page_len_d: torch.Tensor, num_qo_heads: int,
        num_kv_heads: int, head_dim: int, page_size: int, pos_encoding_mode: str = "NONE",
        window_left: int = -1, q_data_type: Any = "float16", kv_data_type: Any = None,
        data_type: Any = None, sm_scale: float | None = None, rope_scale: float | None = None,
        rope_theta: float | None = None, non_blocking: bool = True,
    ) -> None:
        """Plans both batches, as `BatchPrefillWithPagedKVCacheWrapper.plan`."""
        q_type = q_data_type if q_data_type is not None else data_type
        kv_type = kv_data_type if kv_data_type is not None else data_type
        self._options = {
            "pos_encoding_mode": pos_encoding_mode, "window_left": window_left,
            "q_data_type": q_type, "kv_data_type": kv_type, "sm_scale": sm_scale,
            "rope_scale": rope_scale, "rope_theta": rope_theta,
        }
        shape = (num_qo_heads, num_kv_heads, head_dim, page_size)
        self._lists = (qo_indptr_p, kv_indptr_p, kv_indices_p, last_page_len_p, *shape)
        self._prefill.plan(*self._lists, **self._options)
        self._planned_mask = (None, None)
        self._decode.plan(
            qo_indptr_d, kv_indptr_d, kv_indices_d, last_page_len_d, *shape, **self._options
        )

    begin_forward = plan

    def run(
        self, q_p: torch.Tensor, paged_kv_cache_p: Any, q_d: torch.Tensor, paged_kv_cache_d: Any,
        custom_mask_p: torch.Tensor | None = None,
        packed_custom_mask_p: torch.Tensor | None = None, causal_p: bool = False,
        q_scale: float | None = None, k_scale: float | None = None, v_scale: float | None = None,
        return_lse: bool = False, use_fp16_qk_reduction: bool = False,
        enable_pdl: bool | None = None,
    ) -> Any:
        """o of the prefills and o of the decodes, or ((o, lse), (o, lse)).

        Scales concern the decodes.
        """
        mask = (custom_mask_p, packed_custom_mask_p)
        if any(a is not b for a, b in zip(mask, self._planned_mask or ())):
            self._prefill.plan(
                *self._lists, custom_mask=custom_mask_p, packed_custom_mask=packed_custom_mask_p,
                **self._options,
            )
            self._planned_mask = mask
        planned = self._prefill._planned(causal=causal_p)
        operation = "BatchPODWithPagedKVCacheWrapper.run"
        caches = self._prefill._operands(
            planned.settings, q_p, paged_kv_cache_p, None, operation
        )
        first = planned.run(q_p, caches, return_lse=return_lse)
        second = self._decode.run(
            q_d, paged_kv_cache_d, q_scale=q_scale, k_scale=k_scale, v_scale=v_scale,
            return_lse=return_lse,
        )
        return first, second

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""

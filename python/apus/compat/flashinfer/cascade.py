"""flashinfer.cascade: attention over disjoint sets of keys, merged (arXiv 2501.01005, 2.2)."""

from __future__ import annotations

from typing import Any

import torch

import apus

from ._decode_wrapper import BatchDecodeWithPagedKVCacheWrapper
from ._prefill_paged import BatchPrefillWithPagedKVCacheWrapper
from ._values import check_layout, fail
from .prefill import single_prefill_with_kv_cache

__all__ = [
    "BatchDecodeWithSharedPrefixPagedKVCacheWrapper",
    "BatchPrefillWithSharedPrefixPagedKVCacheWrapper",
    "MultiLevelCascadeAttentionWrapper",
    "merge_state",
    "merge_state_in_place",
    "merge_states",
]


def merge_state(
    v_a: torch.Tensor, s_a: torch.Tensor, v_b: torch.Tensor, s_b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merges two states per row: o `[rows, heads, head_dim]`, lse `[rows, heads]`, base 2."""
    return apus.merge_state(v_a, s_a.to(torch.float32), v_b, s_b.to(torch.float32))


def merge_state_in_place(
    v: torch.Tensor, s: torch.Tensor, v_other: torch.Tensor, s_other: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> None:
    """Merges (v_other, s_other) into (v, s).

    Args:
        v: `[rows, heads, head_dim]`; s: f32 `[rows, heads]`, base 2. Both are written.
        mask: bool `[rows]`; rows that are False keep what they have.
    """
    if s.dtype == torch.float32:
        apus.merge_state_in_place(v, s, v_other, s_other.to(torch.float32), mask)
        return
    wide = s.to(torch.float32)
    apus.merge_state_in_place(v, wide, v_other, s_other.to(torch.float32), mask)
    s.copy_(wide)


def merge_states(v: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Merges `[rows, count, heads, head_dim]` and `[rows, count, heads]` over the second
    dimension."""
    return apus.merge_states(v, s.to(torch.float32))


class MultiLevelCascadeAttentionWrapper:
    """Attention over several levels of shared prefixes.

    One planned prefill per level, whose states are merged; the last level is each request's own.
    """

    def __init__(
        self, num_levels: int, float_workspace_buffer: torch.Tensor, kv_layout: str = "NHD",
        use_cuda_graph: bool = False, qo_indptr_buf_arr: list[torch.Tensor] | None = None,
        paged_kv_indptr_buf_arr: list[torch.Tensor] | None = None,
        paged_kv_indices_buf_arr: list[torch.Tensor] | None = None,
        paged_kv_last_page_len_buf_arr: list[torch.Tensor] | None = None,
    ) -> None:
        operation = "MultiLevelCascadeAttentionWrapper"
        if num_levels < 1:
            fail(operation, "num_levels must be at least 1", num_levels)
        buffers = (
            qo_indptr_buf_arr, paged_kv_indptr_buf_arr, paged_kv_indices_buf_arr,
            paged_kv_last_page_len_buf_arr,
        )
        if use_cuda_graph and any(b is None or len(b) != num_levels for b in buffers):
            fail(operation, f"each list of buffers must hold {num_levels} tensors", "fewer")
        self._use_cuda_graph = use_cuda_graph
        self._num_levels = num_levels
        self._kv_layout = kv_layout
        self._batch_prefill_wrappers = [
            BatchPrefillWithPagedKVCacheWrapper(
                float_workspace_buffer, kv_layout, use_cuda_graph,
                *(b[level] if use_cuda_graph else None for b in buffers),
            )
            for level in range(num_levels)
        ]

    @property
    def is_cuda_graph_enabled(self) -> bool:
        """Whether the wrapper was made for CUDA graphs."""
        return self._use_cuda_graph

    def reset_workspace_buffer(
        self, float_workspace_buffer: torch.Tensor, int_workspace_buffers: list[torch.Tensor]
    ) -> None:
        """Replaces the workspaces of all levels."""
        for wrapper, buffer in zip(self._batch_prefill_wrappers, int_workspace_buffers):
            wrapper.reset_workspace_buffer(float_workspace_buffer, buffer)

    def prewarm_paged_kv_stride_variant(self, variant: str = "independent") -> None:
        """Does nothing: kernels of Apus take any strides of k and v."""

    def plan(
        self, qo_indptr_arr: list[torch.Tensor], paged_kv_indptr_arr: list[torch.Tensor],
        paged_kv_indices_arr: list[torch.Tensor], paged_kv_last_page_len: list[torch.Tensor],
        num_qo_heads: int, num_kv_heads: int, head_dim: int, page_size: int, causal: bool = False,
        pos_encoding_mode: str = "NONE", use_fp16_qk_reduction: bool = False,
        sm_scale: float | None = None, window_left: int = -1, logits_soft_cap: float | None = None,
        rope_scale: float | None = None, rope_theta: float | None = None,
        q_data_type: Any = "float16", kv_data_type: Any = None,
    ) -> None:
        """Plans every level, from the most shared one to the requests' own.

        Args:
            qo_indptr_arr: per level, offsets of the rows that share one prefix.
            paged_kv_indptr_arr, paged_kv_indices_arr, paged_kv_last_page_len: its pages.
            causal: of the last level; the rows see all keys of the others.
        """
        arrays = (
            qo_indptr_arr, paged_kv_indptr_arr, paged_kv_indices_arr, paged_kv_last_page_len
        )
        if any(len(array) != self._num_levels for array in arrays):
            operation = "MultiLevelCascadeAttentionWrapper.plan"
            requirement = f"each list must hold {self._num_levels} levels"
            fail(operation, requirement, [len(array) for array in arrays])
        for level, lists in enumerate(zip(*arrays)):
            self._batch_prefill_wrappers[level].plan(
                *lists, num_qo_heads, num_kv_heads, head_dim, page_size,
                causal=causal and level == self._num_levels - 1,
                pos_encoding_mode=pos_encoding_mode, use_fp16_qk_reduction=use_fp16_qk_reduction,
                sm_scale=sm_scale, window_left=window_left, logits_soft_cap=logits_soft_cap,
                rope_scale=rope_scale, rope_theta=rope_theta, q_data_type=q_data_type,
                kv_data_type=kv_data_type,
            )

    begin_forward = plan

    def run(self, q: torch.Tensor, paged_kv_cache: Any) -> torch.Tensor:
        """o `[rows, num_qo_heads, head_dim]` over all levels."""
        out, lse = self._batch_prefill_wrappers[-1].run(q, paged_kv_cache, return_lse=True)
        for wrapper in self._batch_prefill_wrappers[:-1]:
            merge_state_in_place(out, lse, *wrapper.run(q, paged_kv_cache, return_lse=True))
        return out

    forward = run

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""


class BatchDecodeWithSharedPrefixPagedKVCacheWrapper:
    """Decode over one prefix that all requests share and a paged cache of each."""

    def __init__(self, float_workspace_buffer: torch.Tensor, kv_layout: str = "NHD") -> None:
        check_layout("BatchDecodeWithSharedPrefixPagedKVCacheWrapper", kv_layout)
        self._batch_decode_wrapper = BatchDecodeWithPagedKVCacheWrapper(
            float_workspace_buffer, kv_layout
        )
        self._kv_layout = kv_layout

    def reset_workspace_buffer(
        self, float_workspace_buffer: torch.Tensor, int_workspace_buffer: torch.Tensor
    ) -> None:
        """Replaces the workspace."""
        self._batch_decode_wrapper.reset_workspace_buffer(
            float_workspace_buffer, int_workspace_buffer
        )

    def begin_forward(
        self, unique_kv_indptr: torch.Tensor, unique_kv_indices: torch.Tensor,
        unique_kv_last_page_len: torch.Tensor, num_qo_heads: int, num_kv_heads: int,
        head_dim: int, page_size: int, data_type: Any = "float16",
    ) -> None:
        """Plans the requests' own pages."""
        self._batch_decode_wrapper.plan(
            unique_kv_indptr, unique_kv_indices, unique_kv_last_page_len, num_qo_heads,
            num_kv_heads, head_dim, page_size, q_data_type=data_type, kv_data_type=data_type,
        )

    def forward(
        self, q: torch.Tensor, k_shared: torch.Tensor, v_shared: torch.Tensor,
        unique_kv_cache: Any,
    ) -> torch.Tensor:
        """o of q `[batch_size, num_qo_heads, head_dim]`; the prefix is `[shared_len, num_kv_heads,
        head_dim]` (NHD)."""
        out, lse = single_prefill_with_kv_cache(
            q, k_shared, v_shared, kv_layout=self._kv_layout, return_lse=True
        )
        merge_state_in_place(
            out, lse, *self._batch_decode_wrapper.run(q, unique_kv_cache, return_lse=True)
        )
        return out

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""


class BatchPrefillWithSharedPrefixPagedKVCacheWrapper:
    """Prefill over one prefix that all requests share and a paged cache of each."""

    def __init__(self, float_workspace_buffer: torch.Tensor, kv_layout: str = "NHD") -> None:
        check_layout("BatchPrefillWithSharedPrefixPagedKVCacheWrapper", kv_layout)
        self._batch_prefill_wrapper = BatchPrefillWithPagedKVCacheWrapper(
            float_workspace_buffer, kv_layout
        )
        self._kv_layout = kv_layout
        self._lists: tuple[Any, ...] = ()

    def reset_workspace_buffer(
        self, float_workspace_buffer: torch.Tensor, int_workspace_buffer: torch.Tensor
    ) -> None:
        """Replaces the workspace."""
        self._batch_prefill_wrapper.reset_workspace_buffer(
            float_workspace_buffer, int_workspace_buffer
        )

    def prewarm_paged_kv_stride_variant(self, variant: str = "independent") -> None:
        """Does nothing: kernels of Apus take any strides of k and v."""

    def begin_forward(
        self, qo_indptr: torch.Tensor, paged_kv_indptr: torch.Tensor,
        paged_kv_indices: torch.Tensor, paged_kv_last_page_len: torch.Tensor, num_qo_heads: int,
        num_kv_heads: int, head_dim: int, page_size: int,
    ) -> None:
        """Takes the requests' own pages; types are those of the first `forward`."""
        self._lists = (
            qo_indptr, paged_kv_indptr, paged_kv_indices, paged_kv_last_page_len, num_qo_heads,
            num_kv_heads, head_dim, page_size,
        )
        self._planned_types: tuple[torch.dtype, torch.dtype] | None = None

    def forward(
        self, q: torch.Tensor, k_shared: torch.Tensor, v_shared: torch.Tensor,
        unique_kv_cache: Any, causal: bool = False, use_fp16_qk_reduction: bool = False,
        sm_scale: float | None = None, rope_scale: float | None = None,
        rope_theta: float | None = None,
    ) -> torch.Tensor:
        """o of q `[rows, num_qo_heads, head_dim]`; `causal` concerns the requests' own keys."""
        if not self._lists:
            operation = "BatchPrefillWithSharedPrefixPagedKVCacheWrapper.forward"
            fail(operation, "begin_forward() must come before", "no plan")
        types = (q.dtype, k_shared.dtype)
        if self._planned_types != types:
            self._batch_prefill_wrapper.plan(
                *self._lists, q_data_type=types[0], kv_data_type=types[1]
            )
            self._planned_types = types
        out, lse = single_prefill_with_kv_cache(
            q, k_shared, v_shared, kv_layout=self._kv_layout, sm_scale=sm_scale, return_lse=True
        )
        unique = self._batch_prefill_wrapper.forward_return_lse(
            q, unique_kv_cache, causal=causal, sm_scale=sm_scale
        )
        merge_state_in_place(out, lse, *unique)
        return out

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""

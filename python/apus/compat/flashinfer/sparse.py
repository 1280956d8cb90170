"""flashinfer.sparse: attention over blocks of the matrix of queries and keys."""

from __future__ import annotations

from typing import Any

import torch

from ._prefill_paged import BatchPrefillWithPagedKVCacheWrapper
from ._values import check_backend, fail, reject, torch_dtype
from .quantization import segment_packbits

__all__ = ["BlockSparseAttentionWrapper", "VariableBlockSparseAttentionWrapper"]

_SUPPORTED = "blocks by indptr and indices, with masks inside them"


def convert_bsr_mask_layout(mask: torch.Tensor, indptr: torch.Tensor) -> torch.Tensor:
    """Flattens masks `[nnz, R, C]` so that each row of blocks is `[R, blocks · C]`, row-major."""
    offsets = indptr.tolist()
    rows = [mask[a:b].transpose(0, 1).reshape(-1) for a, b in zip(offsets, offsets[1:])]
    return torch.cat(rows) if rows else mask.reshape(-1)


class BlockSparseAttentionWrapper:
    """Attention of `[M, …]` queries over `[N, …]` keys in blocks of R × C, in compressed rows.

    Each row of blocks is a request of R queries, each block of keys a page of C tokens.
    """

    def __init__(self, float_workspace_buffer: torch.Tensor, backend: str = "auto") -> None:
        check_backend("BlockSparseAttentionWrapper", backend)
        self._wrapper = BatchPrefillWithPagedKVCacheWrapper(float_workspace_buffer, "NHD")
        self._shape: tuple[int, int, int, int] | None = None

    def reset_workspace_buffer(
        self, float_workspace_buffer: torch.Tensor, int_workspace_buffer: torch.Tensor
    ) -> None:
        """Replaces the workspace."""
        self._wrapper.reset_workspace_buffer(float_workspace_buffer, int_workspace_buffer)

    def plan(
        self, indptr: torch.Tensor | None, indices: torch.Tensor | None, M: int, N: int, R: int,
        C: int, num_qo_heads: int, num_kv_heads: int, head_dim: int,
        mask: torch.Tensor | None = None, packed_mask: torch.Tensor | None = None,
        causal: bool = False, pos_encoding_mode: str = "NONE",
        use_fp16_qk_reduction: bool = False, logits_soft_cap: float | None = None,
        sm_scale: float | None = None, rope_scale: float | None = None,
        rope_theta: float | None = None, q_data_type: Any = "float16", kv_data_type: Any = None,
        o_data_type: Any = "float16", non_blocking: bool = True,
        block_mask: torch.Tensor | None = None, kv_block_lens: torch.Tensor | None = None,
        q2k_indices: torch.Tensor | None = None, q2k_num: torch.Tensor | None = None,
        kv_splits: Any = None, use_clc: bool | None = None, q_scale: Any = None,
        k_scale: Any = None, v_scale: Any = None,
    ) -> None:
        """Plans.

        Args:
            indptr: `[M / R + 1]`; indices: `[indptr[-1]]`, columns of blocks.
            M, N: rows and columns of the matrix, in tokens; R, C: those of a block.
            mask: bool `[blocks, R, C]`, True where a query sees a key; replaces `causal`.
            packed_mask: its rows of blocks as `segment_packbits(…, bitorder="little")` makes them.
        """
        operation = "BlockSparseAttentionWrapper.plan"
        reject(
            operation, _SUPPORTED, block_mask=block_mask, kv_block_lens=kv_block_lens,
            q2k_indices=q2k_indices, q2k_num=q2k_num, q_scale=q_scale, k_scale=k_scale,
            v_scale=v_scale,
        )
        if indptr is None or indices is None:
            fail(operation, "indptr and indices must be given", None)
        if R < 1 or C < 1 or M % R or N % C:
            fail(operation, "R and C must divide M and N", f"{R} and {C} for {M} and {N}")
        blocks = len(indptr) - 1
        if blocks != M // R:
            fail(operation, f"indptr must hold {M // R + 1} offsets (M / R + 1)", len(indptr))
        if len(indices) and int(indices.max()) >= N // C:
            fail(operation, f"indices must be below N / C = {N // C}", int(indices.max()))
        if mask is not None and packed_mask is None:
            bits = indptr.to(torch.int64) * (R * C)
            flat = convert_bsr_mask_layout(mask, indptr)
            packed_mask, _ = segment_packbits(flat.contiguous(), bits, bitorder="little")
        q_type = torch_dtype(q_data_type)
        self._wrapper.plan(
            torch.arange(blocks + 1) * R, indptr, indices, torch.full((blocks,), C), num_qo_heads,
            num_kv_heads, head_dim, C, packed_custom_mask=packed_mask, causal=causal,
            pos_encoding_mode=pos_encoding_mode, sm_scale=sm_scale,
            logits_soft_cap=logits_soft_cap, rope_scale=rope_scale, rope_theta=rope_theta,
            q_data_type=q_type, kv_data_type=kv_data_type, o_data_type=o_data_type,
        )
        self._shape = (M, N, R, C)

    begin_forward = plan

    def run(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
        scale_q: torch.Tensor | None = None, scale_k: torch.Tensor | None = None,
        scale_v: torch.Tensor | None = None, out: torch.Tensor | None = None,
        lse: torch.Tensor | None = None, return_lse: bool = False, enable_pdl: bool | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """o of q `[M, num_qo_heads, head_dim]` over k and v `[N, num_kv_heads, head_dim]`, with
        `return_lse` also f32 `[M, num_qo_heads]`, base 2."""
        operation = "BlockSparseAttentionWrapper.run"
        if self._shape is None:
            fail(operation, "plan() must come before run()", "no plan")
        _, columns, _, width = self._shape
        if k.shape[0] != columns or v.shape[0] != columns:
            found = f"{k.shape[0]} and {v.shape[0]}"
            fail(operation, f"k and v must hold N = {columns} rows", found)
        pages = tuple(t.unflatten(0, (columns // width, width)) for t in (k, v))
        return self._wrapper.run(
            q, pages, q_scale=scale_q, k_scale=scale_k, v_scale=scale_v, out=out, lse=lse,
            return_lse=return_lse,
        )

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
        scale_q: torch.Tensor | None = None, scale_k: torch.Tensor | None = None,
        scale_v: torch.Tensor | None = None, pos_encoding_mode: str = "NONE",
        use_fp16_qk_reduction: bool = False, logits_soft_cap: float | None = None,
        sm_scale: float | None = None, rope_scale: float | None = None,
        rope_theta: float | None = None,
    ) -> torch.Tensor:
        """The former name of `run`; the form of the scores is that of `plan`."""
        return self.run(q, k, v, scale_q, scale_k, scale_v)

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""


class VariableBlockSparseAttentionWrapper:
    """Attention over blocks of any size, chosen per KV head.

    Each row of blocks of a KV head is a request whose keys are pages of one token.
    """

    def __init__(self, float_workspace_buffer: torch.Tensor, backend: str = "auto") -> None:
        check_backend("VariableBlockSparseAttentionWrapper", backend)
        self._wrapper = BatchPrefillWithPagedKVCacheWrapper(float_workspace_buffer, "NHD")
        self._heads: tuple[int, int] | None = None

    def reset_workspace_buffer(
        self, float_workspace_buffer: torch.Tensor, int_workspace_buffer: torch.Tensor
    ) -> None:
        """Replaces the workspace."""
        self._wrapper.reset_workspace_buffer(float_workspace_buffer, int_workspace_buffer)

    def plan(
        self, block_mask_map: torch.Tensor, block_row_sz: torch.Tensor,
        block_col_sz: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim: int,
        causal: bool = False, pos_encoding_mode: str = "NONE",
        use_fp16_qk_reduction: bool = False, logits_soft_cap: float | None = None,
        sm_scale: float | None = None, rope_scale: float | None = None,
        rope_theta: float | None = None, non_blocking: bool = True,
        q_data_type: Any = "float16", kv_data_type: Any = None,
    ) -> None:
        """Plans.

        Args:
            block_mask_map: bool `[num_kv_heads, rows, columns]`, blocks that are seen.
            block_row_sz: `[num_kv_heads, rows]`, queries of each row of blocks.
            block_col_sz: `[num_kv_heads, columns]`, keys of each column.
        """
        operation = "VariableBlockSparseAttentionWrapper.plan"
        rows, columns = block_row_sz.shape[-1], block_col_sz.shape[-1]
        expected = (num_kv_heads, rows, columns)
        if tuple(block_mask_map.shape) != expected:
            fail(operation, f"block_mask_map must be {expected}", tuple(block_mask_map.shape))
        if num_kv_heads < 1 or num_qo_heads % num_kv_heads:
            requirement = "num_qo_heads must be a multiple of num_kv_heads"
            fail(operation, requirement, f"{num_qo_heads} and {num_kv_heads}")
        mask = block_mask_map.cpu() != 0
        widths = block_col_sz.cpu().to(torch.int64)
        indices, counts, start = [], [], 0
        for head in range(num_kv_heads):
            visible = torch.repeat_interleave(mask[head], widths[head], dim=1)
            counts.append(visible.sum(1))
            indices.append(visible.nonzero()[:, 1] + start)
            start += visible.shape[1]
        lengths = torch.cat(counts)
        self._wrapper.plan(
            _offsets(block_row_sz.cpu().flatten()), _offsets(lengths), torch.cat(indices),
            torch.ones_like(lengths), num_qo_heads // num_kv_heads, 1, head_dim, 1, causal=causal,
            pos_encoding_mode=pos_encoding_mode, sm_scale=sm_scale,
            logits_soft_cap=logits_soft_cap, rope_scale=rope_scale, rope_theta=rope_theta,
            q_data_type=q_data_type, kv_data_type=kv_data_type,
        )
        self._heads = (num_qo_heads, num_kv_heads)

    begin_forward = plan

    def run(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor | None = None,
        lse: torch.Tensor | None = None, return_lse: bool = False, enable_pdl: bool | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """o of q `[num_qo_heads, qo_len, head_dim]` over k and v `[num_kv_heads, kv_len,
        head_dim]`, with `return_lse` also f32 `[num_qo_heads, qo_len]`, base 2.

        `out` and `lse` are in the order that the kernel writes: `[num_kv_heads · qo_len, group,
        head_dim]` and `[num_kv_heads · qo_len, group]`.
        """
        if self._heads is None:
            operation = "VariableBlockSparseAttentionWrapper.run"
            fail(operation, "plan() must come before run()", "no plan")
        qo_heads, kv_heads = self._heads
        group, rows = qo_heads // kv_heads, q.shape[1]
        packed = q.unflatten(0, (kv_heads, group)).transpose(1, 2).flatten(0, 1)
        pages = tuple(t.reshape(-1, 1, 1, t.shape[-1]) for t in (k, v))
        result = self._wrapper.run(packed, pages, out=out, lse=lse, return_lse=return_lse)
        o, states = result if return_lse else (result, None)
        o = o.unflatten(0, (kv_heads, rows)).transpose(1, 2).flatten(0, 1).contiguous()
        if states is None:
            return o
        states = states.unflatten(0, (kv_heads, rows)).transpose(1, 2).flatten(0, 1)
        return o, states.contiguous()

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, pos_encoding_mode: str = "NONE",
        use_fp16_qk_reduction: bool = False, logits_soft_cap: float | None = None,
        sm_scale: float | None = None, rope_scale: float | None = None,
        rope_theta: float | None = None,
    ) -> torch.Tensor:
        """The former name of `run`; the form of the scores is that of `plan`."""
        return self.run(q, k, v)

    def end_forward(self) -> None:
        """Does nothing; 0.7 dropped it."""


def _offsets(lengths: torch.Tensor) -> torch.Tensor:
    offsets = torch.zeros(len(lengths) + 1, dtype=torch.int64)
    offsets[1:] = lengths.to(torch.int64).cumsum(0)
    return offsets

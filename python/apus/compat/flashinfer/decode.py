"""flashinfer.decode: one query per request against a contiguous or a paged cache."""

from __future__ import annotations

from typing import Any

import torch

from ._attention_core import Settings
from ._decode_wrapper import (
    BatchDecodeMlaWithPagedKVCacheWrapper,
    BatchDecodeWithPagedKVCacheWrapper,
    CUDAGraphBatchDecodeWithPagedKVCacheWrapper,
    fast_decode_plan,
)
from ._planless import (
    cudnn_batch_decode_with_kv_cache,
    trtllm_batch_decode_with_kv_cache,
    xqa_batch_decode_with_kv_cache,
)
from ._uniform import attend_uniform
from ._values import check_layout, fail, output_type, unsupported

__all__ = [
    "BatchDecodeMlaWithPagedKVCacheWrapper",
    "BatchDecodeWithPagedKVCacheWrapper",
    "CUDAGraphBatchDecodeWithPagedKVCacheWrapper",
    "batch_decode_with_padded_kv_cache",
    "batch_decode_with_padded_kv_cache_return_lse",
    "cudnn_batch_decode_with_kv_cache",
    "fast_decode_plan",
    "single_decode_with_kv_cache",
    "single_decode_with_kv_cache_with_jit_module",
    "trtllm_batch_decode_with_kv_cache",
    "xqa_batch_decode_with_kv_cache",
]


def single_decode_with_kv_cache(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kv_layout: str = "NHD",
    pos_encoding_mode: str = "NONE", use_tensor_cores: bool = False, q_scale: float | None = None,
    k_scale: float | None = None, v_scale: float | None = None, window_left: int = -1,
    logits_soft_cap: float | None = None, sm_scale: float | None = None,
    rope_scale: float | None = None, rope_theta: float | None = None, return_lse: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Attention of one query over one cache.

    Args:
        q: `[num_qo_heads, head_dim]`.
        k: `[kv_len, num_kv_heads, head_dim]` (NHD) or `[num_kv_heads, kv_len, head_dim]` (HND).
        v: likewise.
        use_tensor_cores: computes 16-bit queries on tensor cores; without it the faster arithmetic
            is taken.
        window_left: tokens before the last one that stay visible; −1 is all.

    Returns:
        `[num_qo_heads, head_dim]` of q's dtype, with `return_lse` also f32 `[num_qo_heads]`, base
        2.
    """
    operation = "single_decode_with_kv_cache"
    check_layout(operation, kv_layout)
    if q.ndim != 2 or k.ndim != 3 or v.ndim != 3:
        fail(operation, "q must have 2 dimensions, k and v 3", f"{q.ndim}, {k.ndim} and {v.ndim}")
    length, heads = (0, 1) if kv_layout == "NHD" else (1, 0)
    kv_len = k.shape[length]
    settings = Settings(
        operation=operation, num_qo_heads=q.shape[0], num_kv_heads=k.shape[heads],
        head_dim_qk=q.shape[1], head_dim_vo=v.shape[2], q_dtype=q.dtype, kv_dtype=k.dtype,
        o_dtype=q.dtype, kv_layout=kv_layout, pos_encoding_mode=pos_encoding_mode,
        window_left=window_left, logits_soft_cap=logits_soft_cap, sm_scale=sm_scale,
        rope_scale=rope_scale, rope_theta=rope_theta, use_tensor_cores=bool(use_tensor_cores),
    )
    result = attend_uniform(
        settings, 1, 1, kv_len, False, q.unsqueeze(0), {"k": k, "v": v}, q_scale=q_scale,
        k_scale=k_scale, v_scale=v_scale, return_lse=return_lse,
    )
    if return_lse:
        return result[0].squeeze(0), result[1].squeeze(0)
    return result.squeeze(0)


def single_decode_with_kv_cache_with_jit_module(
    jit_module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args: Any,
    kv_layout: str = "NHD", window_left: int = -1, return_lse: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Modules compiled from CUDA C++ cannot run on Apus."""
    operation = "single_decode_with_kv_cache_with_jit_module"
    unsupported(operation, "jit_module", "single_decode_with_kv_cache and its options")


def batch_decode_with_padded_kv_cache(
    q: torch.Tensor, k_padded: torch.Tensor, v_padded: torch.Tensor, kv_layout: str = "NHD",
    pos_encoding_mode: str = "NONE", q_scale: float | None = None, k_scale: float | None = None,
    v_scale: float | None = None, logits_soft_cap: float | None = None,
    sm_scale: float | None = None, rope_scale: float | None = None,
    rope_theta: float | None = None,
) -> torch.Tensor:
    """Decode over one slab per request; every request attends to all of its slab.

    FlashInfer had this until 0.0.6.

    Args:
        q: `[batch_size, num_qo_heads, head_dim]`.
        k_padded: `[batch_size, padded_len, num_kv_heads, head_dim]` (NHD) or `[batch_size,
            num_kv_heads, padded_len, head_dim]` (HND).
        v_padded: likewise.

    Returns:
        `[batch_size, num_qo_heads, head_dim]` of q's dtype, f16 where q is FP8.
    """
    return _padded(
        "batch_decode_with_padded_kv_cache", q, k_padded, v_padded, kv_layout, pos_encoding_mode,
        q_scale, k_scale, v_scale, logits_soft_cap, sm_scale, rope_scale, rope_theta, False,
    )


def batch_decode_with_padded_kv_cache_return_lse(
    q: torch.Tensor, k_padded: torch.Tensor, v_padded: torch.Tensor, kv_layout: str = "NHD",
    pos_encoding_mode: str = "NONE", q_scale: float | None = None, k_scale: float | None = None,
    v_scale: float | None = None, logits_soft_cap: float | None = None,
    sm_scale: float | None = None, rope_scale: float | None = None,
    rope_theta: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `batch_decode_with_padded_kv_cache`, with f32 lse `[batch_size, num_qo_heads]`, base 2."""
    return _padded(
        "batch_decode_with_padded_kv_cache_return_lse", q, k_padded, v_padded, kv_layout,
        pos_encoding_mode, q_scale, k_scale, v_scale, logits_soft_cap, sm_scale, rope_scale,
        rope_theta, True,
    )


def _padded(
    operation: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kv_layout: str,
    pos_encoding_mode: str, q_scale: Any, k_scale: Any, v_scale: Any,
    logits_soft_cap: float | None, sm_scale: float | None, rope_scale: float | None,
    rope_theta: float | None, return_lse: bool,
) -> Any:
    check_layout(operation, kv_layout)
    if q.ndim != 3 or k.ndim != 4 or v.ndim != 4:
        fail(operation, "q must have 3 dimensions, k and v 4", f"{q.ndim}, {k.ndim} and {v.ndim}")
    batch = q.shape[0]
    if k.shape[0] != batch:
        fail(operation, f"k_padded must hold {batch} requests", k.shape[0])
    length, heads = (1, 2) if kv_layout == "NHD" else (2, 1)
    padded_len = k.shape[length]
    settings = Settings(
        operation=operation, num_qo_heads=q.shape[1], num_kv_heads=k.shape[heads],
        head_dim_qk=q.shape[2], head_dim_vo=v.shape[3], q_dtype=q.dtype, kv_dtype=k.dtype,
        o_dtype=output_type(q.dtype, torch.float16), kv_layout=kv_layout,
        pos_encoding_mode=pos_encoding_mode, logits_soft_cap=logits_soft_cap, sm_scale=sm_scale,
        rope_scale=rope_scale, rope_theta=rope_theta,
    )
    return attend_uniform(
        settings, batch, 1, padded_len, True, q, {"k": k, "v": v}, q_scale=q_scale,
        k_scale=k_scale, v_scale=v_scale, return_lse=return_lse,
    )

"""flashinfer.prefill: many queries per request against ragged or paged caches."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

import apus

from ._attention_core import PlannedAttention, Settings
from ._masks import mask_arguments
from ._planless import trtllm_batch_context_with_kv_cache, trtllm_ragged_attention_deepseek
from ._prefill_paged import BatchPrefillWithPagedKVCacheWrapper
from ._prefill_ragged import BatchPrefillWithRaggedKVCacheWrapper
from ._unavailable import lookup_of
from ._uniform import attend_uniform
from ._values import check_backend, check_layout, fail, unsupported
from ._wrapper import combined

__all__ = [
    "BatchPrefillWithPagedKVCacheWrapper",
    "BatchPrefillWithRaggedKVCacheWrapper",
    "single_prefill_with_kv_cache",
    "single_prefill_with_kv_cache_return_lse",
    "single_prefill_with_kv_cache_with_jit_module",
    "trtllm_batch_context_with_kv_cache",
    "trtllm_ragged_attention_deepseek",
]


def single_prefill_with_kv_cache(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale_q: torch.Tensor | None = None,
    scale_k: torch.Tensor | None = None, scale_v: torch.Tensor | None = None,
    o_dtype: torch.dtype | None = None, custom_mask: torch.Tensor | None = None,
    packed_custom_mask: torch.Tensor | None = None, causal: bool = False, kv_layout: str = "NHD",
    pos_encoding_mode: str = "NONE", use_fp16_qk_reduction: bool = False,
    sm_scale: float | None = None, window_left: int = -1, logits_soft_cap: float | None = None,
    rope_scale: float | None = None, rope_theta: float | None = None, backend: str = "auto",
    return_lse: bool = False, kv_cache_sf: Any = None,
    k_scale: float | torch.Tensor | None = None, v_scale: float | torch.Tensor | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Attention of one request.

    Args:
        q: `[qo_len, num_qo_heads, head_dim_qk]`.
        k: `[kv_len, num_kv_heads, head_dim_qk]` (NHD) or `[num_kv_heads, kv_len, head_dim_qk]`
            (HND).
        v: likewise, of head_dim_vo.
        scale_q: f32 `[num_qo_heads]` for an FP8 query; scale_k and scale_v `[num_kv_heads]`.
        custom_mask: bool `[qo_len, kv_len]`, True where a query sees a key; replaces `causal`.
        packed_custom_mask: its rows as bits in little order, instead of it.
        causal: query i sees keys j ≤ kv_len − qo_len + i.
        use_fp16_qk_reduction: accepted; sums are never shorter than f32.
        window_left: keys before a query's position that stay visible; −1 is all.

    Returns:
        `[qo_len, num_qo_heads, head_dim_vo]` of o_dtype or q's, with `return_lse` also f32
        `[qo_len, num_qo_heads]`, base 2.
    """
    operation = "single_prefill_with_kv_cache"
    check_layout(operation, kv_layout)
    check_backend(operation, backend)
    if kv_cache_sf is not None:
        unsupported(operation, "kv_cache_sf (NVFP4)", "k and v of f32, f16, bf16, e4m3, e5m2")
    if q.ndim != 3 or k.ndim != 3 or v.ndim != 3:
        fail(operation, "q, k and v must have 3 dimensions", f"{q.ndim}, {k.ndim} and {v.ndim}")
    length, heads = (0, 1) if kv_layout == "NHD" else (1, 0)
    qo_len, kv_len = q.shape[0], k.shape[length]
    mask = mask_arguments(
        custom_mask, packed_custom_mask, np.array([qo_len]), np.array([kv_len]), operation
    )
    if causal and not mask and qo_len > kv_len:
        fail(operation, f"kv_len must be at least qo_len = {qo_len} under causal", kv_len)
    settings = Settings(
        operation=operation, num_qo_heads=q.shape[1], num_kv_heads=k.shape[heads],
        head_dim_qk=q.shape[2], head_dim_vo=v.shape[2], q_dtype=q.dtype, kv_dtype=k.dtype,
        o_dtype=q.dtype if o_dtype is None else o_dtype, kv_layout=kv_layout, causal=causal,
        pos_encoding_mode=pos_encoding_mode, window_left=window_left,
        logits_soft_cap=logits_soft_cap, sm_scale=sm_scale, rope_scale=rope_scale,
        rope_theta=rope_theta,
    )
    scales = {
        "q_scale": scale_q, "k_scale": combined(k_scale, scale_k),
        "v_scale": combined(v_scale, scale_v),
    }
    caches = {"k": k, "v": v}
    if not mask:
        return attend_uniform(
            settings, 1, qo_len, kv_len, False, q, caches, return_lse=return_lse, **scales
        )
    planned = PlannedAttention(
        apus.backend_of(q), settings, {"kv_indptr": np.array([0, kv_len])},
        np.array([0, qo_len]), np.array([kv_len]), mask,
    )
    return planned.run(q, caches, return_lse=return_lse, **scales)


single_prefill_with_kv_cache_return_lse = functools.partial(
    single_prefill_with_kv_cache, return_lse=True
)


def single_prefill_with_kv_cache_with_jit_module(
    jit_module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args: Any,
    kv_layout: str = "NHD", mask_mode: int = 0, window_left: int = -1, return_lse: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Modules compiled from CUDA C++ cannot run on Apus."""
    operation = "single_prefill_with_kv_cache_with_jit_module"
    unsupported(operation, "jit_module", "single_prefill_with_kv_cache and its options")


__getattr__ = lookup_of(__name__, "architectures")

"""Names of FlashInfer that Apus does not have: they import, and raise NotImplementedError in use.

The table is that of Documentation/Python-FlashInfer.md, which a test compares with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_REAL = "Keep FlashInfer installed beside Apus and call apus.compat.flashinfer.install()."
_GEMM = f"Matrix products are outside Apus. {_REAL}"
_MOE = f"Mixtures of experts are outside Apus. {_REAL}"
_COMM = f"Communication is outside Apus. {_REAL}"
_QUANTIZE = f"4-bit and block-scaled formats are outside Apus. {_REAL}"
_LINEAR = f"Linear attention is outside Apus. {_REAL}"
_FUSED = f"Fused layers around attention are outside Apus. {_REAL}"
_SELECT = f"Selection of tokens by scores is outside Apus. {_REAL}"
_BLACKWELL = "An interface to kernels of one architecture. Use the wrappers or trtllm_batch_*."
_NVFP4_CACHE = "Caches are of f32, f16, bf16, e4m3 or e5m2. Use append_paged_kv_cache."
_MASKED = "Use BatchPrefillWithPagedKVCacheWrapper with a custom_mask."

# Module, plan, names. All are names of the package too.
GROUPS: tuple[tuple[str, str, str], ...] = (
    ("gemm", _GEMM, "SegmentGEMMWrapper bmm_bf16 bmm_fp8 bmm_mxfp8 mm_bf16 mm_bf16_fp4 mm_fp4 "
     "mm_fp8 mm_mxfp8 mm_nvfp4_svdquant nvfp4_quantize_smooth prepare_bf16_fp4_weights "
     "svdquant_linear tgv_gemm_sm100 gemm_fp8_nt_blockscaled gemm_fp8_nt_groupwise "
     "group_gemm_fp8_nt_groupwise fp8_blockscale_gemm_sm90"),
    ("grouped_mm", _GEMM, "grouped_mm_bf16 grouped_mm_fp4 grouped_mm_fp8 grouped_mm_mxfp8"),
    ("trtllm_low_latency_gemm", _GEMM, "prepare_low_latency_gemm_weights"),
    ("fused_moe", _MOE, "cutlass_fused_moe reorder_rows_for_gated_act_gemm trtllm_bf16_moe "
     "trtllm_bf16_routed_moe trtllm_fp4_block_scale_moe trtllm_fp4_block_scale_routed_moe "
     "trtllm_fp8_block_scale_moe trtllm_fp8_block_scale_routed_moe "
     "trtllm_fp8_per_tensor_scale_moe trtllm_fp8_per_tensor_scale_routed_moe "
     "cute_dsl_fused_moe_nvfp4 CuteDslMoEWrapper b12x_fused_moe B12xMoEWrapper "
     "RoutingMethodType ActivationType is_gated_activation"),
    ("comm", _COMM, "trtllm_allreduce_fusion trtllm_create_ipc_workspace_for_all_reduce_fusion "
     "trtllm_destroy_ipc_workspace_for_all_reduce_fusion vllm_all_reduce MoeAlltoAll MnnvlMemory "
     "allreduce_fusion create_allreduce_fusion_workspace"),
    ("fp4_quantization", _QUANTIZE, "block_scale_interleave nvfp4_block_scale_interleave "
     "e2m1_and_ufp8sf_scale_to_float fp4_quantize mxfp4_dequantize_host mxfp4_dequantize "
     "mxfp4_quantize nvfp4_quantize nvfp4_quantize_paged_kv_cache nvfp4_batched_quantize "
     "shuffle_matrix_a shuffle_matrix_sf_a scaled_fp4_grouped_quantize "
     "silu_and_mul_nvfp4_quantize silu_and_mul_scaled_nvfp4_experts_quantize nvfp4_kv_dequantize "
     "nvfp4_kv_dequantize_paged nvfp4_kv_quantize SfLayout"),
    ("fp8_quantization", _QUANTIZE, "mxfp8_dequantize_host mxfp8_grouped_quantize mxfp8_quantize"),
    ("gdn_prefill", _LINEAR, "chunk_gated_delta_rule"),
    ("gdn_decode", _LINEAR, "gated_delta_rule_decode gdn_fused_decode_step "
     "gdn_fused_decode_step_supported"),
    ("kda", _LINEAR, "RecurrentKDAPrefillWorkspace RecurrentKDAPrefillWrapper recurrent_kda "
     "fused_kda_decode packed_kda_decode"),
    ("mamba", _LINEAR, "selective_state_update"),
    ("fused_norm", _FUSED, "fused_rmsnorm_silu fused_qk_rmsnorm_rope rmsnorm_fp4quant "
     "add_rmsnorm_fp4quant fused_dit_gate_residual_layernorm_gamma_beta "
     "fused_dit_gate_residual_layernorm_scale_shift fused_dit_residual_layernorm_scale_shift"),
    ("selection", _SELECT, "top_k_page_table_transform top_k_ragged_transform top_k_varlen"),
    ("architectures", _BLACKWELL, "xqa xqa_mla trtllm_fmha_v2_prefill "
     "trtllm_sage_attention_quantize nvfp4_attention_sm120_fwd "
     "nvfp4_attention_sm120_quantize_qkv fmha_varlen cudnn_batch_prefill_with_kv_cache"),
    ("nvfp4_cache", _NVFP4_CACHE, "nvfp4_quantize_append_paged_kv_cache "
     "nvfp4_quantize_append_paged_kv_cache_with_slot_mapping"),
    ("ranges", _MASKED, "BatchPrefillWithCausalBidirectionalRangesWrapper"),
    ("tracing", f"Traces are outside Apus. {_REAL}", "fi_trace"),
)

PLANS: dict[str, str] = {name: plan for _, plan, names in GROUPS for name in names.split()}


class Unavailable:
    """A name that imports and raises when it is called or looked into."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _fail(self) -> Any:
        raise NotImplementedError(
            f"flashinfer.{self._name}: Apus has attention and KV caches. {PLANS[self._name]}"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._fail()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._fail()

    def __repr__(self) -> str:
        return f"<flashinfer.{self._name}: not in Apus>"


_made: dict[str, Unavailable] = {}


def lookup(module: str, name: str) -> Unavailable:
    """The stand-in of a name of the table; AttributeError for others."""
    if name not in PLANS:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return _made.setdefault(name, Unavailable(name))


def lookup_of(module: str, *groups: str) -> Callable[[str], Unavailable]:
    """`__getattr__` of a module that has the names of some groups."""
    names = {n for group, _, names in GROUPS if group in groups for n in names.split()}

    def find(name: str) -> Unavailable:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return lookup(module, name)

    return find

"""flashinfer.mla: attention over a cache of latent rows, shared by all heads (arXiv 2405.04434)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

import apus

from ._attention_core import PlannedAttention, Settings
from ._pages import page_lists
from ._values import (
    check_backend,
    fail,
    host_indptr,
    host_integers,
    output_type,
    reject,
    torch_dtype,
    unsupported,
)
from ._wrapper import PlannedWrapper, check_types

__all__ = [
    "BatchMLAPagedAttentionWrapper",
    "MLAPlanMetadata",
    "trtllm_batch_decode_with_kv_cache_mla",
    "xqa_batch_decode_with_kv_cache_mla",
]

_CSR = ("qo_indptr", "kv_indptr", "kv_indices", "kv_len_arr")
_DENSE = ("cum_seq_lens_q", "block_tables", "seq_lens")


@dataclasses.dataclass(frozen=True)
class MLAPlanMetadata:
    """Lists of a batch: compressed rows of pages, a dense block table, or both."""

    qo_indptr: torch.Tensor | None = None
    kv_indptr: torch.Tensor | None = None
    kv_indices: torch.Tensor | None = None
    kv_len_arr: torch.Tensor | None = None
    cum_seq_lens_q: torch.Tensor | None = None
    block_tables: torch.Tensor | None = None
    seq_lens: torch.Tensor | None = None
    max_q_len: int | None = None

    @classmethod
    def csr(
        cls, qo_indptr: torch.Tensor, kv_indptr: torch.Tensor, kv_indices: torch.Tensor,
        kv_len_arr: torch.Tensor,
    ) -> MLAPlanMetadata:
        """Compressed rows: `[batch + 1]`, `[batch + 1]`, `[kv_indptr[-1]]`, `[batch]`."""
        return cls(qo_indptr, kv_indptr, kv_indices, kv_len_arr)

    @classmethod
    def dense(
        cls, cum_seq_lens_q: torch.Tensor, block_tables: torch.Tensor, seq_lens: torch.Tensor,
        max_q_len: int | None = None,
    ) -> MLAPlanMetadata:
        """A block table `[batch, pages]` and lengths `[batch]`, queries by `[batch + 1]`."""
        return cls(
            cum_seq_lens_q=cum_seq_lens_q, block_tables=block_tables, seq_lens=seq_lens,
            max_q_len=max_q_len,
        )

    @classmethod
    def dual(
        cls, qo_indptr: torch.Tensor, kv_indptr: torch.Tensor, kv_indices: torch.Tensor,
        kv_len_arr: torch.Tensor, *, cum_seq_lens_q: torch.Tensor, block_tables: torch.Tensor,
        seq_lens: torch.Tensor, max_q_len: int | None = None,
    ) -> MLAPlanMetadata:
        """Both; the compressed rows are used."""
        return cls(
            qo_indptr, kv_indptr, kv_indices, kv_len_arr, cum_seq_lens_q, block_tables, seq_lens,
            max_q_len,
        )

    def _lists(self, page_size: int, operation: str) -> tuple[dict[str, Any], np.ndarray]:
        """Pages (with `lengths`) and query offsets."""
        for names in (_CSR, _DENSE):
            given = [name for name in names if getattr(self, name) is not None]
            if given and len(given) < len(names):
                fail(operation, f"{', '.join(names)} must be given together", ", ".join(given))
        if self.qo_indptr is not None:
            lists = page_lists(
                self.kv_indptr, self.kv_indices, page_size, operation, kv_len=self.kv_len_arr
            )
            return lists, host_indptr(self.qo_indptr, operation, "qo_indptr")
        if self.block_tables is None:
            raise TypeError(f"{operation}: metadata or lists must be given; found neither.")
        lengths = host_integers(self.seq_lens, operation, "seq_lens")
        table = self.block_tables.detach().cpu().to(torch.int32).contiguous().numpy()
        if table.ndim != 2 or table.shape[0] != lengths.size:
            fail(operation, f"block_tables must be [{lengths.size}, pages]", table.shape)
        lists = {
            "page_size": page_size, "block_table": table, "kv_lengths": lengths,
            "lengths": lengths,
        }
        return lists, host_indptr(self.cum_seq_lens_q, operation, "cum_seq_lens_q")


class BatchMLAPagedAttentionWrapper(PlannedWrapper):
    """MLA decode and incremental prefill with absorbed projections: `plan`, then `run`.

    Both forms of `plan` are taken: lists one by one (0.6.18), or `metadata=` (0.7).
    """

    _name = "BatchMLAPagedAttentionWrapper"

    def __init__(
        self, float_workspace_buffer: torch.Tensor, use_cuda_graph: bool = False,
        qo_indptr: torch.Tensor | None = None, kv_indptr: torch.Tensor | None = None,
        kv_indices: torch.Tensor | None = None, kv_len_arr: torch.Tensor | None = None,
        backend: str = "auto",
    ) -> None:
        self._start(float_workspace_buffer, "NHD", use_cuda_graph, backend, None, {})
        self._qo_indptr_buf = qo_indptr
        self._kv_indptr_buf = kv_indptr
        self._kv_indices_buf = kv_indices
        self._kv_len_arr_buf = kv_len_arr
        self._lse_mode = "none"
        self._is_legacy = True

    def plan(
        self, qo_indptr: torch.Tensor | None = None, kv_indptr: torch.Tensor | None = None,
        kv_indices: torch.Tensor | None = None, kv_len_arr: torch.Tensor | None = None,
        num_heads: int | None = None, head_dim_ckv: int | None = None,
        head_dim_kpe: int | None = None, page_size: int | None = None,
        causal: bool | None = None, sm_scale: float | None = None,
        q_data_type: torch.dtype | None = None, kv_data_type: torch.dtype | None = None,
        use_profiler: bool = False, *, metadata: MLAPlanMetadata | None = None,
        cum_seq_lens_q: torch.Tensor | None = None, block_tables: torch.Tensor | None = None,
        seq_lens: torch.Tensor | None = None, max_q_len: int | None = None,
        query_layout: str | None = None, kv_cache_layout: str | None = None,
        lse_mode: str = "none", output_dtype: torch.dtype | None = None,
        output_scale: str = "none", scale_mode: str = "default", skip_softmax: bool = False,
        enable_pdl: bool | None = None, use_sinks: bool = False,
    ) -> None:
        """Plans a batch.

        Args:
            qo_indptr: `[batch_size + 1]`, queries of each request.
            kv_indptr: `[batch_size + 1]`, into kv_indices, the pages.
            kv_len_arr: `[batch_size]`.
            metadata: these lists, or a block table, in one.
            sm_scale: that of the heads before absorption, as 1/√(128 + 64).
            lse_mode: `base2` or `basee` where run() will return lse of a metadata plan.
            query_layout, kv_cache_layout: `packed` or `split`; run() takes either.
        """
        operation = f"{self._name}.plan"
        flat = {
            "qo_indptr": qo_indptr, "kv_indptr": kv_indptr, "kv_indices": kv_indices,
            "kv_len_arr": kv_len_arr, "cum_seq_lens_q": cum_seq_lens_q,
            "block_tables": block_tables, "seq_lens": seq_lens, "max_q_len": max_q_len,
        }
        given = [name for name, value in flat.items() if value is not None]
        if metadata is not None:
            if not isinstance(metadata, MLAPlanMetadata):
                found = type(metadata).__name__
                raise TypeError(f"{operation}: metadata must be MLAPlanMetadata; found {found}.")
            if given:
                fail(operation, "metadata and lists must not both be given", ", ".join(given))
        else:
            if any(name in _CSR for name in given) and any(name not in _CSR for name in given):
                fail(operation, "lists of pages and a block table must not mix", ", ".join(given))
            metadata = MLAPlanMetadata(**flat)
        required = {
            "num_heads": num_heads, "head_dim_ckv": head_dim_ckv, "head_dim_kpe": head_dim_kpe,
            "page_size": page_size, "causal": causal, "sm_scale": sm_scale,
            "q_data_type": q_data_type, "kv_data_type": kv_data_type,
        }
        missing = [name for name, value in required.items() if value is None]
        if missing:
            raise TypeError(f"{operation}: {', '.join(missing)} must be given; found None.")
        for name, value, options in (
            ("lse_mode", lse_mode, ("none", "base2", "basee")),
            ("query_layout", query_layout, (None, "packed", "split")),
            ("kv_cache_layout", kv_cache_layout, (None, "packed", "split")),
            ("output_scale", output_scale, ("none", "per-tensor")),
            ("scale_mode", scale_mode, ("default", "kv-per-tensor", "bmm-scalar", "bmm-tensor")),
        ):
            if value not in options:
                fail(operation, f"{name} must be one of {options}", repr(value))
        if use_profiler:
            unsupported(operation, "use_profiler", "use_profiler=False")
        lists, offsets = metadata._lists(page_size, operation)
        lengths = lists.pop("lengths")
        if offsets.size != lengths.size + 1:
            fail(operation, f"there must be queries for {lengths.size} requests", offsets.size - 1)
        q_type = torch_dtype(q_data_type)
        o_type = q_type if output_dtype is None else torch_dtype(output_dtype)
        settings = Settings(
            operation=f"{self._name}.run", num_qo_heads=num_heads, num_kv_heads=1,
            head_dim_qk=head_dim_ckv + head_dim_kpe, head_dim_vo=head_dim_ckv, q_dtype=q_type,
            kv_dtype=torch_dtype(kv_data_type), o_dtype=o_type, causal=causal, sm_scale=sm_scale,
            latent=(head_dim_ckv, head_dim_kpe),
        )
        kept = {name: getattr(metadata, name) for name in _CSR}
        if metadata.qo_indptr is not None:
            self._check_buffers(**kept)
        self._commit(settings, lists, offsets, lengths, {})
        self._lse_mode = lse_mode
        self._is_legacy = bool(given)
        self._keep(**kept)

    def run(
        self, q_nope: torch.Tensor | None = None, q_pe: torch.Tensor | None = None,
        ckv_cache: torch.Tensor | None = None, kpe_cache: torch.Tensor | None = None,
        out: torch.Tensor | None = None, lse: torch.Tensor | None = None,
        return_lse: bool = False, profiler_buffer: torch.Tensor | None = None,
        kv_len: torch.Tensor | None = None, page_table: torch.Tensor | None = None,
        return_lse_base_on_e: bool = False, o_scale: float | None = None, *, query: Any = None,
        kv_cache: Any = None, ckv_scale: float | None = None,
        ckv_scale_arr: torch.Tensor | None = None, kpe_scale: float | None = None,
        sinks: torch.Tensor | None = None,
        skip_softmax_threshold_scale_factor: float | None = None,
        bmm1_scale: float | None = None, bmm2_scale: float | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Runs the planned batch.

        Args:
            q_nope: `[rows, num_heads, head_dim_ckv]`; q_pe: `[rows, num_heads, head_dim_kpe]`.
            ckv_cache: `[pages, page_size, head_dim_ckv]`; kpe_cache likewise.
            query: both parts in one tensor, or the pair; kv_cache likewise.
            kv_len, page_table: lists of a plan-less call, refused: plan() has them.
            return_lse_base_on_e: natural instead of base 2.
            ckv_scale, kpe_scale: multiply the stored parts of the cache.
            bmm1_scale: replaces sm_scale, times all scales of q and k; bmm2_scale multiplies o.

        Returns:
            o `[rows, num_heads, head_dim_ckv]`, with `return_lse` also f32 `[rows, num_heads]`.
        """
        operation = f"{self._name}.run"
        reject(
            operation, "one scale per part of the cache, and lists given to plan()",
            ckv_scale_arr=ckv_scale_arr, kv_len=kv_len, page_table=page_table,
            profiler_buffer=profiler_buffer,
        )
        planned = self._planned()
        settings = planned.settings
        q, q_rope = _parts(query, q_nope, q_pe, "query", operation)
        ckv, kpe = _parts(kv_cache, ckv_cache, kpe_cache, "kv_cache", operation)
        check_types(settings, q, ckv.dtype, operation)
        if q.shape[0] != planned.rows:
            fail(operation, f"q must hold qo_indptr[-1] = {planned.rows} rows", q.shape[0])
        wants_lse = return_lse or lse is not None or return_lse_base_on_e
        mode = "none" if not wants_lse else "basee" if return_lse_base_on_e else "base2"
        if not self._is_legacy and mode != self._lse_mode:
            requirement = f"lse must be that of plan(), lse_mode={self._lse_mode!r}"
            fail(operation, requirement, mode)
        q_scale = None
        if (bmm1_scale is None) != (bmm2_scale is None):
            fail(operation, "bmm1_scale and bmm2_scale must be given together", "one of them")
        if bmm1_scale is not None:
            if ckv_scale is not None or kpe_scale is not None:
                fail(operation, "ckv_scale and bmm1_scale must not both be given", "both")
            q_scale = bmm1_scale / settings.sm_scale
            # Values are the latent's, with its scale, so what o is multiplied by divides o's scale.
            o_scale = (1.0 if o_scale is None else o_scale) / bmm2_scale
        result = planned.run(
            q, {"k": ckv, "v": kpe} if kpe is not None else {"kv": ckv}, q_rope=q_rope,
            q_scale=q_scale, k_scale=ckv_scale, kpe_scale=kpe_scale, o_scale=o_scale, out=out,
            lse=lse, return_lse=wants_lse, lse_base="ln" if return_lse_base_on_e else "log2",
            sinks=sinks, workspace=self._float_workspace_buffer,
        )
        return result if return_lse or not wants_lse else result[0]

    def run_return_lse(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """`run` with `return_lse=True`."""
        return self.run(*args, return_lse=True, **kwargs)


def _parts(
    whole: Any, first: torch.Tensor | None, second: torch.Tensor | None, name: str, operation: str
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One packed tensor, or two parts."""
    if whole is not None:
        if first is not None or second is not None:
            fail(operation, f"{name} and its parts must not both be given", "both")
        if isinstance(whole, torch.Tensor):
            return whole, None
        if isinstance(whole, tuple) and len(whole) == 2:
            # A packed tensor beside the pair of its parts is redundant.
            for part in whole:
                if isinstance(part, tuple):
                    return part[0], part[1]
            return whole[0], whole[1]
        found = type(whole).__name__
        raise TypeError(f"{operation}: {name} must be a tensor or a pair; found {found}.")
    if first is None:
        fail(operation, f"{name} or its parts must be given", "neither")
    return first, second if second is None or second.shape[-1] else None


def trtllm_batch_decode_with_kv_cache_mla(
    query: torch.Tensor, kv_cache: torch.Tensor, workspace_buffer: torch.Tensor,
    qk_nope_head_dim: int, kv_lora_rank: int, qk_rope_head_dim: int, block_tables: torch.Tensor,
    seq_lens: torch.Tensor, max_seq_len: int, sparse_mla_top_k: int = 0,
    out: torch.Tensor | None = None, bmm1_scale: float | torch.Tensor = 1.0,
    bmm2_scale: float | torch.Tensor = 1.0, sinks: Any = None,
    skip_softmax_threshold_scale_factor: float | None = None, enable_pdl: bool | None = None,
    backend: str = "auto", is_var_seq: bool = True, uses_shared_paged_kv_idx: bool = True,
    lse: torch.Tensor | None = None, return_lse: bool = False, cute_dsl_impl: str = "auto",
    kv_scale_format: str = "auto", cum_seq_lens_q: torch.Tensor | None = None,
    max_q_len: int | None = None, multi_ctas_kv_counter_buffer: torch.Tensor | None = None,
    sparse_mla_top_k_lens: torch.Tensor | None = None, enable_dcp: bool = False,
    cp_world: int = 1, cp_rank: int = 0, causal_seqlens_kv_global: torch.Tensor | None = None,
    use_fp16_softmax: bool | None = None, return_lse_base: str | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """MLA decode by a block table, without a plan.

    Args:
        query: `[batch_size, q_len, num_heads, kv_lora_rank + qk_rope_head_dim]`, or rows by
            cum_seq_lens_q.
        kv_cache: `[pages, page_size, kv_lora_rank + qk_rope_head_dim]`, also with a dimension of 1
            for the head.
        block_tables: `[batch_size, pages_per_request]`.
        bmm1_scale: multiplies q·k; bmm2_scale multiplies o.

    Returns:
        o of the shape of query with kv_lora_rank last, with `return_lse` also f32 lse of all rows.
    """
    operation = "trtllm_batch_decode_with_kv_cache_mla"
    check_backend(operation, backend)
    reject(
        operation, "causal decode over dense block tables",
        sparse_mla_top_k=sparse_mla_top_k != 0, sparse_mla_top_k_lens=sparse_mla_top_k_lens,
        enable_dcp=enable_dcp, uses_separate_paged_kv_idx=not uses_shared_paged_kv_idx,
        causal_seqlens_kv_global=causal_seqlens_kv_global, cp_world=cp_world != 1,
    )
    if isinstance(sinks, (list, tuple)):
        sinks = sinks[0] if sinks else None
    if return_lse_base not in (None, "base2", "basee"):
        fail(operation, "return_lse_base must be 'base2' or 'basee'", repr(return_lse_base))
    width = kv_lora_rank + qk_rope_head_dim
    if query.ndim not in (3, 4) or query.shape[-1] != width:
        fail(operation, f"query must be [batch_size, q_len, num_heads, {width}]", query.shape)
    cache = kv_cache
    if cache.ndim == 4:
        cache = cache.squeeze(1) if cache.shape[1] == 1 else cache.squeeze(2)
    if cache.ndim != 3 or cache.shape[-1] != width:
        fail(operation, f"kv_cache must be [pages, page_size, {width}]", tuple(kv_cache.shape))
    batch = len(seq_lens)
    rows = query.reshape(-1, query.shape[-2], width)
    if cum_seq_lens_q is not None:
        offsets = host_indptr(cum_seq_lens_q, operation, "cum_seq_lens_q")
    else:
        q_len = query.shape[1] if query.ndim == 4 else 1
        offsets = np.arange(batch + 1) * q_len
    if offsets[-1] != rows.shape[0]:
        fail(operation, f"query must hold {offsets[-1]} rows", rows.shape[0])
    on_device = isinstance(bmm1_scale, torch.Tensor)
    settings = Settings(
        operation=operation, num_qo_heads=rows.shape[1], num_kv_heads=1, head_dim_qk=width,
        head_dim_vo=kv_lora_rank, q_dtype=query.dtype, kv_dtype=cache.dtype,
        o_dtype=output_type(query.dtype, torch.bfloat16) if out is None else out.dtype,
        causal=True, sm_scale=1.0 if on_device else float(bmm1_scale),
        latent=(kv_lora_rank, qk_rope_head_dim),
    )
    lengths = host_integers(seq_lens, operation, "seq_lens")
    geometry = {
        "page_size": cache.shape[1],
        "block_table": block_tables.detach().cpu().to(torch.int32).contiguous().numpy(),
        "kv_lengths": lengths,
    }
    planned = PlannedAttention(apus.backend_of(query), settings, geometry, offsets, lengths, {})
    is_unit = isinstance(bmm2_scale, (int, float)) and bmm2_scale == 1.0
    result = planned.run(
        rows, {"kv": cache}, q_scale=bmm1_scale if on_device else None,
        o_scale=None if is_unit else 1.0 / bmm2_scale,
        out=None if out is None else out.view(-1, *out.shape[-2:]), lse=lse,
        return_lse=return_lse, lse_base="ln" if return_lse_base == "basee" else "log2",
        sinks=sinks, workspace=workspace_buffer,
    )
    shape = (*query.shape[:-1], kv_lora_rank)
    if return_lse:
        return result[0].view(shape), result[1]
    return result.view(shape)


def xqa_batch_decode_with_kv_cache_mla(
    query: torch.Tensor, kv_cache: torch.Tensor, workspace_buffer: torch.Tensor,
    qk_nope_head_dim: int, kv_lora_rank: int, qk_rope_head_dim: int, block_tables: torch.Tensor,
    seq_lens: torch.Tensor, max_seq_len: int, out: torch.Tensor | None = None,
    bmm1_scale: float | torch.Tensor = 1.0, bmm2_scale: float | torch.Tensor = 1.0,
    sinks: Any = None, enable_pdl: bool | None = None,
) -> torch.Tensor:
    """As `trtllm_batch_decode_with_kv_cache_mla`, without lse."""
    return trtllm_batch_decode_with_kv_cache_mla(
        query, kv_cache, workspace_buffer, qk_nope_head_dim, kv_lora_rank, qk_rope_head_dim,
        block_tables, seq_lens, max_seq_len, out=out, bmm1_scale=bmm1_scale,
        bmm2_scale=bmm2_scale, sinks=sinks,
    )

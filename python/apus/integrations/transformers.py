"""Hugging Face transformers on Apus: an entry of its attention registry, and a paged KV cache.

```python
from apus.integrations.transformers import PagedCache, register

register()
model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="apus")
model.generate(**inputs, past_key_values=PagedCache(model.config))
```

Every model whose attention goes through the registry can use it, with any of transformers' caches;
`PagedCache` keeps keys and values in Apus's pages and lets attention read them there. Masks
(padding, sliding windows, packed sequences) come from transformers and are applied bit by bit; a
causal mask without padding needs none. Forward only: training raises NotImplementedError.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any, Optional

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

import apus

from ..compat.flash_attn._checks import require, require_forward, require_no_dropout, unsupported
from ..compat.flash_attn._dense import innermost
from ..compat.flash_attn._plans import plan_for, type_name

_names: set[str] = set()
# The mask that was packed last, its version, and its bits: layers of a model share theirs.
_packed: tuple[Any, int, tuple[int, int, int], Any] = (lambda: None, -1, (0, 0, 0), None)


def register(name: str = "apus") -> str:
    """Makes `attn_implementation=name` mean Apus; returns the name."""
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)
    _names.add(name)
    return name


@torch.compiler.disable
def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Optional[torch.Tensor],
    dropout: float = 0.0,
    scaling: Optional[float] = None,
    is_causal: Optional[bool] = None,
    sliding_window: Optional[int] = None,
    softcap: Optional[float] = None,
    s_aux: Optional[torch.Tensor] = None,
    position_bias: Optional[torch.Tensor] = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the registry's form.

    query `(batch, heads, len_q, dim)`, key and value `(batch, heads_k, len_k, …)`, or what a
    `PagedCache` returned in their place; attention_mask `(batch, 1, len_q, len_k)`, True or 0 where
    a key is seen. Returns out `(batch, len_q, heads, dim_v)` and None in the place of weights.
    """
    name = "apus.integrations.transformers.attention"
    require_forward(name, query=query, key=key, value=value)
    require_no_dropout(name, dropout)
    if kwargs.get("output_attentions"):
        unsupported(
            name, "output_attentions must be False", True, "Use attn_implementation='eager'.")
    if position_bias is not None:
        unsupported(
            name, "position_bias must be None", "a tensor", "Use attn_implementation='sdpa'.")
    batch, heads, len_q, dim = query.shape
    layer = getattr(key, "_apus_layer", None)
    if layer is None and isinstance(key, PagedStates):
        unsupported(
            name, "keys of a PagedCache must come as it returned them", "a view of them",
            "Use one of transformers' own caches for this model.")
    if layer is not None:
        kv_heads, dim_v, len_k = layer.k.shape[2], layer.v.shape[3], layer.length
        problem, tensors = layer.geometry(), {"k": layer.k, "v": layer.v}
    else:
        kv_heads, dim_v, len_k = key.shape[1], value.shape[3], key.shape[2]
        require(key.shape[0] == batch, name, "query and key must have the same batch size",
                f"{batch} and {key.shape[0]}")
        tensors = {"k": innermost(key), "v": innermost(value)}
        problem = {"max_length": len_k, "layout": "HND"}
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = bool(causal) and attention_mask is None and len_q > 1
    if attention_mask is not None:
        bits, offsets = _bits(name, attention_mask, batch, len_q, len_k)
        problem.update(mask_bits=bits, mask_indptr=offsets)
    elif layer is None:
        # Without a mask, the queries of a longer cache are its first rows: a static cache whose
        # rest is not written yet.
        used = len_q if causal and len_k > len_q else len_k
        problem["kv_lengths"] = np.full(batch, used, dtype=np.int64)
    if "max_length" in problem and "kv_lengths" not in problem:
        problem["kv_lengths"] = np.full(batch, len_k, dtype=np.int64)
    window = sliding_window - 1 if sliding_window is not None and causal else -1
    rows = innermost(query.transpose(1, 2).reshape(batch * len_q, heads, dim))
    out = torch.empty((batch * len_q, heads, dim_v), dtype=query.dtype, device=query.device)
    if out.numel():
        plan = plan_for(
            query.device,
            qo_head_count=heads,
            kv_head_count=int(kv_heads),
            head_dim_qk=dim,
            head_dim_vo=int(dim_v),
            q_type=type_name(name, "query", query),
            kv_type=type_name(name, "key", tensors["k"]),
            qo_indptr=np.arange(batch + 1, dtype=np.int64) * len_q,
            causal=causal,
            window_left=window,
            softmax_scale=None if scaling is None else float(scaling),
            logits_soft_cap=float(softcap or 0.0),
            **problem,
        )
        sinks = None if s_aux is None else s_aux.detach().float().contiguous()
        plan.run(rows, out=out, sinks=sinks, **tensors)
    return out.view(batch, len_q, heads, dim_v), None


def _bits(
    name: str, mask: torch.Tensor, batch: int, len_q: int, len_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """A mask `(batch or 1, 1, len_q, at least len_k)` as bits per request."""
    global _packed
    # Tensors of inference mode do not count their changes, so theirs are packed anew.
    counts = not mask.is_inference()
    owner, version, shape, bits = _packed
    if counts and owner() is mask and version == mask._version and shape == (batch, len_q, len_k):
        return bits
    require(
        mask.dim() == 4 and mask.shape[0] in (1, batch) and mask.shape[2] == len_q
        and mask.shape[3] >= len_k, name,
        f"attention_mask must be ({batch}, 1, {len_q}, {len_k})", f"shape {tuple(mask.shape)}")
    if mask.shape[1] != 1:
        unsupported(name, "attention_mask must be the same for all heads", f"{mask.shape[1]} heads")
    seen = mask[:, 0, :, :len_k]
    if mask.dtype != torch.bool:
        hidden = seen <= torch.finfo(mask.dtype).min / 2
        if not bool((hidden | (seen == 0)).all()):
            unsupported(
                name, "attention_mask must hide keys or leave them, without a bias",
                "other numbers", "Use attn_implementation='sdpa'.")
        seen = ~hidden
    flat = seen.expand(batch, len_q, len_k).reshape(batch, -1).cpu().numpy()
    rows = np.packbits(flat, axis=1, bitorder="little")
    bits = rows.reshape(-1), np.arange(batch + 1, dtype=np.int64) * rows.shape[1]
    if counts:
        _packed = (weakref.ref(mask), mask._version, (batch, len_q, len_k), bits)
    return bits


class PagedStates(torch.Tensor):
    """What a `PagedLayer` returns in the place of all its keys or values: its newest ones, which
    lead `attention` to the pages. Any other use would miss the older ones and is refused."""

    _apus_layer: Any = None

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Optional[dict[str, Any]] = None
    ) -> Any:
        """Lets shapes, types and the like be looked at: what gives no tensor."""
        name = getattr(func, "__name__", str(func))
        cause: Optional[Exception] = None
        try:
            result = super().__torch_function__(func, types, args, kwargs or {})
            parts = result if isinstance(result, (tuple, list)) else (result,)
            if name == "__get__" or not any(isinstance(part, torch.Tensor) for part in parts):
                return result
        except (RuntimeError, TypeError) as error:
            # The shapes are those of the newest states, so an operation may fail by itself.
            cause = error
        raise NotImplementedError(
            f"PagedCache: its keys and values must go straight to attention; found {name}. Use one "
            "of transformers' own caches for this model.") from cause


class PagedLayer(CacheLayerMixin):
    """Keys and values of one layer in pages `(pages, page_size, heads_k, dim)` with a block table.

    All requests of a batch have the same length, padding included, as in transformers' own caches.
    """

    is_sliding = False
    is_croppable = True

    def __init__(self, page_size: int = 16, **kwargs: Any) -> None:
        super().__init__()
        self.page_size = page_size
        self.length = 0
        self._clear()

    def _clear(self) -> None:
        self.k: Any = None
        self.v: Any = None
        self.table: Any = np.zeros((0, 0), dtype=np.int32)
        self.length = 0
        self.is_initialized = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Takes batch size, heads, types and device from the first states."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.k, self.v = (
            x.new_empty((0, self.page_size, x.shape[1], x.shape[3]))
            for x in (key_states, value_states))
        self.table = np.zeros((key_states.shape[0], 0), dtype=np.int32)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends states `(batch, heads_k, tokens, dim)`; returns them as handles of this layer."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        batch, _, count, _ = key_states.shape
        require(
            batch == self.table.shape[0], "PagedLayer.update", "states must keep the batch size",
            f"{batch} after {self.table.shape[0]}")
        end = self.length + count
        self._grow(-(-end // self.page_size))
        if count:
            rows = [
                innermost(x.detach().transpose(1, 2).flatten(0, 1))
                for x in (key_states, value_states)]
            previous, self.length = self.length, end
            try:
                apus.append(
                    *rows, k=self.k, v=self.v, layout="NHD", **self.geometry(),
                    batch_indices=np.repeat(np.arange(batch, dtype=np.int32), count),
                    positions=np.tile(np.arange(previous, end, dtype=np.int32), batch))
            except Exception:
                self.length = previous
                raise
        keys, values = (x.as_subclass(PagedStates) for x in (key_states, value_states))
        keys._apus_layer = values._apus_layer = self
        return keys, values

    def _grow(self, columns: int) -> None:
        """Gives each request this many pages."""
        batch, held = self.table.shape
        if columns <= held:
            return
        first = batch * held
        new = np.arange(first, first + batch * (columns - held), dtype=np.int32)
        # Column by column, so that pages that are there keep their numbers.
        new = new.reshape(columns - held, batch).T
        self.table = np.ascontiguousarray(np.concatenate([self.table, new], axis=1))
        needed = batch * columns
        if needed > self.k.shape[0]:
            room = max(needed, 2 * self.k.shape[0])
            self.k, self.v = (_widened(x, room) for x in (self.k, self.v))

    def geometry(self) -> dict[str, Any]:
        """Planning arguments of the pages."""
        columns = -(-self.length // self.page_size)
        return {
            "page_size": self.page_size,
            "block_table": np.ascontiguousarray(self.table[:, :columns]),
            "kv_lengths": np.full(self.table.shape[0], self.length, dtype=np.int64),
        }

    def gather(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of keys and values, `(batch, heads_k, length, dim)` each."""
        index = torch.as_tensor(self.table.astype(np.int64), device=self.k.device)
        k, v = (
            x[index].flatten(1, 2)[:, : self.length].transpose(1, 2) for x in (self.k, self.v))
        return k, v

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        """(length after the append, 0)."""
        count = query_length if isinstance(query_length, int) else query_length.shape[0]
        return self.length + count, 0

    def get_seq_length(self, *args: Any) -> int:
        """Tokens of each request."""
        return self.length

    def get_max_length(self) -> int:
        """-1: pages are added as needed."""
        return -1

    get_max_cache_shape = get_max_length

    def reset(self) -> None:
        """Forgets everything."""
        self._clear()

    def crop(self, tokens_to_remove: int) -> None:
        """Removes that many tokens if negative, keeps that many if positive."""
        kept = tokens_to_remove if tokens_to_remove > 0 else self.length + tokens_to_remove
        self.length = min(self.length, max(kept, 0))

    def _select(self, requests: np.ndarray) -> None:
        """Makes the requests those listed, each with pages of its own."""
        if not self.is_initialized:
            return
        pages = self.table[requests].T.reshape(-1).astype(np.int64)
        index = torch.as_tensor(pages, device=self.k.device)
        self.k, self.v = self.k[index], self.v[index]
        columns = self.table.shape[1]
        self.table = np.ascontiguousarray(
            np.arange(len(pages), dtype=np.int32).reshape(columns, len(requests)).T)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Request i becomes what beam_idx[i] was."""
        self._select(beam_idx.cpu().numpy())

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps the requests of indices, a list or bools."""
        self._select(np.arange(self.table.shape[0])[indices.cpu().numpy()])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each request."""
        self._select(np.arange(self.table.shape[0]).repeat(repeats))


def _widened(pages: torch.Tensor, count: int) -> torch.Tensor:
    result = pages.new_empty((count, *pages.shape[1:]))
    result[: pages.shape[0]] = pages
    return result


class PagedCache(Cache):
    """A KV cache of Apus's pages for models with `attn_implementation="apus"`.

    config: that of the model; pages hold page_size tokens and are added as needed.
    """

    def __init__(self, config: Any, page_size: int = 16) -> None:
        require(
            isinstance(page_size, int) and page_size >= 1, "PagedCache",
            "page_size must be at least 1", page_size)
        self._config = config.get_text_config(decoder=True)
        self._check()
        make: Any = partial(PagedLayer, page_size=page_size)
        super().__init__(layer_class_to_replicate=make)

    def _check(self) -> None:
        found = self._config._attn_implementation
        require(
            found in _names, "PagedCache",
            "the model's attn_implementation must be one that register() named, because others do "
            "not read pages", found)

    @torch.compiler.disable
    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends the states of a layer; what it returns is for `attention` alone."""
        self._check()
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)


__all__ = ["PagedCache", "PagedLayer", "PagedStates", "attention", "register"]

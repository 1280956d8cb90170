"""Operators of ``torch.library``, so that ``torch.compile`` keeps calls of Apus in one graph.

They are ``torch.ops.apus.*``. Inside a compiled program ``AttentionPlan.run``, ``append``,
``merge_state…`` and ``rotate`` become these operators by themselves. A plan is named by its number
``plan.id``; shapes of results follow from it and the rows of q. Operators compute no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _attention, _operators
from ._rope import Rope
from ._tensors import torch_type

is_compiling = torch.compiler.is_compiling

_TENSORS = (
    "Tensor q, Tensor? k, Tensor? v, Tensor? kv, Tensor? q_rope, Tensor? sinks, "
    "Tensor? q_scale, Tensor? k_scale, Tensor? v_scale, Tensor? o_scale, Tensor? kpe_scale, "
    "float[] scales, int plan")
_LISTS = (
    "Tensor? page_indptr, Tensor? page_indices, Tensor? last_page_length, Tensor? block_table, "
    "Tensor? kv_lengths, Tensor batch_indices, Tensor positions")
_ROTATION = (
    "Tensor positions, Tensor? cos_sin_cache, bool interleaved, int rotary_dim, float scale, "
    "float theta, float[] llama31")

_library = torch.library.Library("apus", "DEF")
for _schema in (
    f"attention({_TENSORS}) -> Tensor",
    f"attention_lse({_TENSORS}) -> (Tensor, Tensor)",
    f"attention_out({_TENSORS}, Tensor(a!) out, Tensor(b!)? lse) -> ()",
    "append(Tensor keys, Tensor values, Tensor(a!)? k, Tensor(b!)? v, Tensor(c!)? kv, str layout, "
    f"int page_size, {_LISTS}, Tensor? k_scale, Tensor? v_scale, Tensor(d!)? k_dynamic, "
    "Tensor(e!)? v_dynamic, float[] scales, bool latent, str source_type, str cache_type) -> ()",
    "merge_state(Tensor v_a, Tensor s_a, Tensor v_b, Tensor s_b, str lse) -> (Tensor, Tensor)",
    "merge_state_in_place(Tensor(a!) v, Tensor(b!) s, Tensor v_other, Tensor s_other, "
    "Tensor? mask, str lse) -> ()",
    "merge_states(Tensor states, Tensor logits, str lse) -> (Tensor, Tensor)",
    f"rotate(Tensor q, Tensor k, {_ROTATION}) -> (Tensor, Tensor)",
    f"rotate_in_place(Tensor(a!) q, Tensor(b!) k, {_ROTATION}) -> ()",
    "pack_bits(Tensor flags, str bit_order) -> Tensor",
):
    _library.define(_schema)


def _implement(name: str, fake: Any = None) -> Any:
    """Registers a function as the kernel of an operator, with what it does to fake tensors."""

    def register(function: Any) -> Any:
        _library.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"apus::{name}", fake or _no_result, lib=_library)
        return function

    return register


def _no_result(*arguments: Any, **named: Any) -> None:
    return None


def _plan(number: int) -> _attention.AttentionPlan:
    found = _attention.plans.get(number)
    if found is None:
        raise ValueError(f"apus: plan must be the id of a plan that is alive; found {number}.")
    return found


def _fake_out(q: Tensor, *rest: Any) -> Tensor:
    plan = _plan(rest[-1])
    _, heads, width = plan.output_shape
    return q.new_empty((q.shape[0], heads, width), dtype=torch_type(plan.o_type))


def _fake_out_lse(q: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    out = _fake_out(q, *rest)
    return out, q.new_empty((q.shape[0], out.shape[1]), dtype=torch.float32)


def _run(
    q: Tensor, k: Any, v: Any, kv: Any, q_rope: Any, sinks: Any, q_scale: Any, k_scale: Any,
    v_scale: Any, o_scale: Any, kpe_scale: Any, scales: list[float], plan: int, out: Any, lse: Any,
) -> Any:
    tensors = (q_scale, k_scale, v_scale, o_scale, kpe_scale)
    values = [number if tensor is None else tensor for tensor, number in zip(tensors, scales)]
    return _plan(plan).run(
        q, k=k, v=v, kv=kv, q_rope=q_rope, sinks=sinks, out=out, lse=lse, q_scale=values[0],
        k_scale=values[1], v_scale=values[2], o_scale=values[3], kpe_scale=values[4])


@_implement("attention", _fake_out)
def _attention_kernel(*arguments: Any) -> Tensor:
    return _run(*arguments, None, None)


@_implement("attention_lse", _fake_out_lse)
def _attention_lse_kernel(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _run(*arguments, None, True)


@_implement("attention_out")
def _attention_out_kernel(*arguments: Any) -> None:
    _run(*arguments)


def traced_run(
    plan: Any, q: Any, k: Any, v: Any, kv: Any, q_rope: Any, out: Any, lse: Any, sinks: Any,
    q_scale: Any, k_scale: Any, v_scale: Any, o_scale: Any, kpe_scale: Any, workspace: Any,
    stream: Any,
) -> Any:
    """``AttentionPlan.run`` while a graph is traced."""
    if workspace is not None or stream is not None:
        raise ValueError(
            "apus.AttentionPlan.run: workspace and stream must be None inside torch.compile.")
    tensors, numbers = [], []
    for value in (q_scale, k_scale, v_scale, o_scale, kpe_scale):
        is_tensor = isinstance(value, Tensor)
        tensors.append(value if is_tensor else None)
        numbers.append(1.0 if is_tensor or value is None else float(value))
    common = (q, k, v, kv, q_rope, sinks, *tensors, numbers, plan.id)
    wants_lse = lse is not None and lse is not False
    if out is None and lse is True:
        return torch.ops.apus.attention_lse(*common)
    if out is None and not wants_lse:
        return torch.ops.apus.attention(*common)
    if out is None:
        out = q.new_empty(
            (q.shape[0], plan._heads, plan._width), dtype=torch_type(plan.o_type))
    if lse is True:
        lse = q.new_empty((q.shape[0], plan._heads), dtype=torch.float32)
    torch.ops.apus.attention_out(*common, out, lse if wants_lse else None)
    return (out, lse) if wants_lse else out


@_implement("append")
def _append_kernel(
    keys: Tensor, values: Tensor, k: Any, v: Any, kv: Any, layout: str, page_size: int,
    page_indptr: Any, page_indices: Any, last_page_length: Any, block_table: Any,
    kv_lengths: Any, batch_indices: Tensor, positions: Tensor, k_scale: Any, v_scale: Any,
    k_dynamic: Any, v_dynamic: Any, scales: list[float], latent: bool, source_type: str,
    cache_type: str,
) -> None:
    def chosen(tensor: Any, dynamic: Any, number: float) -> Any:
        return tensor if tensor is not None else dynamic if dynamic is not None else number

    _operators.append(
        keys, values, k=k, v=v, kv=kv, layout=layout, page_size=page_size or None,
        page_indptr=page_indptr, page_indices=page_indices, last_page_length=last_page_length,
        block_table=block_table, kv_lengths=kv_lengths, batch_indices=batch_indices,
        positions=positions, k_scale=chosen(k_scale, k_dynamic, scales[0]),
        v_scale=chosen(v_scale, v_dynamic, scales[1]), latent=latent,
        source_type=source_type or None, cache_type=cache_type or None)


def traced_append(
    keys: Any, values: Any, k: Any, v: Any, kv: Any, layout: str, page_size: Any, lists: Any,
    k_scale: Any, v_scale: Any, latent: bool, source_type: Any, cache_type: Any,
) -> None:
    """``append`` while a graph is traced."""
    tensors = [
        value if value is None or isinstance(value, Tensor) else torch.tensor(value)
        for value in lists]
    per_head, dynamic, numbers = [], [], []
    for value in (k_scale, v_scale):
        is_tensor = isinstance(value, Tensor)
        per_head.append(value if is_tensor and value.dim() <= 1 else None)
        dynamic.append(value if is_tensor and value.dim() > 1 else None)
        numbers.append(1.0 if is_tensor or value is None else float(value))
    torch.ops.apus.append(
        keys, values, k, v, kv, layout, page_size or 0, *tensors, *per_head, *dynamic, numbers,
        latent, source_type or "", cache_type or "")


def _fake_merge(v_a: Tensor, s_a: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return v_a.new_empty(v_a.shape), s_a.new_empty(s_a.shape)


def _fake_merge_states(states: Tensor, logits: Tensor, lse: str) -> tuple[Tensor, Tensor]:
    rows, _, heads, width = states.shape
    return states.new_empty((rows, heads, width)), logits.new_empty((rows, heads))


@_implement("merge_state", _fake_merge)
def _merge_state_kernel(
    v_a: Tensor, s_a: Tensor, v_b: Tensor, s_b: Tensor, lse: str
) -> tuple[Tensor, Tensor]:
    return _operators.merge_state(v_a, s_a, v_b, s_b, lse=lse)


@_implement("merge_state_in_place")
def _merge_state_in_place_kernel(
    v: Tensor, s: Tensor, v_other: Tensor, s_other: Tensor, mask: Any, lse: str
) -> None:
    _operators.merge_state_in_place(v, s, v_other, s_other, mask, lse=lse)


@_implement("merge_states", _fake_merge_states)
def _merge_states_kernel(states: Tensor, logits: Tensor, lse: str) -> tuple[Tensor, Tensor]:
    return _operators.merge_states(states, logits, lse=lse)


def _rotate(
    q: Tensor, k: Tensor, positions: Tensor, cos_sin_cache: Any, interleaved: bool,
    rotary_dim: int, scale: float, theta: float, llama31: list[float], outputs: Any,
) -> tuple[Tensor, Tensor]:
    rope = None
    if cos_sin_cache is None:
        factors = tuple(llama31) if llama31 else None
        rope = Rope(interleaved, rotary_dim, scale, theta, factors)  # type: ignore[arg-type]
    return _operators.rotate(
        q, k, positions, rope=rope, cos_sin_cache=cos_sin_cache, interleaved=interleaved,
        q_out=outputs[0], k_out=outputs[1])


def _fake_rotate(q: Tensor, k: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape)


@_implement("rotate", _fake_rotate)
def _rotate_kernel(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _rotate(*arguments, (None, None))


@_implement("rotate_in_place")
def _rotate_in_place_kernel(*arguments: Any) -> None:
    _rotate(*arguments, arguments[:2])


def traced_rotate(
    q: Any, k: Any, positions: Any, rope: Any, cos_sin_cache: Any, interleaved: bool, q_out: Any,
    k_out: Any,
) -> tuple[Any, Any]:
    """``rotate`` while a graph is traced."""
    if not isinstance(positions, Tensor):
        positions = torch.tensor(positions)
    if rope is None:
        rotation: tuple[Any, ...] = (positions, cos_sin_cache, interleaved, 0, 1.0, 10_000.0, [])
    else:
        rotation = (
            positions, None, rope.interleaved, rope.rotary_dim, float(rope.scale),
            float(rope.theta), list(rope.llama31 or ()))
    if q_out is q and k_out is k:
        torch.ops.apus.rotate_in_place(q, k, *rotation)
        return q, k
    turned_q, turned_k = torch.ops.apus.rotate(q, k, *rotation)
    return _placed(turned_q, q_out), _placed(turned_k, k_out)


def _placed(value: Tensor, out: Any) -> Tensor:
    return value if out is None else out.copy_(value)


def traced_merge(result: tuple[Tensor, Tensor], out: Any, out_lse: Any) -> tuple[Tensor, Tensor]:
    """A merge's result in the tensors that were given for it."""
    return _placed(result[0], out), _placed(result[1], out_lse)


@_implement("pack_bits", lambda flags, bit_order: flags.new_empty(
    ((flags.shape[0] + 7) // 8,), dtype=torch.uint8))
def _pack_bits_kernel(flags: Tensor, bit_order: str) -> Tensor:
    return _operators.pack_bits(flags, bit_order=bit_order)


def merge_state(v_a: Any, s_a: Any, v_b: Any, s_b: Any, lse: str) -> tuple[Tensor, Tensor]:
    """``apus::merge_state``."""
    return torch.ops.apus.merge_state(v_a, s_a, v_b, s_b, lse)


def merge_state_in_place(
    v: Any, s: Any, v_other: Any, s_other: Any, mask: Any, lse: str
) -> None:
    """``apus::merge_state_in_place``."""
    torch.ops.apus.merge_state_in_place(v, s, v_other, s_other, mask, lse)


def merge_states(states: Any, logits: Any, lse: str) -> tuple[Tensor, Tensor]:
    """``apus::merge_states``."""
    return torch.ops.apus.merge_states(states, logits, lse)


def pack_bits(flags: Any, bit_order: str) -> Tensor:
    """``apus::pack_bits``."""
    return torch.ops.apus.pack_bits(flags, bit_order)

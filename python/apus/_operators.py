"""The operators without a plan: append, merge, rotate, pack."""

from __future__ import annotations

import ctypes
from typing import Any

from . import _native, _tensors
from ._backends import Backend, backend
from ._device_lists import append_lists, is_on_device, on_device
from ._frame import set_scale_value
from ._lists import Integers, choice, integer, require_one_table
from ._rope import Rope
from ._streams import StreamSlot
from ._tensors import Slot, device_of, empty_like, shape_of, type_of

_library = _native.library


def _backend(tensor: Any, name: str) -> Backend:
    found = backend(device_of(tensor, name))
    # In a forked child CUDA's raises here, before torch is asked for anything.
    found.handle
    return found


def _follows(place: Backend, *lists: Any, stays: bool = False) -> bool:
    """Whether kernels follow lists where they lie, instead of the host."""
    return place.is_cuda and any(is_on_device(values, stays) for values in lists)


class _Slots:
    """Slots of one call, kept with what they point at, and used again by later calls of the same
    operator: a tensor of the shape, type and device of its predecessor costs an address."""

    __slots__ = ("keep", "known", "stream", "pool")

    def __init__(self, pool: list[_Slots]) -> None:
        self.keep: list[Any] = []
        self.known: dict[str, Slot] = {}
        self.stream = StreamSlot()
        self.pool = pool

    def __call__(
        self, name: str, tensor: Any, is_output: bool = False, kind: str | None = None
    ) -> int | None:
        """Integers of the width of ``kind`` are taken for it."""
        if tensor is None:
            return None
        slot = self.known.get(name)
        if slot is None:
            slot = self.known[name] = Slot(name, is_output, self.keep)
        slot.is_output = is_output
        address = slot.fill(tensor)
        if kind is not None:
            slot.retype(kind)
        return address

    def call(
        self, function: Any, backend: Backend, like: Any, stream: Any, *arguments: Any
    ) -> None:
        """Calls a function whose first argument is the back end and whose last is the stream."""
        _native.check(
            function(backend.handle, *arguments, self.stream.fill(backend, like, stream)))
        # After a failure they are dropped.
        self.keep.clear()
        self.pool.append(self)


# Slots that no call uses, by operator; calls of several threads use several.
_idle: dict[str, list[_Slots]] = {}


def _slots(operator: str) -> _Slots:
    pool = _idle.setdefault(operator, [])
    try:
        return pool.pop()
    except IndexError:
        return _Slots(pool)


def _append_scale(slots: _Slots, name: str, target: Any, value: Any) -> None:
    if value is None:
        return
    rank = 0 if isinstance(value, (int, float)) else len(shape_of(value, name))
    if rank == 0:
        set_scale_value(name, target, value)
    elif rank == 1:
        target.per_head = slots(name, value)
    else:
        target.dynamic_per_token_head = slots(name, value, True)


def append(
    keys: Any,
    values: Any,
    *,
    k: Any = None,
    v: Any = None,
    kv: Any = None,
    layout: str = "NHD",
    page_size: int | None = None,
    page_indptr: Any = None,
    page_indices: Any = None,
    last_page_length: Any = None,
    block_table: Any = None,
    kv_lengths: Any = None,
    batch_indices: Any,
    positions: Any,
    k_scale: Any = 1.0,
    v_scale: Any = 1.0,
    latent: bool = False,
    source_type: str | None = None,
    cache_type: str | None = None,
    stream: Any = None,
) -> None:
    """Writes new tokens into a paged cache.

    Token t goes to position ``positions[t]`` of request ``batch_indices[t]`` (−1 skips it). The
    page table is that of the cache after the append.

    Where one of the lists is a tensor of a CUDA device, the kernel follows all of them there:
    nothing is copied to the host or waited for, a CUDA graph may capture the call and reads them at
    each replay, and what they hold is not checked. Wrong ones overwrite memory;
    ``APUS_CHECK_INDICES=1`` in the environment checks them, at the price of a wait.
    ``last_page_length`` and ``kv_lengths`` are then not needed.

    keys, values: ``[tokens, kv_head, head_dim]``; latent: ckv ``[tokens, ckv]`` and kpe.
    k, v or kv: the cache, as for ``AttentionPlan.run``.
    page_size: taken from the cache's shape if None.
    k_scale, v_scale: what stored rows are divided by: a number, f32 ``[kv_head]``, or an f32 tensor
        of the cache's shape without its last dimension, which then gets each row's own scale.
    source_type, cache_type: names of types where the tensors hold plain integers.
    """
    torch = _tensors.torch_operators
    if torch is not None and torch.is_compiling():
        return torch.traced_append(
            keys, values, k, v, kv, layout, page_size,
            (page_indptr, page_indices, last_page_length, block_table, kv_lengths, batch_indices,
             positions), k_scale, v_scale, latent, source_type, cache_type)
    operation = "apus.append"
    place = _backend(keys, "keys")
    slots = _slots("append")
    cache = kv if kv is not None else k
    if cache is None:
        raise ValueError(f"{operation}: k and v, or kv, must be given; found neither.")
    key_shape, value_shape = shape_of(keys, "keys"), shape_of(values, "values")
    if not key_shape or not value_shape:
        raise ValueError(
            f"{operation}: keys and values must have rows; found shapes {list(key_shape)} and "
            f"{list(value_shape)}.")
    problem = _native.AppendProblem()
    problem.is_latent = bool(latent)
    problem.kv_head_count = 1 if latent and len(key_shape) == 2 else (
        key_shape[1] if len(key_shape) > 1 else 1)
    problem.head_dim_k, problem.head_dim_v = key_shape[-1], value_shape[-1]
    source = source_type or type_of(keys, "keys")
    if source is None:
        raise ValueError(
            f"{operation}: source_type must be given for tensors of integers; found None.")
    stored = cache_type or type_of(cache, "kv" if kv is not None else "k") or source
    problem.source_type = choice("source_type", source, _native.TYPES)
    problem.cache_type = choice("cache_type", stored, _native.TYPES)
    problem.layout = choice("layout", layout, _native.LAYOUTS)
    if page_size is None:
        page_size = _page_size(operation, cache, kv is not None, layout, latent)
    problem.page_size = integer("page_size", page_size, 64)
    lists = {
        "page_indptr": page_indptr, "page_indices": page_indices,
        "last_page_length": last_page_length, "block_table": block_table,
        "kv_lengths": kv_lengths, "batch_indices": batch_indices, "positions": positions}
    # Without lengths the host cannot follow the lists.
    stays = (last_page_length if block_table is None else kv_lengths) is None
    if _follows(place, *lists.values(), stays=stays):
        _require_table_on_device(operation, page_indptr, page_indices, block_table)
        followed = append_lists(lists, place.index, stream, slots)
        problem.lists = ctypes.addressof(followed)
    else:
        require_one_table(operation, page_indptr, block_table, kv_lengths)
        for name, given in lists.items():
            if given is None:
                continue
            found = Integers(name, given, 2 if name == "block_table" else 1)
            slots.keep.append(found)
            setattr(problem, name, found.struct)
            if name == "block_table":
                problem.pages_per_request = found.shape[1]
    arguments = _native.AppendArguments()
    arguments.keys, arguments.values = slots("keys", keys), slots("values", values)
    arguments.k, arguments.v = slots("k", k, True), slots("v", v, True)
    arguments.kv = slots("kv", kv, True)
    _append_scale(slots, "k_scale", arguments.k_scale, k_scale)
    _append_scale(slots, "v_scale", arguments.v_scale, v_scale)
    slots.call(
        _library.apus_append, place, keys, stream, ctypes.addressof(problem),
        ctypes.addressof(arguments))


def _require_table_on_device(
    operation: str, page_indptr: Any, page_indices: Any, block_table: Any
) -> None:
    """Pages in one of two forms; lengths do not count where kernels follow the lists."""
    given = (page_indptr is not None, page_indices is not None, block_table is not None)
    if given not in ((True, True, False), (False, False, True)):
        names = ("page_indptr", "page_indices", "block_table")
        found = ", ".join(name for name, is_given in zip(names, given) if is_given) or "none"
        raise ValueError(
            f"{operation}: page_indptr and page_indices, or block_table, must be given; found "
            f"{found}.")


def _page_size(operation: str, cache: Any, combined: bool, layout: str, latent: bool) -> int:
    shape = shape_of(cache, "kv" if combined else "k")
    if latent:
        axis = 1 if len(shape) == 3 or layout == "NHD" else 2
    else:
        axis = (2 if combined else 1) + (layout == "HND")
    if axis >= len(shape):
        raise ValueError(
            f"{operation}: the cache must have pages, tokens, heads and a width; found shape "
            f"{list(shape)}.")
    return shape[axis]


def merge_state(
    v_a: Any, s_a: Any, v_b: Any, s_b: Any, *, lse: str = "base2", out: Any = None,
    out_lse: Any = None, dtype: str | None = None, stream: Any = None,
) -> tuple[Any, Any]:
    """Merges attention over two disjoint sets of keys: ``[rows, head, dim]`` and f32
    ``[rows, head]`` each; returns (out, out_lse). ``dtype`` names the type of v where the tensors
    hold plain integers."""
    torch = _tensors.torch_operators
    if torch is not None and torch.is_compiling():
        return torch.traced_merge(torch.merge_state(v_a, s_a, v_b, s_b, lse), out, out_lse)
    place = _backend(v_a, "v_a")
    slots = _slots("merge_state")
    convention = choice("lse", lse, _native.LSE_CONVENTIONS)
    kind = _float_type("apus.merge_state", v_a, "v_a", dtype)
    if out is None:
        out = empty_like(v_a, shape_of(v_a, "v_a"), kind)
    if out_lse is None:
        out_lse = empty_like(s_a, shape_of(s_a, "s_a"), "f32")
    slots.call(
        _library.apus_merge_state, place, v_a, stream, slots("v_a", v_a, kind=dtype),
        slots("s_a", s_a), slots("v_b", v_b, kind=dtype), slots("s_b", s_b),
        slots("out", out, True, dtype),
        slots("out_lse", out_lse, True), convention)
    return out, out_lse


def _float_type(operation: str, tensor: Any, name: str, dtype: str | None) -> str:
    """The type of a tensor: its own, or ``dtype`` for integers that stand for one."""
    if dtype is not None:
        choice("dtype", dtype, _native.TYPES)
    kind = type_of(tensor, name) or dtype
    if kind is None:
        raise ValueError(
            f"{operation}: {name} must have a floating type; found "
            f"{getattr(tensor, 'dtype', type(tensor).__name__)}. Name the type of integers in "
            "dtype.")
    return kind


def merge_state_in_place(
    v: Any, s: Any, v_other: Any, s_other: Any, mask: Any = None, *, lse: str = "base2",
    dtype: str | None = None, stream: Any = None,
) -> None:
    """Merges (v_other, s_other) into (v, s), ``[rows, head, dim]`` and f32 ``[rows, head]``, for
    rows whose mask (bool or u8 ``[rows]``) is not 0. ``dtype`` as for ``merge_state``."""
    torch = _tensors.torch_operators
    if torch is not None and torch.is_compiling():
        return torch.merge_state_in_place(v, s, v_other, s_other, mask, lse)
    place = _backend(v, "v")
    slots = _slots("merge_state_in_place")
    _float_type("apus.merge_state_in_place", v, "v", dtype)
    slots.call(
        _library.apus_merge_state_in_place, place, v, stream, slots("v", v, True, dtype),
        slots("s", s, True), slots("v_other", v_other, kind=dtype), slots("s_other", s_other),
        slots("mask", mask), choice("lse", lse, _native.LSE_CONVENTIONS))


def merge_states(
    states: Any, logits: Any, *, lse: str = "base2", out: Any = None, out_lse: Any = None,
    dtype: str | None = None, stream: Any = None,
) -> tuple[Any, Any]:
    """Merges ``count`` states per row: ``[rows, count, head, dim]`` and f32
    ``[rows, count, head]`` to ``[rows, head, dim]`` and ``[rows, head]``; returns
    (out, out_lse). ``dtype`` as for ``merge_state``."""
    torch = _tensors.torch_operators
    if torch is not None and torch.is_compiling():
        return torch.traced_merge(torch.merge_states(states, logits, lse), out, out_lse)
    place = _backend(states, "states")
    slots = _slots("merge_states")
    convention = choice("lse", lse, _native.LSE_CONVENTIONS)
    shape = shape_of(states, "states")
    if len(shape) != 4:
        raise ValueError(
            f"apus.merge_states: states must have 4 dimensions; found {list(shape)}.")
    kind = _float_type("apus.merge_states", states, "states", dtype)
    if out is None:
        out = empty_like(states, (shape[0], shape[2], shape[3]), kind)
    if out_lse is None:
        out_lse = empty_like(logits, (shape[0], shape[2]), "f32")
    slots.call(
        _library.apus_merge_states, place, states, stream, slots("states", states, kind=dtype),
        slots("logits", logits), slots("out", out, True, dtype), slots("out_lse", out_lse, True),
        convention)
    return out, out_lse


def rotate(
    q: Any, k: Any, positions: Any, *, rope: Rope | None = None, cos_sin_cache: Any = None,
    interleaved: bool = False, q_out: Any = None, k_out: Any = None, dtype: str | None = None,
    stream: Any = None,
) -> tuple[Any, Any]:
    """Rotates q ``[rows, qo_head, dim]`` and k ``[rows, kv_head, dim]`` by ``positions``
    ``[rows]``.

    Either ``rope``, or ``cos_sin_cache`` f32 ``[positions, rotary_dim]`` (cosines, then sines) with
    ``interleaved``, must be given. Outputs may be the inputs; ``dtype`` names the type of
    tensors that hold plain integers. Returns (q_out, k_out).

    Positions that are a tensor of a CUDA device, int32 or int64, are read by the kernel: nothing is
    copied to the host or waited for, a CUDA graph may capture the call and reads them at each
    replay, and they are not checked (``APUS_CHECK_INDICES=1`` in the environment has them checked).
    """
    torch = _tensors.torch_operators
    if torch is not None and torch.is_compiling():
        return torch.traced_rotate(
            q, k, positions, rope, cos_sin_cache, interleaved, q_out, k_out)
    place = _backend(q, "q")
    slots = _slots("rotate")
    if (rope is None) == (cos_sin_cache is None):
        raise ValueError(
            "apus.rotate: either rope or cos_sin_cache must be given; found "
            f"{'neither' if rope is None else 'both'}.")
    address = None
    if rope is not None:
        if not isinstance(rope, Rope):
            raise ValueError(
                f"apus.rotate: rope must be an apus.Rope; found {type(rope).__name__}.")
        struct = rope._struct()
        slots.keep.append(struct)
        address = ctypes.addressof(struct)
    function: Any = _library.apus_rotate
    rows: Any
    if _follows(place, positions):
        function = _library.apus_rotate_by
        tensor = on_device(
            "positions", positions, index=place.index, wide=True, stream=stream)
        slots.keep.append(tensor)
        rows = slots("positions", tensor)
    else:
        found = Integers("positions", positions)
        slots.keep.append(found)
        rows = found.struct
    if q_out is None:
        q_out = empty_like(q, shape_of(q, "q"), _float_type("apus.rotate", q, "q", dtype))
    if k_out is None:
        k_out = empty_like(k, shape_of(k, "k"), _float_type("apus.rotate", k, "k", dtype))
    slots.call(
        function, place, q, stream, slots("q", q, kind=dtype),
        slots("k", k, kind=dtype), slots("q_out", q_out, True, dtype),
        slots("k_out", k_out, True, dtype), rows, address,
        slots("cos_sin_cache", cos_sin_cache), int(bool(interleaved)))
    return q_out, k_out


def pack_bits(
    flags: Any, indptr: Any = None, *, bit_order: str = "little", out: Any = None,
    stream: Any = None,
) -> Any:
    """Packs booleans ``[n]`` (bool or u8) into bits, u8; with ``indptr`` ``[segments + 1]`` each
    segment starts on a byte of its own."""
    torch = _tensors.torch_operators
    if torch is not None and torch.is_compiling() and indptr is None and out is None:
        return torch.pack_bits(flags, bit_order)
    place = _backend(flags, "flags")
    slots = _slots("pack_bits")
    order = choice("bit_order", bit_order, _native.BIT_ORDERS)
    shape = shape_of(flags, "flags")
    if len(shape) != 1:
        raise ValueError(f"apus.pack_bits: flags must have 1 dimension; found {list(shape)}.")
    if indptr is None:
        segments = _native.IntList()
        offsets: list[int] = [0, shape[0]]
        count = (shape[0] + 7) // 8
    else:
        lists = Integers("indptr", indptr)
        slots.keep.append(lists)
        segments = lists.struct
        offsets = lists.values()
        count = sum(max(b - a + 7, 0) // 8 for a, b in zip(offsets, offsets[1:]))
    if out is None:
        if count > shape[0] + len(offsets):
            raise ValueError(
                f"apus.pack_bits: indptr must rise and end within the {shape[0]} flags; found "
                f"{count} bytes of bits.")
        out = empty_like(flags, (count,), "u8")
    slots.call(
        _library.apus_pack_bits, place, flags, stream, slots("flags", flags),
        slots("out", out, True), segments, order)
    return out

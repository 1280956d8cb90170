"""Attention: a plan, made once from lists and types, and its runs over tensors."""

from __future__ import annotations

import ctypes
import itertools
import sys
import weakref
from typing import Any

from . import _backends, _native, _tensors
from ._backends import Backend
from ._capacity import PlanCapacity, limits_of
from ._frame import TENSORS, WORDS, Frame
from ._lists import (
    Integers, choice, floats, integer, number, require_one_table, tensor_core_use)
from ._rope import Rope
from ._streams import StreamSlot
from ._tensors import empty_like, is_torch, torch_type

_ONE = 1.0
_run = _native.library.apus_attention_run

# What an update may change.
_LISTS = (
    "qo_indptr", "kv_indptr", "kv_lengths", "page_indptr", "page_indices", "last_page_length",
    "block_table")

_ids = itertools.count(1)
# Plans by number, for the operators of torch.library.
plans: weakref.WeakValueDictionary[int, AttentionPlan] = weakref.WeakValueDictionary()
# Plans of CUDA that were dropped while a graph was being captured, when memory cannot be freed.
_dropped: list[int] = []


def _is_capturing() -> bool:
    torch = sys.modules.get("torch")
    return bool(
        torch is not None and torch.cuda.is_initialized()
        and torch.cuda.is_current_stream_capturing())


def _destroy(handle: int, is_cuda: bool) -> None:
    if is_cuda and _is_capturing():
        _dropped.append(handle)
        return
    _native.library.apus_plan_destroy(handle)


class AttentionPlan:
    """Attention over a batch, without its tensors: heads, types, lengths, pages, masks.

    A plan is made once and run for every layer of a model. On the CPU several threads may run one
    plan at once; on a GPU its runs must follow each other, or have a workspace each. Keep a plan as
    long as enqueued runs are unfinished and graphs that captured them are replayed.

    Integer lists are sequences, NumPy arrays or torch tensors (those of a device are copied to the
    host). Types are ``"f32"``, ``"f16"``, ``"bf16"``, ``"e4m3"``, ``"e5m2"``.

    Parameters
    ----------
    backend: ``apus.backend(…)`` or the name of a device.
    qo_head_count, kv_head_count: query heads, a multiple of the KV heads.
    head_dim_qk, head_dim_vo: width of q and k, and of v and out (default: the same; MLA: ckv).
    q_type, kv_type, o_type: stored types; the latter two default to ``q_type``.
    layout: ``"NHD"`` (tokens before heads) or ``"HND"``.
    qo_indptr: ``[batch + 1]``, query rows of request r are ``qo_indptr[r] … qo_indptr[r + 1] − 1``.
    kv_indptr: ``[batch + 1]`` for ragged k and v, ``[tokens, kv_head, dim]``.
    max_length, kv_lengths: padded k and v, ``[batch, max_length, kv_head, dim]``; lengths
        ``[batch]`` default to all of it.
    page_size: paged k and v, ``[pages, page_size, kv_head, dim]``, with either ``page_indptr``
        ``[batch + 1]``, ``page_indices`` and ``last_page_length`` ``[batch]``, or ``block_table``
        ``[batch, pages]`` and ``kv_lengths`` ``[batch]``.
    latent: ``(ckv, kpe)``, the widths of an MLA cache's row; ``head_dim_qk`` is their sum.
    causal: the last query row of a request sees its last key.
    window_left: keys left of the diagonal that are seen; −1 for all.
    mask_bits, mask_indptr, mask_bit_order: packed mask, request r from byte ``mask_indptr[r]``.
    softmax_scale: factor on q·k; None for ``head_dim_qk ** -0.5``.
    logits_soft_cap: c of ``c · tanh(score / c)``; 0 for none.
    alibi_slopes: one number per query head.
    rope: rotates q and k by their positions.
    lse: ``"base2"``, ``"natural"``, or ``"natural_positive_infinity"`` (+inf for an empty row).
    accurate: f32-grade products; tolerance: above 0, the fastest path whose bound meets it.
    split_size, disable_split_kv, batch_invariant: how long contexts are split.
    use_tensor_cores: for few rows on a GPU: ``"automatic"`` (the faster arithmetic), ``"never"``
        (False: products in f32), ``"always"`` (True: general kernels compute what they cannot).
    capacity: a ``PlanCapacity``, within which ``update`` may change the batch later, also under
        graphs that captured runs of the plan. None for a plan of this batch alone.
    """

    def __init__(
        self,
        backend: Backend | str,
        *,
        qo_head_count: int,
        kv_head_count: int,
        head_dim_qk: int,
        head_dim_vo: int | None = None,
        q_type: str = "bf16",
        kv_type: str | None = None,
        o_type: str | None = None,
        layout: str = "NHD",
        qo_indptr: Any,
        kv_indptr: Any = None,
        max_length: int | None = None,
        kv_lengths: Any = None,
        page_size: int | None = None,
        page_indptr: Any = None,
        page_indices: Any = None,
        last_page_length: Any = None,
        block_table: Any = None,
        latent: tuple[int, int] | None = None,
        causal: bool = False,
        window_left: int = -1,
        mask_bits: Any = None,
        mask_indptr: Any = None,
        mask_bit_order: str = "little",
        softmax_scale: float | None = None,
        logits_soft_cap: float = 0.0,
        alibi_slopes: Any = None,
        rope: Rope | None = None,
        lse: str = "base2",
        accurate: bool = False,
        tolerance: float = 0.0,
        split_size: int = 0,
        disable_split_kv: bool = False,
        batch_invariant: bool = False,
        use_tensor_cores: str | bool = "automatic",
        capacity: PlanCapacity | None = None,
    ) -> None:
        self._handle = 0
        self._generation = _backends.generation()
        self._options = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.backend = _backends.backend(backend)
        _tensors.register_torch()
        self._captured = False
        self._build()
        self.id = next(_ids)
        plans[self.id] = self

    def _build(self, updates: Any = None) -> None:
        """Makes the C structure of the options and plans it, or updates the plan to it.

        ``updates`` is the memory of the stream to update on.
        """
        options = self._options
        problem = _native.AttentionProblem()
        keep: list[Any] = []
        for name in ("qo_head_count", "kv_head_count", "head_dim_qk"):
            setattr(problem, name, integer(name, options[name]))
        problem.head_dim_vo = integer("head_dim_vo", options["head_dim_vo"] or 0)
        types = {"q_type": options["q_type"]}
        for name in ("kv_type", "o_type"):
            types[name] = options[name] if options[name] is not None else options["q_type"]
        for name, value in types.items():
            setattr(problem, name, choice(name, value, _native.TYPES))
        problem.layout = choice("layout", options["layout"], _native.LAYOUTS)
        problem.lse_convention = choice("lse", options["lse"], _native.LSE_CONVENTIONS)
        rows = self._lists(problem, keep)
        self._mask(problem, keep)
        self._modification(problem, keep)
        problem.is_accurate = bool(options["accurate"])
        problem.tolerance = number("tolerance", options["tolerance"])
        if not 0 <= problem.tolerance < float("inf"):
            raise ValueError(
                "apus.AttentionPlan: tolerance must be finite and at least 0; found "
                f"{problem.tolerance}.")
        problem.split_size = integer("split_size", options["split_size"] or 0, 64)
        problem.disables_split_kv = bool(options["disable_split_kv"])
        problem.is_batch_invariant = bool(options["batch_invariant"])
        problem.use_tensor_cores = tensor_core_use(options["use_tensor_cores"])
        limits = limits_of(options["capacity"])
        if limits is not None:
            # Tensors of runs are those of a full batch.
            rows = limits.batch * limits.queries_per_request
        if updates is not None:
            _native.check(
                _native.library.apus_plan_update(
                    self.handle, ctypes.addressof(problem), updates.address))
        else:
            self._plan(problem, limits)
        # From here on nothing fails: a plan that could not be made anew stays as it was. The lists
        # are read again when a forked child plans.
        self._problem, self._keep, self._rows = problem, keep, rows
        self._capacity = limits
        self.q_type, self.kv_type, self.o_type = types["q_type"], types["kv_type"], types["o_type"]
        width = problem.head_dim_vo or problem.latent_ckv or problem.head_dim_qk
        self._heads, self._width = problem.qo_head_count, width
        self._o_dtype: Any = None
        self._frames: list[Frame] = []

    def _plan(self, problem: _native.AttentionProblem, capacity: Any) -> None:
        handle = ctypes.c_uint64()
        if self.backend.is_cuda:
            while _dropped:
                _native.library.apus_plan_destroy(_dropped.pop())
        if capacity is None:
            status = _native.library.apus_attention_plan(
                self.backend.handle, ctypes.addressof(problem), ctypes.byref(handle))
        else:
            status = _native.library.apus_attention_plan_within(
                self.backend.handle, ctypes.addressof(problem), ctypes.addressof(capacity),
                ctypes.byref(handle))
        _native.check(status)
        old, was = self._handle, self._generation
        self._handle = handle.value
        self._generation = _backends.generation()
        if old and was == self._generation:
            _destroy(old, self.backend.is_cuda)

    def _list(
        self, problem: Any, keep: list[Any], name: str, ndim: int = 1
    ) -> Integers | None:
        values = self._options[name]
        if values is None:
            return None
        # A child plans anew from these, so they must not change; CUDA has no children.
        result = Integers(name, values, ndim, copies=not self.backend.is_cuda)
        setattr(problem, name, result.struct)
        keep.append(result)
        return result

    def _lists(self, problem: Any, keep: list[Any]) -> int:
        """Writes queries and geometry; the result is the number of query rows."""
        options = self._options
        indptr = self._list(problem, keep, "qo_indptr")
        if indptr is None:
            raise ValueError("apus.AttentionPlan: qo_indptr must be given; found None.")
        given = [
            name for name in ("kv_indptr", "max_length", "page_size") if options[name] is not None]
        if len(given) != 1:
            raise ValueError(
                "apus.AttentionPlan: exactly one of kv_indptr, max_length and page_size must be "
                f"given; found {', '.join(given) or 'none'}.")
        allowed = {
            "kv_indptr": {"kv_indptr"}, "max_length": {"kv_lengths"},
            "page_size": {
                "page_indptr", "page_indices", "last_page_length", "block_table", "kv_lengths"},
        }[given[0]]
        for name in (
            "kv_indptr", "kv_lengths", "page_indptr", "page_indices", "last_page_length",
            "block_table",
        ):
            if options[name] is None:
                continue
            if name not in allowed:
                raise ValueError(
                    f"apus.AttentionPlan: {name} must be None beside {given[0]}; found a list.")
            found = self._list(problem, keep, name, 2 if name == "block_table" else 1)
            if name == "block_table" and found is not None:
                problem.pages_per_request = found.shape[1]
        if given[0] == "kv_indptr":
            problem.geometry = _native.RAGGED
        elif given[0] == "max_length":
            problem.geometry = _native.PADDED
            problem.max_length = integer("max_length", options["max_length"], 64)
        else:
            problem.geometry = _native.PAGED
            problem.page_size = integer("page_size", options["page_size"], 64)
            require_one_table(
                "apus.AttentionPlan", options["page_indptr"], options["block_table"],
                options["kv_lengths"])
        return indptr.last()

    def _mask(self, problem: Any, keep: list[Any]) -> None:
        options = self._options
        problem.is_causal = bool(options["causal"])
        window = integer("window_left", options["window_left"], 64)
        if window < -1:
            raise ValueError(
                f"apus.AttentionPlan: window_left must be at least -1; found {window}.")
        problem.has_window = window >= 0
        problem.window_left = max(window, 0)
        problem.mask_bit_order = choice(
            "mask_bit_order", options["mask_bit_order"], _native.BIT_ORDERS)
        bits = options["mask_bits"]
        if (bits is None) != (options["mask_indptr"] is None):
            raise ValueError(
                "apus.AttentionPlan: mask_bits and mask_indptr must be given together; found one.")
        if bits is None:
            return
        self._list(problem, keep, "mask_indptr")
        kind = str(getattr(bits, "dtype", "uint8")).removeprefix("torch.")
        if kind != "uint8":
            raise ValueError(
                f"apus.AttentionPlan: mask_bits must hold packed bits in uint8; found {kind}. "
                "apus.pack_bits makes them of booleans.")
        if is_torch(bits):
            bits = bits.detach().cpu().contiguous().view(-1).numpy()
        try:
            stored = memoryview(bits).cast("B") if len(bits) else memoryview(b"")
        except TypeError:
            raise ValueError(
                "apus.AttentionPlan: mask_bits must be bytes in a contiguous buffer; found "
                f"{type(bits).__name__}.") from None
        buffer = (ctypes.c_uint8 * max(len(stored), 1)).from_buffer_copy(
            stored.tobytes() or b"\0")
        problem.mask_bits = ctypes.addressof(buffer)
        problem.mask_byte_count = len(stored)
        keep.append(buffer)

    def _modification(self, problem: Any, keep: list[Any]) -> None:
        options = self._options
        if options["latent"] is not None:
            try:
                ckv, kpe = options["latent"]
            except (TypeError, ValueError):
                raise ValueError(
                    "apus.AttentionPlan: latent must be (ckv, kpe); found "
                    f"{options['latent']!r}.") from None
            problem.latent_ckv = integer("latent[0]", ckv)
            problem.latent_kpe = integer("latent[1]", kpe)
        if options["softmax_scale"] is not None:
            problem.has_softmax_scale = 1
            problem.softmax_scale = number("softmax_scale", options["softmax_scale"])
        problem.logits_soft_cap = number("logits_soft_cap", options["logits_soft_cap"] or 0.0)
        if options["alibi_slopes"] is not None:
            slopes = floats(
                "alibi_slopes", options["alibi_slopes"], max(problem.qo_head_count, 0))
            problem.alibi_slopes = ctypes.addressof(slopes)
            keep.append(slopes)
        rope = options["rope"]
        if rope is not None:
            if not isinstance(rope, Rope):
                raise ValueError(
                    f"apus.AttentionPlan: rope must be an apus.Rope; found {type(rope).__name__}.")
            struct = rope._struct()
            problem.rope = ctypes.addressof(struct)
            keep.append(struct)

    def replan(self, **changes: Any) -> AttentionPlan:
        """Plans again in place, with some of the constructor's arguments changed; returns itself.

        Programs that torch.compile made of runs stay valid where only lists change.
        """
        unknown = [name for name in changes if name not in self._options or name == "backend"]
        if unknown:
            raise ValueError(
                "apus.AttentionPlan.replan: changes must be arguments of AttentionPlan but "
                f"backend; found {', '.join(unknown)}.")
        if self._captured:
            raise RuntimeError(
                "apus.AttentionPlan.replan: the plan must not be part of a captured graph, whose "
                "replays read its lists; found one that was captured. Make another plan.")
        before = self._options
        self._options = {**before, **changes}
        try:
            self._build()
        except BaseException:
            self._options = before
            raise
        return self

    def update(self, *, stream: Any = None, **lists: Any) -> AttentionPlan:
        """Changes the batch of a plan with a ``capacity``: query rows, lengths, pages.

        Runs behind it on the stream compute the new batch, and so does each replay of a graph
        that captured runs before: the graph's addresses, grids and arguments stay. On a GPU it
        neither allocates nor waits (unless four updates are in flight), and must stand outside of
        captures. Rows of q behind the batch are not computed, and theirs of out not written.
        Returns the plan itself.

        Parameters
        ----------
        lists: those of ``qo_indptr``, ``kv_indptr``, ``kv_lengths``, ``page_indptr``,
            ``page_indices``, ``last_page_length`` and ``block_table`` that change; None drops one.
        stream: a CUDA stream; None for torch's current one, or the legacy default stream where
            torch is not in use.

        Raises
        ------
        ValueError for a batch outside of the capacity; nothing has changed then.
        """
        unknown = [name for name in lists if name not in _LISTS]
        if unknown:
            raise ValueError(
                f"apus.AttentionPlan.update: changes must be of {', '.join(_LISTS)}; found "
                f"{', '.join(unknown)}.")
        if self._options["capacity"] is None:
            raise ValueError(
                "apus.AttentionPlan.update: the plan must have a capacity; found a plan of one "
                "batch. Make it with capacity=apus.PlanCapacity(…).")
        slot = StreamSlot()
        before = self._options
        self._options = {**before, **lists}
        try:
            slot.fill_current(self.backend, stream)
            self._build(slot)
        except BaseException:
            self._options = before
            raise
        return self

    def __reduce__(self) -> Any:
        """A pickled or copied plan is planned anew where it arrives."""
        return (_plan_of, (self._options,))

    @property
    def handle(self) -> int:
        """The ``apus_plan`` of this process."""
        if self._generation != _backends._generation:
            self.backend.handle  # Raises for CUDA, makes the CPU's anew.
            self._plan(self._problem, self._capacity)
        return self._handle

    @property
    def row_count(self) -> int:
        """Query rows: the end of ``qo_indptr``."""
        return self._rows

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """``(rows, qo_head, head_dim_vo)``."""
        return (self._rows, self._heads, self._width)

    @property
    def workspace_size(self) -> int:
        """Bytes that ``run`` needs as ``workspace``."""
        size = ctypes.c_size_t()
        _native.check(
            _native.library.apus_plan_workspace_size(self.handle, ctypes.byref(size)))
        return size.value

    def describe(self) -> str:
        """The plan in one line."""
        return _native.text_of(_native.library.apus_plan_describe, self.handle)

    def __repr__(self) -> str:
        return f"<apus.AttentionPlan {self.describe()}>"

    def run(
        self,
        q: Any,
        *,
        k: Any = None,
        v: Any = None,
        kv: Any = None,
        q_rope: Any = None,
        out: Any = None,
        lse: Any = None,
        sinks: Any = None,
        q_scale: Any = _ONE,
        k_scale: Any = _ONE,
        v_scale: Any = _ONE,
        o_scale: Any = _ONE,
        kpe_scale: Any = _ONE,
        workspace: Any = None,
        stream: Any = None,
    ) -> Any:
        """Computes attention. Nothing is copied; tensors need a contiguous last dimension only.

        Parameters
        ----------
        q: ``[rows, qo_head, head_dim_qk]``; MLA also as ``[rows, qo_head, ckv]`` with ``q_rope``
            ``[rows, qo_head, kpe]``.
        k, v: in the planned geometry; MLA: ckv and kpe.
        kv: instead of k and v: ``[pages, 2, …]``, or MLA rows of ckv then kpe.
        out: ``[rows, qo_head, head_dim_vo]``; made like q if None.
        lse: f32 ``[rows, qo_head]`` that is written; True makes one.
        sinks: f32 ``[qo_head]``, a logit per head that joins the denominator.
        q_scale, k_scale, v_scale, o_scale, kpe_scale: real = stored · scale. Numbers, or f32
            tensors ``[heads]``; k and v also per token and head, as the cache without its last
            dimension.
        workspace: u8 ``[≥ workspace_size]``; None for the library's own.
        stream: a CUDA stream; None takes torch's current one for tensors of torch, and CUDA's
            legacy default stream for others.

        Returns
        -------
        out, or (out, lse) where lse was asked for.
        """
        if _tensors.torch_operators is not None and _tensors.torch_operators.is_compiling():
            return _tensors.torch_operators.traced_run(
                self, q, k, v, kv, q_rope, out, lse, sinks, q_scale, k_scale, v_scale, o_scale,
                kpe_scale, workspace, stream)
        if self._generation != _backends._generation:
            self.handle
        frames = self._frames
        try:
            frame = frames.pop()
        except IndexError:
            frame = Frame()
        try:
            return self._call(
                frame, q, k, v, kv, q_rope, out, lse, sinks, q_scale, k_scale, v_scale, o_scale,
                kpe_scale, workspace, stream)
        finally:
            if frame.keep:
                frame.keep.clear()
            frames.append(frame)

    __call__ = run

    def _call(
        self, frame: Frame, q: Any, k: Any, v: Any, kv: Any, q_rope: Any, out: Any, lse: Any,
        sinks: Any, q_scale: Any, k_scale: Any, v_scale: Any, o_scale: Any, kpe_scale: Any,
        workspace: Any, stream: Any,
    ) -> Any:
        frame.q.fill(q)
        if out is None:
            out = self._new_output(q)
        frame.o.fill(out)
        if lse is False:
            lse = None
        elif lse is True:
            lse = self._new_lse(q, out)
        slots = frame.optional
        if k is not None:
            slots["k"].fill(k)
        if v is not None:
            slots["v"].fill(v)
        if kv is not None:
            slots["kv"].fill(kv)
        if q_rope is not None:
            slots["q_rope"].fill(q_rope)
        if lse is not None:
            slots["lse"].fill(lse)
        if sinks is not None:
            slots["sinks"].fill(sinks)
        if workspace is not None:
            slots["workspace"].fill(workspace)
        present = (
            q_rope is not None, k is not None, v is not None, kv is not None, lse is not None,
            sinks is not None, workspace is not None)
        if present != frame.present:
            for name, is_present in zip(TENSORS, present):
                frame.words[WORDS[name]] = slots[name].address if is_present else 0
            frame.present = present
        if (
            q_scale is _ONE and k_scale is _ONE and v_scale is _ONE and o_scale is _ONE
            and kpe_scale is _ONE
        ):
            if frame.has_scales:
                frame.clear_scales()
        else:
            frame.fill_scales({
                "q_scale": q_scale, "k_scale": k_scale, "v_scale": v_scale, "o_scale": o_scale,
                "kpe_scale": kpe_scale})
        backend = self.backend
        if backend.device == "cpu" and stream is None:
            status = _run(self._handle, frame.address, None)
        else:
            self._captured = self._captured or _is_capturing()
            status = _run(self._handle, frame.address, frame.stream.fill(backend, q, stream))
        if status:
            _native.check(status)
        return out if lse is None else (out, lse)

    def _new_output(self, q: Any) -> Any:
        """An output like q. Rows of q beyond the plan's give rows of zeros."""
        rows = self._rows
        held = q.shape
        if not len(held):
            raise ValueError(
                f"apus_attention.run: q must have shape [rows, {self._heads}, dim]; found [].")
        shape = (held[0], self._heads, self._width)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(q, torch.Tensor):
            dtype = self._o_dtype
            if dtype is None:
                dtype = self._o_dtype = torch_type(self.o_type)
            out = q.new_empty(shape, dtype=dtype)
        else:
            out = empty_like(q, shape, self.o_type)
        if shape[0] > rows:
            out[rows:] = 0
        return out

    def _new_lse(self, q: Any, out: Any) -> Any:
        rows = self._rows
        shape = (out.shape[0], self._heads)
        lse = empty_like(q, shape, "f32")
        if shape[0] > rows:
            lse[rows:] = 0
        return lse

    def __del__(self) -> None:
        # Not at exit, when modules may be gone, nor in a forked child, whose pool has no threads.
        if getattr(self, "_handle", 0) and sys is not None and not sys.is_finalizing():
            # Graphs that captured the plan read its memory at each replay: it stays.
            if self._generation == _backends._generation and not self._captured:
                _destroy(self._handle, self.backend.is_cuda)
            self._handle = 0


def _plan_of(options: dict[str, Any]) -> AttentionPlan:
    return AttentionPlan(**options)

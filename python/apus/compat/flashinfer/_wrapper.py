"""What the wrappers share: lists that were planned, plans per setting, buffers of CUDA graphs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

import apus

from ._attention_core import PlannedAttention, Settings
from ._pages import cache_arguments, cache_dtype
from ._values import FP8_TYPES, check_backend, check_layout, fail, unsupported


class PlannedWrapper:
    """Holds what `plan` was given until `run` uses it.

    The caller's float workspace is used where it is large enough; a smaller one is no error, Apus
    then has its own. There is no integer workspace.
    """

    _name = "PlannedWrapper"

    def _start(
        self, float_workspace_buffer: torch.Tensor, kv_layout: str, use_cuda_graph: bool,
        backend: str, jit_args: Any, buffers: dict[str, torch.Tensor | None],
    ) -> None:
        check_layout(self._name, kv_layout)
        check_backend(self._name, backend)
        if jit_args is not None:
            unsupported(self._name, "jit_args (variants in CUDA C++)", "the options of plan()")
        if not isinstance(float_workspace_buffer, torch.Tensor):
            found = type(float_workspace_buffer).__name__
            fail(self._name, "float_workspace_buffer must be a torch.Tensor", found)
        if use_cuda_graph:
            for name, buffer in buffers.items():
                if not isinstance(buffer, torch.Tensor):
                    requirement = f"{name} must be a torch.Tensor with use_cuda_graph"
                    fail(self._name, requirement, type(buffer).__name__)
        self._kv_layout = kv_layout
        self._float_workspace_buffer = float_workspace_buffer
        self._int_workspace_buffer = torch.empty(0, dtype=torch.uint8)
        self.device = float_workspace_buffer.device
        self._backend = backend
        self._use_cuda_graph = use_cuda_graph
        self._fixed_batch_size = 0
        self._capacity: apus.PlanCapacity | None = None
        self._settings: Settings | None = None
        self._plans: dict[Settings, PlannedAttention] = {}
        self._current: PlannedAttention | None = None
        self._lists: tuple[dict[str, Any], np.ndarray, np.ndarray, dict[str, Any]] | None = None

    @property
    def is_cuda_graph_enabled(self) -> bool:
        """Whether the wrapper was made for CUDA graphs."""
        return self._use_cuda_graph

    @property
    def resolved_backend(self) -> str:
        """The kernels in use: always Apus's."""
        return "apus"

    def reset_workspace_buffer(
        self, float_workspace_buffer: torch.Tensor, int_workspace_buffer: torch.Tensor | None
    ) -> None:
        """Replaces the workspace."""
        self._float_workspace_buffer = float_workspace_buffer
        if int_workspace_buffer is not None:
            self._int_workspace_buffer = int_workspace_buffer

    def prewarm_paged_kv_stride_variant(self, variant: str = "independent") -> None:
        """Does nothing: kernels of Apus take any strides of k and v."""

    def _check_batch(self, batch_size: int) -> None:
        if self._use_cuda_graph and batch_size != self._fixed_batch_size:
            requirement = f"batch_size must stay {self._fixed_batch_size} with use_cuda_graph"
            fail(f"{self._name}.plan", requirement, batch_size)

    def _check_buffers(self, **lists: Any) -> None:
        """Lists must fit the buffers that the caller reserved for a graph."""
        for name, values in lists.items():
            buffer = getattr(self, f"_{name}_buf")
            if self._use_cuda_graph and buffer is not None and len(values) > len(buffer):
                requirement = f"{name} must fit its buffer of {len(buffer)}"
                fail(f"{self._name}.plan", requirement, len(values))

    def _keep(self, **lists: Any) -> None:
        """Into the buffers that the caller reserved for a graph, or as they are."""
        for name, values in lists.items():
            buffer = getattr(self, f"_{name}_buf")
            if not self._use_cuda_graph:
                setattr(self, f"_{name}_buf", values)
            elif buffer is not None and values is not None:
                buffer[: len(values)].copy_(torch.as_tensor(values))

    def _commit(
        self, settings: Settings, geometry: dict[str, Any], qo_indptr: np.ndarray,
        kv_lengths: np.ndarray, mask: dict[str, Any], capacity: apus.PlanCapacity | None = None,
    ) -> None:
        """Plans, and keeps the lists for calls of `forward` with other settings.

        With a capacity, plans of the same kind are updated, so that graphs replay the new lists.
        """
        lists = (geometry, qo_indptr, kv_lengths, mask)
        if capacity is not None and capacity == self._capacity and settings in self._plans:
            page_size = None if self._lists is None else self._lists[0].get("page_size")
            is_same_kind = page_size == geometry.get("page_size") and not mask
            known = self._plans.values()
            if is_same_kind and all(p.is_updatable for p in known if p.was_captured):
                self._update(settings, lists)
                return
        captured = [p for p in self._plans.values() if p.was_captured]
        if captured and not self._is_same(lists):
            unsupported(
                f"{self._name}.plan",
                "a plan with other lengths after a CUDA graph captured the last one",
                "replay with the lengths of the capture; capture again after plan()",
            )
        before = (self._settings, self._lists, self._plans, self._current, self._capacity)
        if not captured:
            self._plans = {}
        self._capacity = capacity
        self._lists = lists
        self._settings = settings
        self._current = None
        try:
            self._planned()
        except Exception:
            (
                self._settings, self._lists, self._plans, self._current, self._capacity
            ) = before
            raise

    def _update(self, settings: Settings, lists: tuple[Any, ...]) -> None:
        """Changes the batch of plans that can be, all or none; others are made anew when they run."""
        kept = {s: p for s, p in self._plans.items() if p.is_updatable}
        changed: list[PlannedAttention] = []
        try:
            for planned in kept.values():
                planned.update(*lists[:3])
                changed.append(planned)
        except Exception:
            for planned in changed:
                planned.update(*(self._lists or ())[:3])
            raise
        self._lists, self._settings, self._plans = lists, settings, kept
        self._current = kept.get(settings)
        self._planned()

    def _is_same(self, lists: tuple[Any, ...]) -> bool:
        if self._lists is None:
            return False
        mine, others = (_flat(x) for x in (self._lists, lists))
        return mine.keys() == others.keys() and all(
            np.array_equal(mine[key], others[key]) for key in mine
        )

    def _planned(self, **changes: Any) -> PlannedAttention:
        """The plan for the settings of `plan`, or for them with changes."""
        if self._current is not None and not changes:
            return self._current
        if self._settings is None or self._lists is None:
            fail(f"{self._name}.run", "plan() must come before run()", "no plan")
        settings = dataclasses.replace(self._settings, **changes) if changes else self._settings
        planned = self._plans.get(settings)
        if planned is None:
            backend = apus.backend_of(self._float_workspace_buffer)
            planned = PlannedAttention(backend, settings, *self._lists, self._capacity)
            self._plans[settings] = planned
        if not changes:
            self._current = planned
        return planned

    def _operands(
        self, settings: Settings, q: torch.Tensor, cache: Any, window_left: int | None,
        operation: str,
    ) -> dict[str, torch.Tensor]:
        """The cache's tensors, with types and window checked against the plan."""
        caches = cache_arguments(cache, self._kv_layout, operation)
        check_types(settings, q, cache_dtype(caches), operation)
        if window_left is not None and window_left != settings.window_left:
            requirement = f"window_left must be that of plan(), {settings.window_left}"
            fail(operation, requirement, window_left)
        return caches

    def _measure(self, plan: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> int:
        """Bytes of workspace of a plan that is made and dropped."""
        state = dict(self.__dict__)
        try:
            self._plans = {}
            self._current = None
            self._use_cuda_graph = False
            plan(*arguments, **options)
            return self._planned().plan.workspace_size
        finally:
            self.__dict__.clear()
            self.__dict__.update(state)


def _flat(lists: tuple[Any, ...]) -> dict[str, Any]:
    geometry, qo_indptr, kv_lengths, mask = lists
    return {**geometry, **mask, "qo_indptr": qo_indptr, "lengths": kv_lengths}


def check_types(
    settings: Settings, q: torch.Tensor, kv_dtype: torch.dtype, operation: str
) -> None:
    """Types of q and of the cache against those of the plan."""
    if q.dtype != settings.q_dtype:
        fail(operation, f"q must have the q_data_type of plan(), {settings.q_dtype}", q.dtype)
    if kv_dtype != settings.kv_dtype:
        requirement = f"k must have the kv_data_type of plan(), {settings.kv_dtype}"
        fail(operation, requirement, kv_dtype)


def fp8_scales(q: torch.Tensor, args: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Scales of q, k and v that callers pass by position for an FP8 query."""
    if not args:
        return None, None, None
    if q.dtype not in FP8_TYPES or len(args) != 3:
        supported = "scale_q, scale_k, scale_v of an FP8 query"
        unsupported("run", f"{len(args)} extra arguments", supported)
    return args[0], args[1], args[2]


def combined(first: Any, second: Any) -> Any:
    """The product of two scales, of which either may be absent."""
    if first is None:
        return second
    return first if second is None else first * second

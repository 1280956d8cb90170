"""Back ends: one per device and process."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import Any

from . import _native
from ._tensors import device_of

# Counts the forks between the import and this process.
_generation = 0


def generation() -> int:
    """Forks since the import: handles of another generation belong to a parent process."""
    return _generation


class Backend:
    """A back end of one device: ``"cpu"`` or ``"cuda:0"``.

    After a fork the CPU's is made again in the child, since its threads stayed with the parent;
    CUDA's cannot be, and raises RuntimeError.
    """

    __slots__ = ("device", "_handle", "_generation", "_arguments", "__weakref__")

    def __init__(
        self, device: str, *, instruction_set: str | None = None, threads: int = 0
    ) -> None:
        self.device = device
        self._arguments = (instruction_set, threads)
        self._handle = 0
        self._generation = _generation
        self._create()

    def _create(self) -> None:
        handle = ctypes.c_uint64()
        if self.device == "cpu":
            name, threads = self._arguments
            _native.check(
                _native.library.apus_backend_create_cpu(
                    None if name is None else name.encode(), threads, ctypes.byref(handle)))
        else:
            _native.check(
                _native.library.apus_backend_create_cuda(self.index, ctypes.byref(handle)))
        self._handle = handle.value
        self._generation = _generation

    @property
    def is_cuda(self) -> bool:
        """Whether it runs on a CUDA device."""
        return self.device != "cpu"

    @property
    def index(self) -> int:
        """The ordinal of its CUDA device; 0 for the CPU."""
        return int(self.device[5:]) if self.is_cuda else 0

    @property
    def handle(self) -> int:
        """The ``apus_backend`` of this process."""
        if self._generation != _generation:
            self._renew()
        return self._handle

    def _renew(self) -> None:
        if self.is_cuda:
            raise RuntimeError(
                f"apus: back end {self.device} must be used in the process that made it; found a "
                "forked child. CUDA does not survive a fork: start processes with the method "
                "'spawn' or 'forkserver'.")
        self._create()

    @property
    def name(self) -> str:
        """``cpu``, or the name of the CUDA back end."""
        return _native.text_of(_native.library.apus_backend_name, self.handle)

    def __repr__(self) -> str:
        return f"apus.Backend({self.device!r})"

    def __reduce__(self) -> Any:
        return (backend, (self.device,))

    def __del__(self) -> None:
        # Threads of a parent process cannot be joined: its handles are left alone.
        if sys is None or sys.is_finalizing():
            return
        if getattr(self, "_handle", 0) and self._generation == _generation:
            _native.library.apus_backend_destroy(self._handle)
            self._handle = 0


_backends: dict[str, Backend] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    global _generation, _lock
    _generation += 1
    # It may have been held by a thread of the parent.
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _normal(device: Any) -> str:
    """``"cpu"`` or ``"cuda:N"`` of a name or of torch's device."""
    text = str(device)
    if text == "cpu":
        return text
    kind, _, index = text.partition(":")
    if kind == "cuda" and (index.isascii() and index.isdigit() or text == "cuda"):
        if index:
            return f"cuda:{int(index)}"
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            return f"cuda:{torch.cuda.current_device()}"
        return "cuda:0"
    raise ValueError(f"apus.backend: device must be 'cpu', 'cuda' or 'cuda:N'; found {device!r}.")


def backend(device: Any = "cpu") -> Backend:
    """The back end of a device, made at the first call and kept for the life of the process.

    ``device``: ``"cpu"``, ``"cuda"`` (torch's current device, else 0), ``"cuda:1"``, or a
    ``torch.device``. The environment variables ``APUS_CPU`` and ``APUS_THREADS`` choose the CPU's
    instruction set and number of threads.
    """
    if isinstance(device, Backend):
        return device
    name = device if type(device) is str and device in _backends else _normal(device)
    found = _backends.get(name)
    if found is not None:
        return found
    with _lock:
        found = _backends.get(name)
        if found is None:
            found = _create(name)
            _backends[name] = found
        return found


def _create(name: str) -> Backend:
    if name == "cpu":
        threads = os.environ.get("APUS_THREADS") or "0"
        if not threads.isascii() or not threads.isdigit() or len(threads) > 6:
            raise ValueError(
                f"apus.backend: APUS_THREADS must be a number of threads; found {threads!r}.")
        return Backend(
            name, instruction_set=os.environ.get("APUS_CPU") or None, threads=int(threads))
    if int(name[5:]) > 0x7FFF_FFFF:
        raise ValueError(f"apus.backend: device must have an ordinal of 31 bits; found {name!r}.")
    return Backend(name)


def backend_of(tensor: Any) -> Backend:
    """The back end of the device that a tensor lives on."""
    return backend(device_of(tensor))


def cuda_device_count() -> int:
    """CUDA devices of this machine; 0 where there is no driver."""
    count = ctypes.c_int32()
    _native.check(_native.library.apus_cuda_device_count(ctypes.byref(count)))
    return count.value

"""The stream that a call is enqueued on."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from . import _native
from ._backends import Backend


def handle_of(stream: Any, name: str = "stream") -> int:
    """The CUstream of a torch or CuPy stream, or of a number."""
    for attribute in ("cuda_stream", "ptr"):
        found = getattr(stream, attribute, None)
        if isinstance(found, int):
            return found
    if isinstance(stream, int) and not isinstance(stream, bool) and stream >= 0:
        return stream
    raise ValueError(
        f"apus: {name} must be a stream of torch or CuPy, or the number of a CUstream; found "
        f"{stream!r}.")


def _current_stream(torch: Any, device: int) -> int:
    """torch's current stream of a device; its public function makes an object first."""
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    if raw is not None:
        return int(raw(device))
    return int(torch.cuda.current_stream(device).cuda_stream)


class StreamSlot:
    """Memory of one ``apus_stream``."""

    __slots__ = ("memory", "address")

    def __init__(self) -> None:
        self.memory = _native.Stream()
        self.address: int | None = ctypes.addressof(self.memory)

    def fill_current(self, backend: Backend, stream: Any) -> None:
        """As ``fill`` for a call without tensors: torch's current stream where torch is in use.

        ``address`` is None for the CPU then.
        """
        torch = sys.modules.get("torch")
        if backend.is_cuda and stream is None and torch is not None and (
            torch.cuda.is_initialized()
        ):
            stream = _current_stream(torch, backend.index)
        if self.fill(backend, None, stream) is None:
            self.address = None

    def fill(self, backend: Backend, tensor: Any, stream: Any) -> int | None:
        """The address of the stream; None for the CPU, which runs synchronously.

        Without a ``stream``, tensors of torch run on torch's current stream of the device, and
        those of other libraries on the legacy default stream, which their ``__dlpack__`` was told.
        """
        if not backend.is_cuda:
            if stream is not None:
                raise ValueError(
                    f"apus: stream must be None for back end cpu; found {stream!r}.")
            return None
        if stream is None:
            torch = sys.modules.get("torch")
            if torch is None or not isinstance(tensor, torch.Tensor):
                self.memory.handle = 0
            else:
                self.memory.handle = _current_stream(torch, backend.index)
        else:
            self.memory.handle = handle_of(stream)
        return self.address

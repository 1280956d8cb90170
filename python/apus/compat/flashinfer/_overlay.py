"""Apus's attention and cache operators inside an installed FlashInfer."""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

# Modules whose public names are replaced. Norms, activations and sampling stay FlashInfer's.
MODULES = (
    "decode", "prefill", "cascade", "page", "rope", "mla", "attention", "quantization", "sparse",
    "pod",
)

# Names that only say that Apus lacks them: FlashInfer's stay.
KEPT = frozenset((
    "BatchDecodeMlaWithPagedKVCacheWrapper", "single_decode_with_kv_cache_with_jit_module",
    "single_prefill_with_kv_cache_with_jit_module",
))

_lock = threading.Lock()
# Module, name, and what it held.
_replaced: list[tuple[ModuleType, str, object]] = []


def replacements() -> dict[str, tuple[str, object]]:
    """Name → (module, object of Apus) of everything that `install` may replace."""
    found: dict[str, tuple[str, object]] = {}
    for module in MODULES:
        own = importlib.import_module(f"{__package__}.{module}")
        for name in own.__all__:
            if name in KEPT:
                continue
            found[name] = (module, getattr(own, name))
    return found


def install() -> list[str]:
    """Replaces attention and cache operators of the installed `flashinfer` by Apus's.

    What it holds in its modules and in the package changes, also where one of its modules imported
    it from another; everything else, as matrix products, experts and communication, stays. Names
    that a program took out of it before keep what they had: call this first.

    Returns:
        The names that were replaced, sorted; those of the last call where it is in place.
    """
    with _lock:
        if _replaced:
            return sorted({name for _, name, _ in _replaced})
        try:
            real = importlib.import_module("flashinfer")
        except ImportError as error:
            raise ImportError(
                "apus.compat.flashinfer.install: flashinfer must be installed; found none. "
                "Without it, import apus.compat.flashinfer instead."
            ) from error
        if getattr(real, "install", None) is install:
            # Apus itself, under FlashInfer's name.
            return []
        originals: dict[int, tuple[str, object, object]] = {}
        for name, (module, ours) in replacements().items():
            for owner in (_module(f"flashinfer.{module}"), real):
                theirs = None if owner is None else owner.__dict__.get(name)
                if theirs is not None:
                    originals[id(theirs)] = (name, theirs, ours)
        for path, module in list(sys.modules.items()):
            if module is None or not (path == "flashinfer" or path.startswith("flashinfer.")):
                continue
            for name, value in list(vars(module).items()):
                entry = originals.get(id(value))
                if entry is not None and entry[1] is value and entry[0] == name:
                    _replaced.append((module, name, value))
                    setattr(module, name, entry[2])
        return sorted({name for _, name, _ in _replaced})


def uninstall() -> None:
    """Undoes `install`."""
    with _lock:
        while _replaced:
            module, name, value = _replaced.pop()
            setattr(module, name, value)


def _module(path: str) -> ModuleType | None:
    try:
        return importlib.import_module(path)
    except ImportError:
        return None

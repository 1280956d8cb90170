"""Apus: attention for LLM inference on CPUs and CUDA GPUs.

Tensors are those of torch, NumPy or any other producer of DLPack; nothing is copied, and results
are allocated by the caller's library. Types that NumPy lacks (bf16, e4m3, e5m2) are ``uint16`` and
``uint8`` arrays beside the names in a plan, or those of ml_dtypes.

Errors: ``ValueError`` for arguments, ``NotImplementedError`` for what a back end lacks, and
``RuntimeError`` for the machine (no driver, no memory) and for defects.
"""

from __future__ import annotations

from . import _native
from ._attention import AttentionPlan
from ._backends import Backend, backend, backend_of, cuda_device_count
from ._capacity import PlanCapacity
from ._operators import (
    append,
    merge_state,
    merge_state_in_place,
    merge_states,
    pack_bits,
    rotate,
)
from ._rope import Rope

__version__: str = _native.library.apus_version().decode()

__all__ = [
    "AttentionPlan",
    "Backend",
    "PlanCapacity",
    "Rope",
    "append",
    "backend",
    "backend_of",
    "cuda_device_count",
    "merge_state",
    "merge_state_in_place",
    "merge_states",
    "pack_bits",
    "rotate",
]

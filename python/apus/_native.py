"""The C library: where it is, its structures and functions, and how its errors become exceptions.

Everything here mirrors ``apus.h``; the names are those of the header.
"""

from __future__ import annotations

import ctypes
import os
import re
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

ABI_VERSION = 1

# apus_status.
INVALID_ARGUMENT, UNSUPPORTED, ENVIRONMENT, INTERNAL = 1, 2, 3, 4

# DLDeviceType.
CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13

TYPES = {"f32": 1, "f16": 2, "bf16": 3, "e4m3": 4, "e5m2": 5}
LAYOUTS = {"NHD": 0, "HND": 1}
BIT_ORDERS = {"little": 0, "big": 1}
LSE_CONVENTIONS = {"base2": 0, "natural": 1, "natural_positive_infinity": 2}
RAGGED, PADDED, PAGED = 0, 1, 2
TENSOR_CORES = {"automatic": 0, "never": 1, "always": 2}


class DLTensor(Structure):
    """DLPack's tensor; device and type are written out flat, which is the same layout."""

    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("byte_offset", c_uint64),
    ]


class IntList(Structure):
    """apus_int_list."""

    _fields_ = [("data", c_void_p), ("count", c_int64), ("width", c_int32)]


class Stream(Structure):
    """apus_stream."""

    _fields_ = [("handle", c_void_p)]


class _Sized(Structure):
    """A structure that starts with its size, zero otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.struct_size = ctypes.sizeof(self)


class RopeStruct(_Sized):
    """apus_rope."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("interleaved", c_int32),
        ("rotary_dim", c_int32),
        ("scale", c_double),
        ("theta", c_double),
        ("is_llama31", c_int32),
        ("low_frequency_factor", c_double),
        ("high_frequency_factor", c_double),
        ("old_context_length", c_double),
    ]


class AttentionProblem(_Sized):
    """apus_attention_problem."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("qo_head_count", c_int32),
        ("kv_head_count", c_int32),
        ("head_dim_qk", c_int32),
        ("head_dim_vo", c_int32),
        ("q_type", c_int32),
        ("kv_type", c_int32),
        ("o_type", c_int32),
        ("layout", c_int32),
        ("qo_indptr", IntList),
        ("geometry", c_int32),
        ("kv_indptr", IntList),
        ("max_length", c_int64),
        ("kv_lengths", IntList),
        ("page_size", c_int64),
        ("page_indptr", IntList),
        ("page_indices", IntList),
        ("last_page_length", IntList),
        ("block_table", IntList),
        ("pages_per_request", c_int64),
        ("latent_ckv", c_int32),
        ("latent_kpe", c_int32),
        ("is_causal", c_int32),
        ("has_window", c_int32),
        ("window_left", c_int64),
        ("mask_bits", c_void_p),
        ("mask_byte_count", c_int64),
        ("mask_indptr", IntList),
        ("mask_bit_order", c_int32),
        ("has_softmax_scale", c_int32),
        ("softmax_scale", c_float),
        ("logits_soft_cap", c_float),
        ("alibi_slopes", c_void_p),
        ("rope", c_void_p),
        ("lse_convention", c_int32),
        ("is_accurate", c_int32),
        ("tolerance", c_double),
        ("split_size", c_int64),
        ("disables_split_kv", c_int32),
        ("is_batch_invariant", c_int32),
        ("use_tensor_cores", c_int32),
        ("reserved", c_int32),
    ]


class Scale(Structure):
    """apus_scale."""

    _fields_ = [("per_head", c_void_p), ("per_token_head", c_void_p), ("value", c_float)]


class AttentionArguments(_Sized):
    """apus_attention_arguments."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("q", c_void_p),
        ("q_rope", c_void_p),
        ("k", c_void_p),
        ("v", c_void_p),
        ("kv", c_void_p),
        ("o", c_void_p),
        ("lse", c_void_p),
        ("sinks", c_void_p),
        ("q_scale", Scale),
        ("k_scale", Scale),
        ("v_scale", Scale),
        ("o_scale", Scale),
        ("kpe_scale", Scale),
        ("workspace", c_void_p),
    ]


class PlanCapacity(_Sized):
    """apus_plan_capacity."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("batch", c_int32),
        ("queries_per_request", c_int32),
        ("keys_per_request", c_int64),
        ("key_rows", c_int64),
        ("cache_pages", c_int64),
    ]


class AppendLists(_Sized):
    """apus_append_lists."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("batch_indices", c_void_p),
        ("positions", c_void_p),
        ("page_indptr", c_void_p),
        ("page_indices", c_void_p),
        ("block_table", c_void_p),
    ]


class AppendProblem(_Sized):
    """apus_append_problem."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("kv_head_count", c_int32),
        ("head_dim_k", c_int32),
        ("head_dim_v", c_int32),
        ("is_latent", c_int32),
        ("source_type", c_int32),
        ("cache_type", c_int32),
        ("layout", c_int32),
        ("page_size", c_int64),
        ("page_indptr", IntList),
        ("page_indices", IntList),
        ("last_page_length", IntList),
        ("block_table", IntList),
        ("pages_per_request", c_int64),
        ("kv_lengths", IntList),
        ("batch_indices", IntList),
        ("positions", IntList),
        ("lists", c_void_p),
    ]


class AppendScale(Structure):
    """apus_append_scale."""

    _fields_ = [("per_head", c_void_p), ("dynamic_per_token_head", c_void_p), ("value", c_float)]


class AppendArguments(_Sized):
    """apus_append_arguments."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("k", c_void_p),
        ("v", c_void_p),
        ("kv", c_void_p),
        ("k_scale", AppendScale),
        ("v_scale", AppendScale),
    ]


# Name, and types of the arguments; results are apus_status unless listed in _RESULTS.
_FUNCTIONS: dict[str, list[type]] = {
    "apus_abi_version": [],
    "apus_version": [],
    "apus_last_error_message": [],
    "apus_backend_create_cpu": [c_char_p, c_int32, POINTER(c_uint64)],
    "apus_backend_create_cuda": [c_int32, POINTER(c_uint64)],
    "apus_backend_destroy": [c_uint64],
    "apus_backend_name": [c_uint64, c_char_p, c_size_t, POINTER(c_size_t)],
    "apus_cuda_device_count": [POINTER(c_int32)],
    "apus_attention_plan": [c_uint64, c_void_p, POINTER(c_uint64)],
    "apus_attention_plan_within": [c_uint64, c_void_p, c_void_p, POINTER(c_uint64)],
    "apus_plan_update": [c_uint64, c_void_p, c_void_p],
    "apus_plan_workspace_size": [c_uint64, POINTER(c_size_t)],
    "apus_plan_describe": [c_uint64, c_char_p, c_size_t, POINTER(c_size_t)],
    "apus_plan_destroy": [c_uint64],
    "apus_attention_run": [c_uint64, c_void_p, c_void_p],
    "apus_append": [c_uint64, c_void_p, c_void_p, c_void_p],
    "apus_merge_state": [c_uint64] + [c_void_p] * 6 + [c_int32, c_void_p],
    "apus_merge_state_in_place": [c_uint64] + [c_void_p] * 5 + [c_int32, c_void_p],
    "apus_merge_states": [c_uint64] + [c_void_p] * 4 + [c_int32, c_void_p],
    "apus_rotate": [c_uint64] + [c_void_p] * 4 + [IntList, c_void_p, c_void_p, c_int32, c_void_p],
    "apus_rotate_by": [c_uint64] + [c_void_p] * 7 + [c_int32, c_void_p],
    "apus_pack_bits": [c_uint64, c_void_p, c_void_p, IntList, c_int32, c_void_p],
}
_RESULTS: dict[str, type] = {
    "apus_abi_version": c_uint32,
    "apus_version": c_char_p,
    "apus_last_error_message": c_char_p,
}


def library_path() -> str:
    """The file of the C library: ``APUS_LIBRARY`` where set, else the one inside this package."""
    named = os.environ.get("APUS_LIBRARY")
    return named or os.path.join(os.path.dirname(os.path.abspath(__file__)), "libapus.so")


def _load() -> ctypes.CDLL:
    path = library_path()
    try:
        library = ctypes.CDLL(path)
        for name, arguments in _FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes = arguments
            function.restype = _RESULTS.get(name, c_int32)
    except (OSError, AttributeError) as error:
        raise ImportError(
            f"apus: the C library must load; found {path}: {error}. Install the wheel that "
            "Scripts/wheel builds, or name a library in APUS_LIBRARY.") from error
    found = library.apus_abi_version()
    if found < ABI_VERSION:
        raise ImportError(
            f"apus: the C library must have ABI version {ABI_VERSION} or newer; found {found} in "
            f"{path}. Build the library and the package from one checkout.")
    return library


library = _load()

# Names of the Swift interface inside messages, for example qoIndptr or headDimQK.
_CAMEL = re.compile(r"\b[a-z]+[a-z0-9]*(?:[A-Z][a-z0-9]*)+\b")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*")


def _python_names(message: str) -> str:
    """A message with arguments spelled as in Python: ``qoIndptr`` becomes ``qo_indptr``."""

    def snake(match: re.Match[str]) -> str:
        return _WORD.sub(lambda word: "_" + word.group().lower(), match.group())

    return re.sub(r"\bnil\b", "None", _CAMEL.sub(snake, message))


def check(status: int) -> None:
    """Raises the exception of a status: ``ValueError`` for arguments, ``NotImplementedError`` for
    what a back end lacks, ``RuntimeError`` for the machine and for defects."""
    if status == 0:
        return
    text = library.apus_last_error_message().decode("utf-8", "replace")
    message = _python_names(text)
    if status == INVALID_ARGUMENT:
        raise ValueError(message)
    if status == UNSUPPORTED:
        raise NotImplementedError(message)
    raise RuntimeError(message)


def text_of(function: Any, handle: int) -> str:
    """The text that a function of the form (handle, buffer, capacity, length) gives."""
    length = c_size_t()
    check(function(handle, None, 0, ctypes.byref(length)))
    buffer = ctypes.create_string_buffer(length.value + 1)
    check(function(handle, buffer, len(buffer), None))
    return buffer.value.decode("utf-8", "replace")

"""Plans of calls that have none of their own: equal lengths, kept while they are in use."""

from __future__ import annotations

import collections
import threading
from typing import Any

import numpy as np
import torch

import apus

from ._attention_core import PlannedAttention, Settings

# Layers of a model repeat a call; a step of generation ends with other lengths.
_CAPACITY = 32

_lock = threading.Lock()
_recent: collections.OrderedDict[tuple[Any, ...], PlannedAttention] = collections.OrderedDict()


def attend_uniform(
    settings: Settings, batch: int, qo_len: int, kv_len: int, is_padded: bool, q: torch.Tensor,
    caches: dict[str, torch.Tensor], **options: Any,
) -> Any:
    """Runs `batch` requests of one length each.

    Runs of a plan on a GPU must follow each other, so every stream has plans of its own, and so has
    every graph.
    """
    backend = apus.backend_of(q)
    stream = torch.cuda.current_stream(q.device).cuda_stream if q.is_cuda else 0
    key = (
        backend.device, stream, threading.get_ident(), settings, batch, qo_len, kv_len, is_padded
    )
    is_captured = q.is_cuda and torch.cuda.is_current_stream_capturing()
    planned = None
    if not is_captured:
        with _lock:
            planned = _recent.get(key)
            if planned is not None:
                _recent.move_to_end(key)
    if planned is None:
        if is_padded:
            geometry: dict[str, Any] = {"max_length": kv_len}
        else:
            geometry = {"kv_indptr": np.arange(batch + 1) * kv_len}
        planned = PlannedAttention(
            backend, settings, geometry, np.arange(batch + 1) * qo_len, np.full(batch, kv_len), {}
        )
        if not is_captured:
            with _lock:
                _recent[key] = planned
                if len(_recent) > _CAPACITY:
                    _recent.popitem(last=False)
    return planned.run(q, caches, **options)

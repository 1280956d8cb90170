"""What a plan may be updated to."""

from __future__ import annotations

import dataclasses
from typing import Any

from . import _native
from ._lists import integer


@dataclasses.dataclass(frozen=True)
class PlanCapacity:
    """The most that an ``AttentionPlan`` may be updated to.

    Parameters
    ----------
    batch: requests. q, out and lse of every run have ``batch · queries_per_request`` rows; padded
        caches have ``batch`` slabs.
    keys_per_request: keys of each request.
    queries_per_request: query rows of each request.
    key_rows: of all requests together, pages that are listed, or rows of ragged k and v; None for
        what full requests take.
    cache_pages: pages of the caches of all runs; updates refuse greater indices. None leaves them
        unchecked.
    """

    batch: int
    keys_per_request: int
    queries_per_request: int = 1
    key_rows: int | None = None
    cache_pages: int | None = None

    def _struct(self) -> Any:
        struct = _native.PlanCapacity()
        for name, bits in (
            ("batch", 32), ("queries_per_request", 32), ("keys_per_request", 64),
            ("key_rows", 64), ("cache_pages", 64),
        ):
            value = getattr(self, name)
            if value is None:
                continue
            number = integer(f"capacity.{name}", value, bits)
            if number == 0 and name not in ("batch", "keys_per_request"):
                raise ValueError(
                    f"apus.AttentionPlan: capacity.{name} must be at least 1 or left out; found 0.")
            setattr(struct, name, number)
        return struct


def limits_of(capacity: Any) -> Any:
    """A capacity as a C structure; None for none."""
    if capacity is None:
        return None
    if not isinstance(capacity, PlanCapacity):
        raise ValueError(
            "apus.AttentionPlan: capacity must be an apus.PlanCapacity; found "
            f"{type(capacity).__name__}.")
    return capacity._struct()

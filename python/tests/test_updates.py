"""Plans with a capacity: updates of their batch, also under captured graphs."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import apus

HEADS, KV_HEADS, DIM, PAGE, PAGES = 4, 2, 32, 16, 24
BATCHES: list[list[int]] = [[40, 0, 90], [96, 96, 32], [], [1], [0, 0, 0], [17, 16, 15]]


def lists(lengths: list[int], turn: int = 0, **more: Any) -> dict[str, Any]:
    """A batch of one query row a request, in pages of its own order."""
    counts = [-(-n // PAGE) for n in lengths]
    total = sum(counts)
    return {
        "qo_indptr": list(range(len(lengths) + 1)),
        "page_indptr": [0, *np.cumsum(counts).tolist()],
        "page_indices": [(i * 7 + turn * 5) % PAGES for i in range(total)],
        "last_page_length": [(n - 1) % PAGE + 1 if n else 0 for n in lengths],
        **more,
    }


def capacity(**changes: Any) -> apus.PlanCapacity:
    return apus.PlanCapacity(
        **{"batch": 3, "keys_per_request": 96, "key_rows": 14, "cache_pages": PAGES, **changes})


def plan(
    lengths: list[int], device: str = "cpu", capacity: Any = None, **more: Any
) -> apus.AttentionPlan:
    return apus.AttentionPlan(
        device, qo_head_count=HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM, q_type="f16",
        page_size=PAGE, capacity=capacity, **{**lists(lengths), **more})


def tensors() -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    shapes = [(3, HEADS, DIM), *[(PAGES, PAGE, KV_HEADS, DIM)] * 2]
    return [rng.standard_normal(shape).astype(np.float16) for shape in shapes]


def test_an_updated_plan_computes_the_new_batch() -> None:
    q, k, v = tensors()
    updated = plan([5], capacity=capacity())
    assert updated.output_shape == (3, HEADS, DIM)
    for turn, lengths in enumerate(BATCHES):
        batch = lists(lengths, turn)
        assert updated.update(**batch) is updated
        out = np.full_like(q, 7)
        updated.run(q, k=k, v=v, out=out)
        rows = len(lengths)
        assert (out[rows:] == 7).all()
        if rows:
            wanted = plan(lengths, **batch).run(q[:rows], k=k, v=v)
            assert np.array_equal(out[:rows], wanted), lengths
    again = copy.deepcopy(updated)
    assert np.array_equal(again.run(q, k=k, v=v), updated.run(q, k=k, v=v))


def test_what_is_outside_of_the_capacity_changes_nothing() -> None:
    q, k, v = tensors()
    updated = plan([40, 3, 9], capacity=capacity())
    before = updated.run(q, k=k, v=v)
    for lengths, changes, words in (
        ([1] * 4, {}, "the batch must be within the plan's capacity, 3; found 4"),
        ([97], {}, "keys of a request must be within the capacity, 96; found 97 at request 0"),
        ([96, 96, 96], {}, "the pages in use must be within the capacity, 14; found 18"),
        ([1], {"page_indices": [PAGES]}, "page indices must be below the capacity's 24 pages"),
        ([1], {"qo_indptr": [0, 2]}, "query rows of a request must be within the capacity, 1"),
        ([1], {"page_indices": [-1]}, "page indices in use must be at least 0"),
    ):
        with pytest.raises(ValueError, match=words):
            updated.update(**lists(lengths, **changes))
        assert np.array_equal(updated.run(q, k=k, v=v), before)
    with pytest.raises(ValueError, match=r"update: changes must be of qo_indptr, .*; found causal"):
        updated.update(causal=True)
    with pytest.raises(ValueError, match="stream must be None for back end cpu"):
        updated.update(stream=3, **lists([1]))
    with pytest.raises(ValueError, match="the plan must have a capacity"):
        plan([5]).update(**lists([5]))


def test_capacities_are_checked() -> None:
    with pytest.raises(ValueError, match="capacity must be an apus.PlanCapacity; found int"):
        plan([5], capacity=3)
    with pytest.raises(ValueError, match="capacity.key_rows must be at least 1 or left out"):
        plan([5], capacity=capacity(key_rows=0))
    with pytest.raises(ValueError, match="capacity.batch must be an integer; found 'x'"):
        plan([5], capacity=capacity(batch="x"))
    with pytest.raises(ValueError, match="capacity.batch must be in 0…65536; found -1"):
        plan([], capacity=capacity(batch=-1))
    with pytest.raises(ValueError, match="keys of a request must be within the capacity, 4"):
        plan([5], capacity=capacity(keys_per_request=4))
    with pytest.raises(ValueError, match="must have no custom mask"):
        plan([5], capacity=capacity(), mask_bits=b"\x1f", mask_indptr=[0, 1])


def test_graphs_replay_with_each_batch(torch: Any, cuda: str) -> None:
    q, k, v = (torch.from_numpy(x).to(cuda) for x in tensors())
    updated = plan([5], cuda, capacity())
    out = torch.zeros_like(q)
    updated.run(q, k=k, v=v, out=out)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        updated.run(q, k=k, v=v, out=out)
    for turn, lengths in enumerate(BATCHES * 3):
        batch = lists(lengths, turn)
        out.fill_(7)
        updated.update(**batch)
        graph.replay()
        torch.cuda.synchronize()
        rows = len(lengths)
        assert (out[rows:] == 7).all()
        if rows == 0:
            continue
        # The same schedule, hence the same bits.
        wanted = plan(lengths, cuda, capacity(), **batch).run(q, k=k, v=v)
        assert torch.equal(out[:rows], wanted[:rows]), lengths
        other = plan(lengths, cuda, **batch).run(q[:rows], k=k, v=v)
        # Both round P and o to 11 bits: weights sum to 1 over values of at most 5.
        assert torch.allclose(out[:rows], other, rtol=2**-10, atol=5 * 2**-10), lengths


def test_updates_go_in_the_order_of_their_stream(torch: Any, cuda: str) -> None:
    q, k, v = (torch.from_numpy(x).to(cuda) for x in tensors())
    updated = plan([5], cuda, capacity())
    side = torch.cuda.Stream()
    results = []
    with torch.cuda.stream(side):
        for turn in range(40):
            updated.update(**lists([turn, 2 * turn, 11], turn))
            results.append(updated.run(q, k=k, v=v))
    side.synchronize()
    for turn, result in enumerate(results):
        batch = lists([turn, 2 * turn, 11], turn)
        wanted = plan([], cuda, capacity(), **batch).run(q, k=k, v=v)
        torch.cuda.synchronize()
        assert torch.equal(result, wanted), turn


def test_updates_are_refused_under_capture(torch: Any, cuda: str) -> None:
    q, k, v = (torch.from_numpy(x).to(cuda) for x in tensors())
    updated = plan([5], cuda, capacity())
    out = torch.zeros_like(q)
    updated.run(q, k=k, v=v, out=out)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        with pytest.raises(ValueError, match="the stream must not be under capture"):
            updated.update(**lists([6]))
        updated.run(q, k=k, v=v, out=out)

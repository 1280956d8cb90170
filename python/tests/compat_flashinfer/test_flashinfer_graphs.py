"""Decode wrappers of CUDA graphs: `plan` with other lengths between replays."""

import pytest
import torch
from flashinfer_reference import DEVICE, Batch, Options, workspace

import apus.compat.flashinfer as flashinfer

LENGTHS = [[20, 33], [1, 64], [0, 17], [64, 64], [16, 0]]
MODES = [{}, {"pos_encoding_mode": "ALIBI"}, {"window_left": 6}, {"logits_soft_cap": 2.5}]


def wrapper(batch_size=2, pages=8):
    buffers = [
        torch.zeros(n, dtype=torch.int32, device=DEVICE)
        for n in (batch_size + 1, pages, batch_size)
    ]
    return flashinfer.CUDAGraphBatchDecodeWithPagedKVCacheWrapper(workspace(), *buffers)


def plan(graph, batch, **options):
    graph.plan(
        *batch.lists, batch.qo_heads, batch.kv_heads, batch.dim, batch.page_size,
        q_data_type=batch.q_dtype, **options,
    )


def expected(options):
    names = {"pos_encoding_mode": "mode", "logits_soft_cap": "soft_cap"}
    return Options(**{names.get(k, k): v for k, v in options.items()})


@pytest.mark.parametrize("options", MODES, ids=str)
def test_plan_updates_the_captured_plan(options):
    graph = wrapper()
    plan(graph, Batch([1, 1], LENGTHS[0]), **options)
    kept = graph._planned()
    assert kept.is_updatable
    kept.was_captured = True
    for lengths in LENGTHS:
        batch = Batch([1, 1], lengths)
        plan(graph, batch, **options)
        assert graph._planned() is kept
        batch.check(graph.run_return_lse(batch.q, batch.pair), expected(options))


def test_the_buffers_are_the_capacity():
    graph = wrapper()
    plan(graph, Batch([1, 1], [20, 33]))
    kept = graph._planned()
    kept.was_captured = True
    with pytest.raises(ValueError, match="paged_kv_indices must fit its buffer of 8"):
        plan(graph, Batch([1, 1], [70, 70]))
    assert graph._planned() is kept
    # Another page size is another plan, which the graph does not know.
    with pytest.raises(NotImplementedError, match="after a CUDA graph captured"):
        plan(graph, Batch([1, 1], [20, 33], page_size=8))
    assert graph._planned() is kept
    plan(graph, Batch([1, 1], [3, 33]))
    assert graph._planned() is kept


@pytest.mark.skipif(DEVICE == "cpu", reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("options", MODES, ids=str)
def test_a_graph_replays_with_the_lengths_of_the_last_plan(options):
    graph = wrapper()
    first = Batch([1, 1], [64, 64])
    plan(graph, first, **options)
    q, out = first.q.clone(), torch.empty_like(first.q)
    caches = tuple(x.clone() for x in first.pair)
    graph.run(q, caches, out=out)
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.device(DEVICE), torch.cuda.graph(captured):
        _, lse = graph.run_return_lse(q, caches, out=out)
    for lengths in LENGTHS:
        batch = Batch([1, 1], lengths)
        plan(graph, batch, **options)
        q.copy_(batch.q)
        for cache, own in zip(caches, batch.pair):
            cache[: len(own)].copy_(own)
        captured.replay()
        torch.cuda.synchronize()
        batch.check((out, lse), expected(options))

"""Appends and rotations by lists on a device: no wait, and replays of a graph read them anew."""

import pytest
import torch
from flashinfer_reference import DEVICE

import apus.compat.flashinfer as flashinfer

pytestmark = pytest.mark.skipif(
    not DEVICE.startswith("cuda"), reason="needs APUS_TEST_DEVICE=cuda:0")
PAGE, HEADS, DIM = 4, 2, 64


class Step:
    """What an engine does with the new tokens of a batch, by lists that change between steps."""

    def __init__(self):
        self.indptr = torch.tensor([0, 2, 3], dtype=torch.int32)
        self.indices = torch.tensor([3, 1, 2], dtype=torch.int32)
        self.last = torch.tensor([4, 4], dtype=torch.int32)
        self.requests = torch.tensor([0, 1, 0, -1], dtype=torch.int32)
        self.positions = torch.tensor([5, 0, 6, 0], dtype=torch.int32)
        self.offsets = torch.tensor([5, 0], dtype=torch.int32)
        self.row_indptr = torch.tensor([0, 2, 4], dtype=torch.int32)
        self.rows = torch.randn(4, HEADS, DIM).half()
        self.cache = torch.zeros(5, 2, PAGE, HEADS, DIM, dtype=torch.float16)
        self.latent = torch.randn(4, 512).bfloat16(), torch.randn(4, 64).bfloat16()
        self.latent_cache = tuple(
            torch.zeros(5, PAGE, width, dtype=torch.bfloat16) for width in (512, 64))
        self.table = torch.randn(64, DIM)
        self.results = {}

    def __call__(self):
        lists = self.indices, self.indptr, self.last
        flashinfer.append_paged_kv_cache(
            self.rows, -self.rows, self.requests, self.positions, self.cache, *lists)
        flashinfer.append_paged_mla_kv_cache(
            *self.latent, self.requests, self.positions, *self.latent_cache, *lists)
        q, k = self.rows, self.rows[:, :1]
        flat = self.rows.flatten(1)
        for name, found in (
            ("offsets", flashinfer.apply_rope(q, k, self.row_indptr, self.offsets)),
            ("pos_ids", flashinfer.apply_rope_pos_ids(q, k, self.positions)),
            ("llama31", flashinfer.apply_llama31_rope_pos_ids(q, k, self.positions)),
            ("table", flashinfer.apply_rope_with_cos_sin_cache(
                self.positions.long(), flat, flat, DIM, self.table)),
        ):
            for part, tensor in zip("qk", found):
                self.results.setdefault(name + part, torch.empty_like(tensor)).copy_(tensor)

    def check(self):
        cache, latent = torch.zeros_like(self.cache), [
            torch.zeros_like(cache) for cache in self.latent_cache]
        pages = self.indices.tolist()
        starts = self.indptr.tolist()
        for token, (request, position) in enumerate(
            zip(self.requests.tolist(), self.positions.tolist())
        ):
            if request < 0:
                continue
            page, slot = pages[starts[request] + position // PAGE], position % PAGE
            cache[page, 0, slot], cache[page, 1, slot] = self.rows[token], -self.rows[token]
            for whole, rows in zip(latent, self.latent):
                whole[page, slot] = rows[token]
        assert torch.equal(self.cache, cache)
        assert all(torch.equal(a, b) for a, b in zip(self.latent_cache, latent))
        q, k = self.rows, self.rows[:, :1]
        host = self.positions.cpu()
        first = self.offsets.tolist()
        bounds = self.row_indptr.tolist()
        ragged = torch.cat([
            torch.arange(start, start + b - a, device="cpu")
            for start, a, b in zip(first, bounds, bounds[1:])])
        flat = self.rows.flatten(1)
        for name, wanted in (
            ("offsets", flashinfer.apply_rope_pos_ids(q, k, ragged)),
            ("pos_ids", flashinfer.apply_rope_pos_ids(q, k, host)),
            ("llama31", flashinfer.apply_llama31_rope_pos_ids(q, k, host)),
            ("table", flashinfer.apply_rope_with_cos_sin_cache(host, flat, flat, DIM, self.table)),
        ):
            for part, tensor in zip("qk", wanted):
                assert torch.equal(self.results[name + part], tensor), name + part

    def clear(self):
        for tensor in (self.cache, *self.latent_cache, *self.results.values()):
            tensor.zero_()


def test_nothing_waits():
    step = Step()
    step()
    torch.cuda.synchronize()
    step.clear()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    step.check()


def test_a_graph_reads_the_lists_at_each_replay():
    step = Step()
    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(DEVICE), torch.cuda.graph(graph):
        step()
    for requests, positions, offsets in (
        ([1, 0, 0, 1], [3, 7, 1, 2], [30, 2]), ([-1, 0, -1, 1], [9, 0, 9, 1], [0, 11])
    ):
        step.clear()
        step.requests.copy_(torch.tensor(requests))
        step.positions.copy_(torch.tensor(positions))
        step.offsets.copy_(torch.tensor(offsets))
        step.indices.copy_(step.indices.flip(0))
        graph.replay()
        torch.cuda.synchronize()
        step.check()

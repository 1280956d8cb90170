"""How programs use the interface: many calls, threads, compilation, a generation loop."""

import threading

import torch
from flashinfer_reference import Batch, Options, assert_close, attention, workspace

import apus.compat.flashinfer as flashinfer
from apus.compat.flashinfer import _uniform


def test_calls_of_one_shape_share_a_plan():
    _uniform._recent.clear()
    batch = Batch([1], [37])
    for _ in range(3):
        flashinfer.single_decode_with_kv_cache(batch.q[0], batch.k, batch.v)
    assert len(_uniform._recent) == 1
    for length in range(1, 38):
        o = flashinfer.single_decode_with_kv_cache(
            batch.q[0], batch.k[:length], batch.v[:length])
        e = attention(batch.q, batch.k[:length], batch.v[:length], Options(), torch.float16)
        assert_close("o", o.unsqueeze(0), e[0], e[1])
    assert len(_uniform._recent) == _uniform._CAPACITY


def test_threads_get_the_results_of_one():
    batch = Batch([1] * 3, [20, 0, 33])
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    wrapper.plan(*batch.lists, 4, 2, 64, 16)
    paged = wrapper.run(batch.q, batch.pair)
    single = flashinfer.single_decode_with_kv_cache(batch.q[0], batch.k, batch.v)
    failures = []

    def work():
        own = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
        own.plan(*batch.lists, 4, 2, 64, 16)
        for _ in range(50):
            found = flashinfer.single_decode_with_kv_cache(batch.q[0], batch.k, batch.v)
            again = own.run(batch.q, batch.pair)
            if not (torch.equal(found, single) and torch.equal(again, paged)):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_compiled_programs_give_the_same():
    batch = Batch([1] * 3, [20, 0, 33])
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())
    wrapper.plan(*batch.lists, 4, 2, 64, 16)

    def program(q, cache):
        return wrapper.run(q * 2, cache) + 1

    compiled = torch.compile(program, backend="eager")
    assert torch.equal(compiled(batch.q, batch.combined), program(batch.q, batch.combined))


def test_a_generation_step_by_step():
    """Prefill, then decode with append, against attention over everything so far."""
    page_size, heads, dim, prompt, steps = 4, (4, 2), 64, [5, 9], 6
    tokens = [n + steps for n in prompt]
    keys, values, queries = (
        [torch.randn(n, h, dim).to(torch.float16) for n in tokens]
        for h in (heads[1], heads[1], heads[0])
    )
    cache = torch.zeros(12, 2, page_size, heads[1], dim, dtype=torch.float16)
    free = torch.randperm(12).tolist()
    owned = [[], []]
    prefill = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace())
    decode = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace())

    def grow(lengths):
        for pages, length in zip(owned, lengths):
            while len(pages) * page_size < length:
                pages.append(free.pop())
        indptr = torch.tensor([0, len(owned[0]), len(owned[0]) + len(owned[1])])
        last = torch.tensor([n - (len(p) - 1) * page_size for n, p in zip(lengths, owned)])
        return indptr.int(), torch.tensor(owned[0] + owned[1]).int(), last.int()

    lengths = [0, 0]
    for step in range(steps + 1):
        new = prompt if step == 0 else [1, 1]
        start, lengths = lengths, [n + m for n, m in zip(lengths, new)]
        lists = grow(lengths)
        indptr = torch.tensor([0, new[0], sum(new)]).int()
        requests, positions = flashinfer.get_batch_indices_positions(
            indptr, flashinfer.get_seq_lens(lists[0], lists[2], page_size), sum(new))
        parts = [
            torch.cat([x[a:b] for x, a, b in zip(t, start, lengths)])
            for t in (queries, keys, values)
        ]
        flashinfer.append_paged_kv_cache(
            *parts[1:], requests, positions, cache, lists[1], lists[0], lists[2])
        if step == 0:
            prefill.plan(indptr, *lists, *heads, dim, page_size, causal=True)
            o = prefill.run(parts[0], cache)
        else:
            decode.plan(*lists, *heads, dim, page_size)
            o = decode.run(parts[0], cache)
        first = 0
        for r, (a, b) in enumerate(zip(start, lengths)):
            e = attention(
                queries[r][a:b], keys[r][:b], values[r][:b], Options(causal=True), torch.float16)
            assert_close(f"o of request {r}", o[first : first + b - a], e[0], e[1])
            first += b - a

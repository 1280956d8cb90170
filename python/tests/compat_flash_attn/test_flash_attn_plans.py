"""Plans are kept by what they depend on, and no more than a limit of them."""

import threading

import pytest
import torch
from flash_cases import agree, normal

from apus.compat.flash_attn import _plans, flash_attn_func, flash_attn_with_kvcache


def kept():
    return list(_plans._plans.values())


def test_layers_share_a_plan_and_lengths_do_not():
    _plans._plans.clear()
    lengths = torch.tensor([5, 9], dtype=torch.int32)
    for _ in range(3):
        q, k, v = normal(2, 1, 4, 32), normal(2, 12, 2, 32), normal(2, 12, 2, 32)
        flash_attn_with_kvcache(q, k, v, cache_seqlens=lengths)
        assert len(kept()) == 1
    # The list is read anew: a change in place is another problem.
    lengths += 1
    out = flash_attn_with_kvcache(q, k, v, cache_seqlens=lengths)
    assert len(kept()) == 2
    for r, length in enumerate((6, 10)):
        agree(out[r], None, q[r], k[r, :length], v[r, :length])


def test_entries_behind_the_last_block_make_no_difference():
    _plans._plans.clear()
    q, k, v = normal(1, 1, 4, 32), normal(4, 8, 2, 32), normal(4, 8, 2, 32)
    found = []
    for rest in (0, -1, 2147480000):
        table = torch.tensor([[3, 1, rest]], dtype=torch.int32)
        found.append(flash_attn_with_kvcache(q, k, v, cache_seqlens=10, block_table=table))
        assert len(kept()) == 1
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_the_oldest_plans_go():
    for length in range(1, _plans._LIMIT + 9):
        q = normal(1, length, 1, 8)
        flash_attn_func(q, q, q)
        assert len(kept()) <= _plans._LIMIT


def test_threads_share_them():
    q, k, v = normal(2, 3, 4, 32), normal(2, 7, 4, 32), normal(2, 7, 4, 32)
    expected = flash_attn_func(q, k, v, causal=True)
    results = []

    def work():
        for _ in range(20):
            results.append(flash_attn_func(q, k, v, causal=True))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80 and all(torch.equal(result, expected) for result in results)


def test_other_devices_are_refused():
    q = torch.empty(1, 1, 1, 8, device="meta")
    with pytest.raises((ValueError, NotImplementedError), match="meta"):
        flash_attn_func(q, q, q)

"""Writes into paged caches, and packed masks."""

import numpy as np
import pytest
import torch
from flashinfer_reference import Batch

import apus
import apus.compat.flashinfer as flashinfer

TYPES = [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


def bits(tensor):
    """Stored patterns, so that NaN equals NaN."""
    return tensor.contiguous().view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[
        tensor.dtype.itemsize])


def equal(a, b):
    return torch.equal(bits(a), bits(b))


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("page_size", [1, 16])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("is_pair", [True, False])
def test_appended_tokens_lie_where_attention_reads_them(layout, page_size, dtype, is_pair):
    kv_lengths, new = [20, 3, 0, 33], [4, 3, 0, 1]
    batch = Batch(
        new, kv_lengths, layout=layout, page_size=page_size, q_dtype=torch.float16, kv_dtype=dtype
    )
    lengths = torch.tensor(kv_lengths, dtype=torch.int32)
    assert torch.equal(
        flashinfer.get_seq_lens(batch.page_indptr, batch.last_page_len, page_size), lengths
    )
    padding = 2
    requests, positions = flashinfer.get_batch_indices_positions(
        batch.qo_indptr, lengths, 8 + padding
    )
    assert requests.tolist() == [0] * 4 + [1] * 3 + [3] + [-1] * padding
    assert positions.tolist() == [16, 17, 18, 19, 0, 1, 2, 32] + [0] * padding
    expected = [x.clone() for x in batch.pair]
    rows = torch.cat([
        torch.arange(int(end) - n, int(end)) for end, n in zip(batch.kv_indptr[1:], new)
    ])
    keys, values = (
        torch.cat((x[rows], x[:1].expand(padding, -1, -1))) for x in (batch.k, batch.v)
    )
    # The new tokens are erased first.
    for r, (length, count) in enumerate(zip(kv_lengths, new)):
        for t in range(length - count, length):
            page = int(batch.page_indices[int(batch.page_indptr[r]) + t // page_size])
            for cache in batch.pair:
                tokens = cache[page] if layout == "NHD" else cache[page].transpose(0, 1)
                tokens[t % page_size].fill_(0)
    cache = batch.pair if is_pair else batch.combined
    flashinfer.append_paged_kv_cache(
        keys, values, requests, positions, cache, batch.page_indices, batch.page_indptr,
        batch.last_page_len, layout,
    )
    found = cache if is_pair else cache.unbind(1)
    assert equal(found[0], expected[0]) and equal(found[1], expected[1])


@pytest.mark.parametrize("dtype", TYPES)
def test_latent_rows(dtype):
    ckv, kpe = (torch.zeros(4, 16, d).to(dtype) for d in (512, 64))
    new_ckv, new_kpe = (torch.randn(3, d).to(dtype) for d in (512, 64))
    indptr, indices = torch.tensor([0, 2, 3]), torch.tensor([3, 1, 0])
    flashinfer.append_paged_mla_kv_cache(
        new_ckv, new_kpe, torch.tensor([0, 0, 1]), torch.tensor([15, 16, 2]), ckv, kpe, indices,
        indptr, torch.tensor([1, 3]),
    )
    for cache, new in ((ckv, new_ckv), (kpe, new_kpe)):
        for row, slot in enumerate((cache[3, 15], cache[1, 0], cache[0, 2])):
            assert equal(slot, new[row])
        assert int((bits(cache) != 0).any(-1).sum()) == 3


def test_positions_into_buffers_of_the_caller():
    indptr, lengths = torch.tensor([0, 2, 2, 5]), torch.tensor([7, 0, 3])
    requests, positions = (torch.empty(6, dtype=torch.int32) for _ in range(2))
    result = flashinfer.get_batch_indices_positions(indptr, lengths, 6, requests, positions)
    assert result[0] is requests and result[1] is positions
    assert requests.tolist() == [0, 0, 2, 2, 2, -1] and positions.tolist() == [5, 6, 0, 1, 2, 0]
    with pytest.raises(ValueError, match="batch_indices must have the shape"):
        flashinfer.get_batch_indices_positions(indptr, lengths, 5, requests, positions)
    with pytest.raises(ValueError, match="lengths"):
        flashinfer.get_batch_indices_positions(indptr, lengths[:2], 5)


def test_what_is_refused(monkeypatch):
    # Lists on a device are checked on demand alone.
    monkeypatch.setattr(apus._device_lists, "checks_lists", True)
    batch = Batch([1], [5])
    arguments = [
        batch.k[:1], batch.v[:1], torch.tensor([0]), torch.tensor([4]), batch.pair,
        batch.page_indices, batch.page_indptr, batch.last_page_len,
    ]
    with pytest.raises(ValueError, match="the cache's dtype"):
        flashinfer.append_paged_kv_cache(batch.k[:1].to(torch.bfloat16), *arguments[1:])
    with pytest.raises(ValueError, match="kv_layout"):
        flashinfer.append_paged_kv_cache(*arguments, kv_layout="DHN")
    arguments[3] = torch.tensor([5])
    with pytest.raises(ValueError, match="position"):
        flashinfer.append_paged_kv_cache(*arguments)
    with pytest.raises(ValueError, match="kpe_cache"):
        flashinfer.append_paged_mla_kv_cache(*(torch.zeros(1, 8),) * 2, *arguments[2:4], None, None,
                                             *arguments[5:])


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_bits_are_those_of_numpy(order, count):
    flags = torch.rand(count) < 0.5
    expected = np.packbits(flags.cpu().numpy(), bitorder=order)
    for kind in (torch.bool, torch.uint8, torch.float32):
        found = flashinfer.packbits(flags.to(kind), order)
        assert np.array_equal(found.cpu().numpy(), expected)


@pytest.mark.parametrize("order", ["big", "little"])
def test_segments_start_on_bytes(order):
    lengths = [3, 0, 8, 17, 1]
    flags = torch.rand(sum(lengths)) < 0.5
    indptr = torch.tensor([0, 3, 3, 11, 28, 29], dtype=torch.int32)
    packed, offsets = flashinfer.segment_packbits(flags, indptr, order)
    assert offsets.tolist() == [0, 1, 1, 2, 5, 6] and offsets.dtype == torch.int32
    parts = [
        np.packbits(flags[a:b].cpu().numpy(), bitorder=order)
        for a, b in zip(indptr.tolist(), indptr.tolist()[1:])
    ]
    assert np.array_equal(packed.cpu().numpy(), np.concatenate(parts))
    with pytest.raises(ValueError, match="bitorder"):
        flashinfer.packbits(flags, "middle")

"""Padding and rotary helpers that engines import beside attention."""

import pytest
import torch
from flash_cases import DTYPES, normal

from apus.compat.flash_attn.bert_padding import (
    index_first_axis,
    index_first_axis_residual,
    index_put_first_axis,
    pad_input,
    unpad_input,
    unpad_input_for_concatenated_sequences,
)
from apus.compat.flash_attn.layers.rotary import (
    apply_rotary_emb,
    apply_rotary_emb_func,
    apply_rotary_emb_kv_,
    apply_rotary_emb_qkv_,
    apply_rotary_emb_torch,
)
from apus.compat.flash_attn.ops.triton.rotary import apply_rotary


def test_padding_and_back():
    x = normal(3, 5, 2, 4)
    mask = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]])
    rows, indices, bounds, longest, used = unpad_input(x, mask)
    assert indices.tolist() == [0, 1, 11, 12, 13, 14] and longest == 4
    assert bounds.tolist() == [0, 2, 2, 6] and bounds.dtype == torch.int32
    assert used.tolist() == [2, 0, 4] and used.dtype == torch.int32
    assert torch.equal(rows, x.flatten(0, 1)[indices])
    assert torch.equal(pad_input(rows, indices, 3, 5), x * mask[..., None, None])


def test_unused_rows_are_kept_but_not_counted():
    x = normal(2, 3, 4)
    mask, unused = torch.tensor([[1, 0, 0], [1, 1, 0]]), torch.tensor([[0, 1, 0], [0, 0, 0]])
    rows, indices, bounds, longest, used = unpad_input(x, mask, unused)
    assert indices.tolist() == [0, 1, 3, 4] and used.tolist() == [1, 2]
    assert bounds.tolist() == [0, 2, 4] and longest == 2 and rows.shape == (4, 4)


def test_several_sequences_in_a_row():
    x = normal(2, 6, 4)
    lengths = torch.tensor([[2, 3, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0]])
    rows, indices, bounds, longest = unpad_input_for_concatenated_sequences(x, lengths)
    assert indices.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert bounds.tolist() == [0, 2, 5, 9] and longest == 4
    assert torch.equal(rows, x.flatten(0, 1)[indices])


def test_rows_by_index_and_back():
    x, indices = normal(5, 2, 3), torch.tensor([4, 0, 2])
    rows = index_first_axis(x, indices)
    assert torch.equal(rows, x[indices])
    assert torch.equal(index_first_axis_residual(x, indices)[0], rows)
    again = index_put_first_axis(rows, indices, 5)
    assert torch.equal(again[indices], rows) and (again[[1, 3]] == 0).all()


def close(found, expected):
    """The same rotation in f32: two roundings apart at most, at the size of a row's numbers."""
    step = torch.finfo(found.dtype).eps
    assert ((found.double() - expected.double()).abs() <= step * (expected.abs().max() + 1)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("width", [32, 12])
@pytest.mark.parametrize("inplace", [False, True])
def test_rotary_embedding(dtype, interleaved, width, inplace):
    x = normal(2, 5, 3, 32, dtype=dtype)
    angles = torch.rand(16, width // 2) * 6
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    offsets = torch.tensor([0, 9])
    at = offsets[:, None] + torch.arange(5)
    expected = apply_rotary_emb_torch(
        x.double(), cos.double()[at], sin.double()[at], interleaved)
    before = x.clone()
    found = apply_rotary_emb(x, cos, sin, interleaved, inplace, seqlen_offsets=offsets)
    assert (found is x) == inplace and (inplace or torch.equal(x, before))
    close(found, expected)
    assert torch.equal(found[..., width:], before[..., width:])
    back = apply_rotary(
        found, cos, sin, seqlen_offsets=offsets, interleaved=interleaved, conjugate=True)
    assert (back.double() - before.double()).abs().max() <= 16 * torch.finfo(dtype).eps


def test_rotary_embedding_of_ragged_rows():
    x = normal(7, 2, 16)
    angles = torch.rand(12, 8)
    bounds = torch.tensor([0, 3, 3, 6], dtype=torch.int32)
    found = apply_rotary_emb_func(
        x, angles.cos(), angles.sin(), seqlen_offsets=torch.tensor([4, 0, 1]), cu_seqlens=bounds,
        max_seqlen=3)
    at = torch.tensor([4, 5, 6, 1, 2, 3])
    expected = apply_rotary_emb_torch(
        x[None, :6].double(), angles.cos().double()[at], angles.sin().double()[at])[0]
    close(found[:6], expected)
    assert torch.equal(found[6], x[6])


def test_rotary_embedding_of_packed_tensors():
    cos, sin = torch.rand(9, 8).cos(), torch.rand(9, 8).sin()
    packed = normal(2, 4, 3, 2, 16)
    before = packed.clone()
    assert apply_rotary_emb_qkv_(packed, cos, sin, seqlen_offsets=2) is packed
    for index in (0, 1):
        assert torch.equal(
            packed[:, :, index], apply_rotary_emb(before[:, :, index], cos, sin, seqlen_offsets=2))
    assert torch.equal(packed[:, :, 2], before[:, :, 2])
    heads = normal(2, 4, 2 + 2 * 1, 16)
    kept = heads.clone()
    apply_rotary_emb_qkv_(heads, cos, sin, cos_k=sin, sin_k=cos, num_heads_q=2)
    assert torch.equal(heads[:, :, :2], apply_rotary_emb(kept[:, :, :2], cos, sin))
    assert torch.equal(heads[:, :, 2:3], apply_rotary_emb(kept[:, :, 2:3], sin, cos))
    assert torch.equal(heads[:, :, 3], kept[:, :, 3])
    kv = before[:, :, 1:].clone()
    apply_rotary_emb_kv_(kv, cos, sin, seqlen_offsets=2)
    assert torch.equal(kv, packed[:, :, 1:])

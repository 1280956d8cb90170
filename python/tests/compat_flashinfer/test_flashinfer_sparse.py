"""Blocks of the matrix of queries and keys."""

import pytest
import torch
from flashinfer_reference import Options, assert_close, attention, workspace

import apus.compat.flashinfer as flashinfer


def random_blocks(rows, columns):
    chosen = torch.rand(rows, columns) < 0.5
    chosen[1] = False
    counts = chosen.sum(1)
    indptr = torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))
    return chosen, indptr.to(torch.int32), chosen.nonzero()[:, 1].to(torch.int32)


@pytest.mark.parametrize("size", [(4, 8), (1, 16), (16, 1)])
@pytest.mark.parametrize("heads", [(4, 2), (3, 3)])
@pytest.mark.parametrize("has_mask", [False, True])
def test_blocks_of_one_size(size, heads, has_mask):
    height, width = size
    rows, columns = 5, 6
    queries, keys = rows * height, columns * width
    chosen, indptr, indices = random_blocks(rows, columns)
    q = torch.randn(queries, heads[0], 64).to(torch.float16)
    k, v = (torch.randn(keys, heads[1], 64).to(torch.float16) for _ in range(2))
    visible = chosen.repeat_interleave(height, 0).repeat_interleave(width, 1)
    mask = None
    if has_mask:
        inner = torch.rand(queries, keys) < 0.7
        visible &= inner
        mask = torch.stack([
            inner[r * height : (r + 1) * height, c * width : (c + 1) * width]
            for r, c in chosen.nonzero().tolist()
        ])
    wrapper = flashinfer.BlockSparseAttentionWrapper(workspace())
    wrapper.plan(indptr, indices, queries, keys, height, width, *heads, 64, mask=mask)
    result = wrapper.run(q, k, v, return_lse=True)
    e = attention(q, k, v, Options(mask=visible), torch.float16)
    assert_close("o", result[0], e[0], e[1])
    assert_close("lse", result[1], e[2], e[3])
    assert torch.equal(wrapper.forward(q, k, v), result[0])


def test_blocks_of_any_size():
    heads, group = 2, 3
    row_sizes = torch.tensor([[3, 0, 4], [2, 5, 0]])
    column_sizes = torch.tensor([[8, 1, 7], [4, 4, 8]])
    chosen = torch.rand(heads, 3, 3) < 0.6
    q = torch.randn(heads * group, 7, 64).to(torch.float16)
    k, v = (torch.randn(heads, 16, 64).to(torch.float16) for _ in range(2))
    wrapper = flashinfer.VariableBlockSparseAttentionWrapper(workspace())
    wrapper.plan(chosen, row_sizes, column_sizes, heads * group, heads, 64)
    o, lse = wrapper.run(q, k, v, return_lse=True)
    for head in range(heads):
        visible = chosen[head].repeat_interleave(row_sizes[head], 0)
        visible = visible.repeat_interleave(column_sizes[head], 1)
        part = slice(head * group, (head + 1) * group)
        e = attention(
            q[part].transpose(0, 1), k[head].unsqueeze(1), v[head].unsqueeze(1),
            Options(mask=visible), torch.float16,
        )
        assert_close("o", o[part].transpose(0, 1), e[0], e[1])
        assert_close("lse", lse[part].T, e[2], e[3])


def test_what_is_refused():
    wrapper = flashinfer.BlockSparseAttentionWrapper(workspace())
    indptr, indices = torch.tensor([0, 1, 2]), torch.tensor([0, 3])
    x = torch.zeros(8, 2, 64, dtype=torch.float16)
    with pytest.raises(ValueError, match="come before"):
        wrapper.run(x, x, x)
    with pytest.raises(ValueError, match="below N / C = 2"):
        wrapper.plan(indptr, indices, 8, 8, 4, 4, 2, 2, 64)
    with pytest.raises(ValueError, match="divide"):
        wrapper.plan(indptr, indices, 8, 9, 4, 4, 2, 2, 64)
    with pytest.raises(ValueError, match="M / R"):
        wrapper.plan(indptr, indices, 12, 16, 4, 4, 2, 2, 64)
    with pytest.raises(NotImplementedError, match="block_mask"):
        wrapper.plan(indptr, indices, 8, 16, 4, 4, 2, 2, 64, block_mask=torch.ones(2))
    variable = flashinfer.VariableBlockSparseAttentionWrapper(workspace())
    with pytest.raises(ValueError, match="come before"):
        variable.run(x, x, x)
    with pytest.raises(ValueError, match="block_mask_map"):
        variable.plan(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2), 2, 2, 64)

"""Norms, activations, sampling and top-k on torch operations."""

import math

import pytest
import torch
from flashinfer_reference import F32, assert_close, smallest, unit

import apus.compat.flashinfer as flashinfer

TYPES = [torch.float16, torch.bfloat16, torch.float32]
E4M3 = torch.float8_e4m3fn


def bound(expected, dtype, roundings, size=None):
    """Roundings in f32 at a size, then one to the type."""
    inner = roundings * F32 * (expected.abs() if size is None else size)
    return inner + unit(dtype) * (expected.abs() + inner) + smallest(dtype)


def rms(x, weight, eps, bias=0.0):
    x, weight = x.to(torch.float64), weight.to(torch.float64)
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * (weight + bias)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_norms_by_the_root_mean_square(dtype, bias):
    x, residual = (torch.randn(5, 96).to(dtype) for _ in range(2))
    weight = torch.randn(96).to(dtype)
    plain, fused = (
        (flashinfer.gemma_rmsnorm, flashinfer.gemma_fused_add_rmsnorm) if bias
        else (flashinfer.rmsnorm, flashinfer.fused_add_rmsnorm)
    )
    expected = rms(x, weight, 1e-5, bias)
    found = plain(x, weight, 1e-5)
    assert found.dtype == dtype
    assert_close("norm", found, expected, bound(expected, dtype, 128))
    out = torch.empty_like(x)
    assert plain(x, weight, 1e-5, out=out) is out and torch.equal(out, found)
    total = x.to(torch.float64) + residual.to(torch.float64)
    fused(x, residual, weight, 1e-5)
    assert_close("residual", residual, total, bound(total, dtype, 2))
    expected = rms(total, weight, 1e-5, bias)
    # The sum that is normalised has been rounded to f32.
    assert_close("norm", x, expected, bound(expected, dtype, 128))


def test_norms_into_eight_bits():
    x, residual = (torch.randn(5, 96).to(torch.bfloat16) for _ in range(2))
    weight, beta, scale = torch.randn(96), torch.randn(96), torch.tensor([0.25])
    out = torch.empty(5, 96).to(E4M3)
    flashinfer.rmsnorm_quant(out, x, weight, scale)
    expected = (rms(x, weight, 1e-6) / 0.25).clamp(-448, 448)
    assert_close("quant", out, expected, bound(expected, E4M3, 128))
    flashinfer.layernorm_quant(out, x, weight, beta, scale)
    layer = torch.nn.functional.layer_norm(
        x.double(), (96,), weight.double(), beta.double(), 1e-6
    )
    size = layer.abs() + beta.abs() + weight.abs()
    assert_close("quant", out, layer / 0.25, bound(layer / 0.25, E4M3, 256, size / 0.25))
    found = flashinfer.layernorm(x, weight, beta)
    assert_close("layernorm", found, layer, bound(layer, torch.bfloat16, 256, size))
    total = x.double() + residual.double()
    flashinfer.fused_add_rmsnorm_quant(out, x, residual, weight, scale)
    expected = (rms(total, weight, 1e-6) / 0.25).clamp(-448, 448)
    assert_close("quant", out, expected, bound(expected, E4M3, 128))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["silu_and_mul", "gelu_and_mul", "gelu_tanh_and_mul"])
def test_gated_activations(dtype, name):
    x = torch.randn(3, 5, 64).to(dtype)
    gate, value = x.to(torch.float64).chunk(2, -1)
    if name == "silu_and_mul":
        expected = gate / (1 + (-gate).exp()) * value
    elif name == "gelu_and_mul":
        expected = gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2))) * value
    else:
        inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
        expected = gate * 0.5 * (1 + torch.tanh(inner)) * value
    found = getattr(flashinfer, name)(x)
    # 1 + erf and 1 + tanh cancel: the error is that of numbers of the size of gate · value.
    assert_close(name, found, expected, bound(expected, dtype, 16, (gate * value).abs()))
    out = torch.empty_like(found)
    assert getattr(flashinfer, name)(x, out=out) is out and torch.equal(out, found)
    with pytest.raises(ValueError, match="even"):
        getattr(flashinfer, name)(x[..., :63])


def test_softmax_with_temperatures():
    logits = torch.randn(4, 50)
    for temperature in (None, 0.7, torch.rand(4) + 0.5):
        column = 1 if temperature is None else torch.as_tensor(temperature).view(-1, 1)
        expected = (logits.double() / column).softmax(-1)
        found = flashinfer.softmax(logits, temperature)
        assert_close("softmax", found, expected, 64 * F32 * expected)


CASES = [
    ("sampling_from_probs", (), [{0, 1, 2, 3}, {0, 1, 2, 3}]),
    ("top_p_sampling_from_probs", (0.65,), [{0, 1}, None]),
    ("top_k_sampling_from_probs", (2,), [{0, 1}, {0, 1, 2, 3}]),
    ("min_p_sampling_from_probs", (0.6,), [{0, 1}, {0, 1, 2, 3}]),
    ("top_k_top_p_sampling_from_probs", (3, 0.6), [{0, 1}, None]),
]


@pytest.fixture
def probs(seed):
    return torch.tensor([[0.4, 0.3, 0.2, 0.1, 0.0], [0.25, 0.25, 0.25, 0.25, 0.0]])


@pytest.mark.parametrize("name, limits, allowed", CASES)
@pytest.mark.parametrize("is_tensor", [False, True])
def test_samples_lie_in_their_sets(probs, name, limits, allowed, is_tensor):
    count = 2000
    indices = torch.arange(2, dtype=torch.int64).repeat_interleave(count)
    if is_tensor:
        limits = tuple(torch.full((2 * count,), x) for x in limits)
    sample = getattr(flashinfer, name)
    found, valid = sample(probs, *limits, indices=indices, return_valid=True, check_nan=True)
    assert found.dtype == torch.int64 and valid.all()
    for row in range(2):
        drawn = found[indices == row]
        if allowed[row] is None:
            assert len(set(drawn.tolist())) == 3
            continue
        assert set(drawn.tolist()) == allowed[row]
        weights = probs[row][sorted(allowed[row])].double()
        wanted = weights / weights.sum() * count
        counts = torch.bincount(drawn, minlength=5)[sorted(allowed[row])]
        # Six standard deviations of a binomial count.
        assert ((counts - wanted).abs() <= 6 * wanted.sqrt()).all()
    assert sample(probs, *(x[:2] if is_tensor else x for x in limits)).dtype == torch.int32
    one = sample(probs[:1], *(x[:1] if is_tensor else x for x in limits))
    assert set(one.tolist()) <= {0, 1, 2, 3}
    with pytest.raises(ValueError, match="NaN"):
        sample(probs * math.nan, *limits, check_nan=True)


def test_samples_repeat_by_seed_and_by_generator():
    probs = torch.rand(64, 1000).softmax(-1)
    first = flashinfer.sampling_from_probs(probs, seed=7, offset=3)
    assert torch.equal(first, flashinfer.sampling_from_probs(probs, seed=7, offset=3))
    assert not torch.equal(first, flashinfer.sampling_from_probs(probs, seed=7, offset=4))
    results = []
    for _ in range(2):
        generator = torch.Generator(probs.device).manual_seed(5)
        results.append(flashinfer.sampling_from_logits(probs.log(), generator=generator))
    assert torch.equal(*results)


def test_limits_by_order(probs):
    logits = probs.log()
    for order in ("top_k_first", "joint"):
        drawn = flashinfer.top_k_top_p_sampling_from_logits(
            logits[:1].expand(500, -1), 2, 0.5, filter_apply_order=order
        )
        # 0.4 of 0.7 reaches half; 0.4 of 1 does not.
        assert set(drawn.tolist()) == ({0} if order == "top_k_first" else {0, 1})
    with pytest.raises(ValueError, match="filter_apply_order"):
        flashinfer.top_k_top_p_sampling_from_probs(probs, 2, 0.5, filter_apply_order="last")


def test_renormalised_and_masked(probs):
    found = flashinfer.top_k_renorm_probs(probs, torch.tensor([2, 1]))
    expected = torch.tensor([[4 / 7, 3 / 7, 0, 0, 0], [0.25] * 4 + [0.0]]).double()
    assert_close("top_k", found, expected, 8 * F32 * expected)
    found = flashinfer.top_p_renorm_probs(probs[:1], 0.65)
    assert_close("top_p", found, expected[:1], 8 * F32 * expected[:1])
    masked = flashinfer.top_k_mask_logits(probs[:1], 2)
    assert masked.tolist() == [[*probs[0, :2].tolist(), -math.inf, -math.inf, -math.inf]]


def test_top_k_is_that_of_torch():
    x = torch.randn(4, 100)
    values, indices = flashinfer.top_k(x, 7, sorted=True)
    expected = torch.topk(x, 7)
    assert torch.equal(values, expected.values) and torch.equal(indices, expected.indices)
    ties = torch.tensor([[1.0, 2.0, 2.0, 2.0]])
    assert flashinfer.top_k(ties, 2, tie_break=1)[1].tolist() == [[1, 2]]
    large = flashinfer.TopKTieBreak.LARGE
    assert flashinfer.top_k(ties, 2, tie_break=large)[1].tolist() == [[3, 2]]
    with pytest.raises(ValueError, match="k must be"):
        flashinfer.top_k(x, 101)


def test_speculative_samples():
    draft = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]).expand(3000, 2, 3)
    ids = torch.tensor([[0, 1]]).expand(3000, 2)
    target = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    accepted, emitted = (torch.ones(3000, dtype=torch.int32) for _ in range(2))
    tokens, first, second = flashinfer.chain_speculative_sampling(
        draft, ids, target.expand(3000, 3, 3), accepted, emitted
    )
    assert first is accepted and second is emitted
    counts = emitted - 1
    # Half of the first tokens are refused: then only class 2 has more in the target.
    assert abs(int((counts == 0).sum()) - 1500) <= 6 * math.sqrt(750)
    refused = tokens[counts == 0]
    assert (refused == torch.tensor([2, -1, -1])).all()
    assert (tokens[counts == 2] == torch.tensor([0, 1, 2])).all()
    assert ((counts == 0) | (counts == 2)).all() and (accepted - 1 >= counts).all()

"""Hugging Face transformers on Apus: logits of small random models beside float64 and sdpa."""

import copy
import math
import re

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from apus.integrations.transformers import PagedCache, attention, register  # noqa: E402

register()

SMALL = dict(
    vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1,
    eos_token_id=2, pad_token_id=0)


def llama(dtype=torch.float32, **options):
    config = transformers.LlamaConfig(**SMALL, **options)
    return transformers.LlamaForCausalLM(config).to(dtype).eval()


def tokens(batch, length):
    return torch.randint(3, 97, (batch, length))


def logits(model, implementation, ids, **options):
    model.set_attn_implementation(implementation)
    with torch.inference_mode():
        return model(ids, **options).logits


def exact(model, ids, implementation="sdpa", **options):
    """Logits of the same weights in float64."""
    wide = copy.deepcopy(model).double()
    if hasattr(wide, "set_experts_implementation"):
        # Grouped products have no float64.
        wide.set_experts_implementation("eager")
    return logits(wide, implementation, ids, **options)


def near(found, other, expected):
    """At most twice as far from float64 as the model's own attention, plus one rounding."""
    assert found.dtype == other.dtype
    rounding = torch.finfo(found.dtype).eps / 2 / math.sqrt(3) * expected.norm()
    error, limit = (found.double() - expected).norm(), (other.double() - expected).norm()
    assert torch.isfinite(found).all()
    assert error <= 2 * limit + rounding, f"{error.item()} beside {limit.item()}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_prefill(dtype):
    model, ids = llama(dtype), tokens(2, 37)
    near(logits(model, "apus", ids), logits(model, "sdpa", ids), exact(model, ids))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("page", [1, 4, 16])
def test_steps_over_the_paged_cache(dtype, page):
    model, ids = llama(dtype), tokens(3, 30)
    model.set_attn_implementation("apus")
    cache = PagedCache(model.config, page_size=page)
    # A prompt, a second part of it, then one token after the other.
    parts = [ids[:, :11], ids[:, 11:19]] + [ids[:, i : i + 1] for i in range(19, 30)]
    found = []
    for part in parts:
        found.append(logits(model, "apus", part, past_key_values=cache))
    assert cache.get_seq_length() == 30
    near(torch.cat(found, 1), logits(model, "sdpa", ids), exact(model, ids))
    k, v = cache.layers[0].gather()
    assert k.shape == v.shape == (3, 2, 30, 16) and k.dtype == dtype


def test_padding_on_the_left():
    model, ids = llama(), tokens(3, 21)
    mask = torch.ones_like(ids)
    mask[0, :9], mask[2, :1] = 0, 0
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    options = dict(attention_mask=mask, position_ids=positions)
    seen = mask.bool()
    found, own, wide = (
        logits(model, "apus", ids, **options), logits(model, "sdpa", ids, **options),
        exact(model, ids, **options))
    near(found[seen], own[seen], wide[seen])


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("padded", [False, True])
def test_generated_tokens_are_those_of_sdpa(beams, padded):
    model, ids = llama(), tokens(2, 13)
    mask = torch.ones_like(ids)
    if padded:
        mask[0, :6] = 0
    options = dict(
        attention_mask=mask, max_new_tokens=20, do_sample=False, num_beams=beams, pad_token_id=0)
    model.set_attn_implementation("sdpa")
    expected = model.generate(ids, **options)
    model.set_attn_implementation("apus")
    cache = PagedCache(model.config, page_size=8)
    assert torch.equal(model.generate(ids, past_key_values=cache, **options), expected)
    assert torch.equal(model.generate(ids, **options), expected)
    assert torch.equal(model.generate(ids, cache_implementation="static", **options), expected)


def test_sliding_window():
    config = transformers.MistralConfig(**SMALL, sliding_window=5)
    model, ids = transformers.MistralForCausalLM(config).eval(), tokens(2, 23)
    expected, own = exact(model, ids), logits(model, "sdpa", ids)
    near(logits(model, "apus", ids), own, expected)
    model.set_attn_implementation("apus")
    cache = PagedCache(model.config, page_size=4)
    steps = [logits(model, "apus", part, past_key_values=cache) for part in ids.split(1, 1)]
    near(torch.cat(steps, 1), own, expected)


def test_a_window_without_a_mask():
    from flash_cases import agree

    model = llama()
    module = model.model.layers[0].self_attn
    q, k, v = torch.randn(2, 4, 9, 16), torch.randn(2, 2, 9, 16), torch.randn(2, 2, 9, 16)
    out, weights = attention(module, q, k, v, None, scaling=0.2, sliding_window=3)
    assert weights is None and out.shape == (2, 9, 4, 16)
    for r in range(2):
        rows = [x[r].transpose(0, 1) for x in (q, k, v)]
        agree(out[r], None, *rows, causal=True, window=(2, -1), scale=0.2)


def test_soft_cap():
    config = transformers.Gemma2Config(
        **SMALL, head_dim=16, query_pre_attn_scalar=16, attn_logit_softcapping=0.5,
        sliding_window=7)
    model, ids = transformers.Gemma2ForCausalLM(config).eval(), tokens(2, 19)
    near(logits(model, "apus", ids), logits(model, "eager", ids), exact(model, ids, "eager"))


def test_sinks():
    config = transformers.GptOssConfig(
        **SMALL, head_dim=16, num_local_experts=2, num_experts_per_tok=1, sliding_window=6,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0})
    model, ids = transformers.GptOssForCausalLM(config).eval(), tokens(2, 19)
    for layer in model.model.layers:
        layer.self_attn.sinks.data.normal_(2.0)
    near(logits(model, "apus", ids), logits(model, "eager", ids), exact(model, ids, "eager"))


def test_bidirectional_encoder():
    config = transformers.BertConfig(
        vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4)
    model, ids = transformers.BertModel(config).eval(), tokens(2, 15)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    results = {}
    for implementation in ("apus", "sdpa"):
        model.set_attn_implementation(implementation)
        with torch.inference_mode():
            results[implementation] = model(ids, attention_mask=mask).last_hidden_state[mask.bool()]
    wide = copy.deepcopy(model).double()
    wide.set_attn_implementation("sdpa")
    with torch.inference_mode():
        expected = wide(ids, attention_mask=mask).last_hidden_state[mask.bool()]
    near(results["apus"], results["sdpa"], expected)


def test_masks_of_four_dimensions():
    model, ids = llama(), tokens(2, 9)
    seen = torch.rand(2, 1, 9, 9).round().bool() | torch.eye(9, dtype=torch.bool)
    hidden = torch.zeros(2, 1, 9, 9).masked_fill(~seen, torch.finfo(torch.float32).min)
    expected = exact(model, ids, attention_mask=hidden.double())
    own = logits(model, "sdpa", ids, attention_mask=hidden)
    near(logits(model, "apus", ids, attention_mask=seen), own, expected)
    near(logits(model, "apus", ids, attention_mask=hidden), own, expected)


def test_cache_of_requests_that_come_and_go():
    model, ids = llama(), tokens(3, 12)
    model.set_attn_implementation("apus")
    cache = PagedCache(model.config, page_size=4)
    logits(model, "apus", ids, past_key_values=cache)
    before = cache.layers[1].gather()
    cache.reorder_cache(torch.tensor([2, 2, 0]))
    cache.crop(-3)
    cache.batch_select_indices(torch.tensor([True, False, True]))
    cache.batch_repeat_interleave(2)
    order = [2, 2, 0, 0]
    for old, new in zip(before, cache.layers[1].gather()):
        assert torch.equal(new, old[order][:, :, :9])
    follow = tokens(4, 5)
    found = logits(model, "apus", follow, past_key_values=cache)
    whole = torch.cat([ids[order][:, :9], follow], 1)
    near(found, logits(model, "sdpa", whole)[:, 9:], exact(model, whole)[:, 9:])
    cache.reset()
    assert cache.get_seq_length() == 0
    model.set_attn_implementation("apus")
    fresh = PagedCache(model.config, page_size=4)
    again = logits(model, "apus", ids, past_key_values=cache)
    assert torch.equal(again, logits(model, "apus", ids, past_key_values=fresh))


def test_compiled_models_break_their_graphs_at_attention():
    model, ids = llama(), tokens(2, 7)
    model.set_attn_implementation("apus")
    compiled = torch.compile(model, backend="eager")
    cache = PagedCache(model.config, page_size=4)
    with torch.no_grad():
        found = [compiled(part, past_key_values=cache).logits for part in (ids[:, :6], ids[:, 6:])]
    torch.compiler.reset()
    near(torch.cat(found, 1), logits(model, "sdpa", ids), exact(model, ids))


def test_pages_are_for_attention_alone():
    model = llama()
    model.set_attn_implementation("apus")
    cache = PagedCache(model.config)
    states = torch.randn(1, 2, 3, 16)
    keys, values = cache.update(states, states, 0)
    assert keys.shape == values.shape == (1, 2, 3, 16) and keys.dtype == states.dtype
    message = re.escape("PagedCache: its keys and values must go straight to attention; found ")
    for use in (lambda: keys + 1, lambda: torch.matmul(values, keys), lambda: keys[:, :1]):
        with pytest.raises(NotImplementedError, match=f"^{message}"):
            use()
    module = model.model.layers[0].self_attn
    query = torch.randn(1, 4, 3, 16)
    with torch.inference_mode(), pytest.raises(
        NotImplementedError, match="keys of a PagedCache must come as it returned them"
    ):
        attention(module, query, keys.data, values.data, None)


def refused(kind, message, function, *arguments, **options):
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        function(*arguments, **options)


def test_refusals():
    model, ids = llama(), tokens(2, 5)
    name = "apus.integrations.transformers.attention: "
    model.set_attn_implementation("apus")
    refused(NotImplementedError, name + "inputs must not require gradients", model, ids)
    cache = PagedCache(model.config)
    model.set_attn_implementation("sdpa")
    sentence = "PagedCache: the model's attn_implementation must be one that register() named"
    refused(ValueError, sentence, PagedCache, model.config)
    refused(ValueError, sentence, logits, model, "sdpa", ids, past_key_values=cache)
    model.set_attn_implementation("apus")
    refused(
        ValueError, "PagedCache: page_size must be at least 1; found 0.", PagedCache, model.config,
        0)
    q = torch.randn(2, 4, 3, 16)
    module = model.model.layers[0].self_attn
    refused(
        NotImplementedError, name + "dropout_p must be 0", attention, module, q, q, q, None, 0.1)
    refused(
        NotImplementedError, name + "attention_mask must be the same for all heads; found 4 heads.",
        attention, module, q, q, q, torch.ones(2, 4, 3, 3, dtype=torch.bool))
    refused(
        ValueError, name + "attention_mask must be (2, 1, 3, 3); found shape (2, 1, 3, 2).",
        attention, module, q, q, q, torch.ones(2, 1, 3, 2, dtype=torch.bool))
    refused(
        NotImplementedError, name + "attention_mask must hide keys or leave them, without a bias; "
        "found other numbers.", attention, module, q, q, q, torch.full((2, 1, 3, 3), -1.0))
    refused(
        NotImplementedError, name + "output_attentions must be False; found True.", attention,
        module, q, q, q, None, output_attentions=True)
    refused(
        NotImplementedError, name + "position_bias must be None; found a tensor.", attention,
        module, q, q, q, None, position_bias=q)


@pytest.mark.parametrize("release", [2, 3])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("window", [None, 4])
def test_transformers_own_caller_of_flash_attention(release, padded, window, monkeypatch):
    utils = pytest.importorskip("transformers.modeling_flash_attention_utils")
    if not hasattr(utils, "_lazy_imports"):
        pytest.skip("this release of transformers finds FlashAttention in another way")
    from apus.compat import flash_attn
    from apus.compat.flash_attn import bert_padding, hopper

    module = flash_attn if release == 2 else hopper
    functions = (
        module.flash_attn_func, module.flash_attn_varlen_func, module.flash_attn_with_kvcache,
        bert_padding.pad_input, bert_padding.unpad_input)
    monkeypatch.setattr(utils, "_lazy_imports", lambda *args, **kwargs: functions)
    monkeypatch.setattr(utils, "_loaded_implementation", None)
    q, k, v = torch.randn(2, 9, 4, 16), torch.randn(2, 9, 2, 16), torch.randn(2, 9, 2, 16)
    mask = torch.ones(2, 9, dtype=torch.long)
    if padded:
        mask[1, 6:] = 0
    found = utils._flash_attention_forward(
        q, k, v, mask if padded else None, 9, is_causal=True, sliding_window=window,
        attn_implementation=f"flash_attention_{release}")
    from flash_cases import agree

    for r, length in enumerate(mask.sum(-1).tolist()):
        # Its window is symmetric; causal cuts what lies ahead.
        agree(found[r, :length], None, q[r, :length], k[r, :length], v[r, :length], causal=True,
              window=(-1, -1) if window is None else (window - 1, window - 1))
        assert (found[r, length:] == 0).all()
    monkeypatch.setattr(utils, "_loaded_implementation", None)

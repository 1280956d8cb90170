"""A Llama-style model of random weights in Hugging Face transformers, on Apus.

    python transformers_generate.py [--device cuda] [--dtype bfloat16]

The logits of a prompt beside those of transformers' own attention, then tokens one by one over a
paged KV cache.
"""

import argparse
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from apus.integrations.transformers import PagedCache, register


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    torch.manual_seed(0)

    config = LlamaConfig(
        vocab_size=1000, hidden_size=256, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=2048)
    model = LlamaForCausalLM(config).to(options.device, getattr(torch, options.dtype)).eval()
    prompt = torch.randint(3, 1000, (2, 40), device=options.device)

    register()
    logits = {}
    for implementation in ("sdpa", "apus"):
        model.set_attn_implementation(implementation)
        with torch.inference_mode():
            logits[implementation] = model(prompt).logits.float()
    gap = (logits["apus"] - logits["sdpa"]).abs().max().item()
    print(f"greatest difference of logits: {gap:.1e} of {logits['sdpa'].abs().max().item():.2f}")

    cache = PagedCache(model.config, page_size=16)
    start = time.perf_counter()
    tokens = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), past_key_values=cache, do_sample=False,
        max_new_tokens=options.tokens, pad_token_id=0)
    elapsed = time.perf_counter() - start
    print(f"{options.tokens} tokens in {elapsed:.2f} s over {cache.layers[0].table.size} pages")
    print(tokens[0, prompt.shape[1]:].tolist())


if __name__ == "__main__":
    main()

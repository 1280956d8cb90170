"""For users of FlashInfer: one import changes, the program stays.

    python flashinfer_users.py [--device cuda]

With the wheel apus-shims installed even the import stays `import flashinfer`.
"""

import argparse

import torch

from apus.compat import flashinfer


def padded_decode(device: str) -> None:
    """A step over a padded FP8 cache of 16 requests."""
    q = torch.empty(16, 32, 128, device=device, dtype=torch.float16).normal_()
    k_padded = torch.randn(16, 1024, 32, 128, device=device).to(torch.float8_e4m3fn)
    v_padded = torch.randn(16, 1024, 32, 128, device=device).to(torch.float8_e4m3fn)
    output = flashinfer.batch_decode_with_padded_kv_cache(q, k_padded, v_padded, "NHD", "NONE")
    print("padded decode:", tuple(output.shape), output.dtype)


def paged_decode(device: str) -> None:
    """A step over a paged cache: plan once, run for every layer."""
    layers, heads, kv_heads, dim, page, pages = 2, 32, 8, 128, 16, 24
    lengths = torch.tensor([100, 7, 256])
    counts = -(-lengths // page)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).int().to(device)
    indices = torch.randperm(pages)[: int(counts.sum())].int().to(device)
    last = ((lengths - 1) % page + 1).int().to(device)
    workspace = torch.empty(16 << 20, dtype=torch.uint8, device=device)
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD")
    wrapper.plan(
        indptr, indices, last, heads, kv_heads, dim, page, q_data_type=torch.bfloat16,
        kv_data_type=torch.bfloat16)
    for _ in range(layers):
        q = torch.randn(3, heads, dim, device=device, dtype=torch.bfloat16)
        cache = torch.randn(pages, 2, page, kv_heads, dim, device=device, dtype=torch.bfloat16)
        output = wrapper.run(q, cache)
    print("paged decode:", tuple(output.shape), output.dtype)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    torch.manual_seed(0)
    padded_decode(device)
    paged_decode(device)


if __name__ == "__main__":
    main()

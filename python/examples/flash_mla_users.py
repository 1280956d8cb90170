"""For users of FlashMLA: one import changes, the program stays.

    python flash_mla_users.py [--device cuda]

With the wheel apus-shims installed even the import stays `from flash_mla import …`.
"""

import argparse

import torch

from apus.compat.flash_mla import flash_mla_with_kvcache, get_mla_metadata


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    torch.manual_seed(0)

    num_layers, b, s_q, h_q, h_kv, d, dv, page = 2, 4, 2, 16, 1, 576, 512, 64
    cache_seqlens = torch.tensor([100, 1, 64, 300], dtype=torch.int32, device=device)
    blocks = -(-int(cache_seqlens.max()) // page)
    block_table = torch.randperm(b * blocks, dtype=torch.int32).view(b, blocks).to(device)

    tile_scheduler_metadata, num_splits = get_mla_metadata(cache_seqlens, s_q * h_q // h_kv, h_kv)
    for i in range(num_layers):
        q_i = (torch.randn(b, s_q, h_q, d, device=device) / 10).bfloat16()
        kvcache_i = (torch.randn(b * blocks, page, h_kv, d, device=device) / 10).bfloat16()
        o_i, lse_i = flash_mla_with_kvcache(
            q_i, kvcache_i, block_table, cache_seqlens, dv, tile_scheduler_metadata, num_splits,
            causal=True)
        print(f"layer {i}: out {tuple(o_i.shape)} {o_i.dtype}, lse {tuple(lse_i.shape)}")


if __name__ == "__main__":
    main()

"""FlashMLA's FP8 cache rows, widened to bfloat16.

- 656 bytes per token, 576 values: 512 e4m3, 4 float32 scales (one per 128 values), 64 bfloat16.
- 584 bytes per token, 512 values: for all tokens of a page 448 e4m3 and 64 bfloat16, then for all
of
  them 8 bytes: 7 power-of-two exponents (one per 64 values) and an unused one.

A value is code * scale, rounded to bfloat16 once, as FlashMLA's kernels widen them.
"""

from __future__ import annotations

import torch

from ..flash_attn._checks import require

WIDTHS = {656: 576, 584: 512}
_BYTES = (torch.float8_e4m3fn, torch.int8, torch.uint8)


def width(operation: str, name: str, cache: torch.Tensor) -> int:
    """Values per token of a cache of bytes `(num_blocks, page_block_size, 1, bytes)`."""
    require(
        cache.dim() == 4 and cache.shape[2] == 1 and cache.shape[3] in WIDTHS, operation,
        f"{name} must be (num_blocks, page_block_size, 1, 656 or 584)",
        f"shape {tuple(cache.shape)}",
    )
    require(
        cache.dtype in _BYTES, operation, f"{name} must be float8_e4m3fn, int8 or uint8",
        cache.dtype,
    )
    require(
        cache.stride(-1) == 1 and cache.stride(1) == cache.shape[3], operation,
        f"{name} must hold the bytes of a page one after the other", f"strides {cache.stride()}",
    )
    return WIDTHS[int(cache.shape[3])]


def widen(cache: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Rows of the cache as bfloat16 `(n, values)`; token t is `page * page_block_size + offset`."""
    raw = cache.view(torch.uint8)
    size = int(raw.shape[1])
    page, offset = tokens // size, tokens % size
    if raw.shape[3] == 656:
        row = raw[page, offset, 0]
        codes = row[:, :512].view(torch.float8_e4m3fn).float().view(-1, 4, 128)
        scales = row[:, 512:528].contiguous().view(torch.float32)
        rotary = row[:, 528:].contiguous().view(torch.bfloat16)
    else:
        start, step = raw.storage_offset(), raw.stride(0)
        data = raw.as_strided((raw.shape[0], size, 576), (step, 576, 1), start)
        tail = raw.as_strided((raw.shape[0], size, 8), (step, 8, 1), start + 576 * size)
        row = data[page, offset]
        codes = row[:, :448].view(torch.float8_e4m3fn).float().view(-1, 7, 64)
        exponents = tail[page, offset][:, :7].float() - 127
        scales = torch.exp2(exponents)
        rotary = row[:, 448:].contiguous().view(torch.bfloat16)
    latent = (codes * scales[..., None]).to(torch.bfloat16).flatten(1)
    return torch.cat((latent, rotary), dim=1)

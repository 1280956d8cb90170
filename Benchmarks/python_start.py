#!/usr/bin/env python3
"""Time of `import apus` beyond torch's, and of the first decode in a process, on a GPU or a CPU.

Run it twice: the second run finds the driver's disk cache warm. Writes JSON.
"""

import argparse
import json
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0", help="torch device of the tensors")
    parser.add_argument("--json", required=True, help="where the result goes")
    options = parser.parse_args()

    import torch

    torch.zeros(1, device=options.device).item()
    start = time.perf_counter()
    import apus.compat.flashinfer as flashinfer

    imported = time.perf_counter() - start
    q = torch.randn(32, 128, device=options.device, dtype=torch.bfloat16)
    k = torch.randn(4096, 8, 128, device=options.device, dtype=torch.bfloat16)
    calls = []
    for _ in range(3):
        torch.cuda.synchronize() if q.is_cuda else None
        start = time.perf_counter()
        flashinfer.single_decode_with_kv_cache(q, k, k).sum().item()
        calls.append(time.perf_counter() - start)
    result = {
        "what": "seconds of import apus.compat.flashinfer, and of three decodes behind it",
        "device": torch.cuda.get_device_name(q.device) if q.is_cuda else "cpu",
        "importSeconds": imported,
        "callSeconds": calls,
    }
    with open(options.json, "w") as file:
        file.write(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

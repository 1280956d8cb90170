#!/usr/bin/env python3
"""Measures PyTorch's scaled_dot_product_attention (cuDNN) on a GPU, by the methods of `apus bench gpu-prefill`.

Run it next to `apus bench gpu-prefill` in one session on one card; PERFORMANCE.md shows both. burst is
the median of single calls between two events after a second of rest and three warm-ups, sustained the mean over half a
second after half a second of the same load, graph the median of replays of back-to-back calls over
rotated inputs.
"""

import argparse
import datetime
import json
import math
import subprocess
import sys
import time

CASES = [
    # batch, length, qo heads, kv heads, head dimension, causal
    *[(16384 // s, s, 16, 16, 128, c) for c in (False, True) for s in (512, 1024, 2048, 4096, 8192, 16384)],
    *[(16384 // s, s, 32, 32, 64, c) for c in (False, True) for s in (4096, 16384)],
    *[(16384 // s, s, 32, 8, 128, True) for s in (2048, 4096, 16384)],
]


def name(case):
    b, s, hq, hk, d, causal = case
    return f"b{b} s{s} h{hq}/{hk} d{d} {'causal' if causal else 'full'}"


def clock():
    """The SM clock in MHz, or None."""
    try:
        text = subprocess.run(
            ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits", "-i", "0"],
            capture_output=True, text=True, check=True,
        ).stdout
        return int(text.strip())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


class Timer:
    def __init__(self, torch):
        self.torch = torch

    def event(self):
        return self.torch.cuda.Event(enable_timing=True)

    def spans(self, body, count):
        """Seconds of `count` calls, enqueued without a gap."""
        pairs = [(self.event(), self.event()) for _ in range(count)]
        for start, end in pairs:
            start.record()
            body()
            end.record()
        self.torch.cuda.synchronize()
        return [start.elapsed_time(end) * 1e-3 for start, end in pairs]

    def burst(self, body):
        self.torch.cuda.synchronize()
        time.sleep(1)
        for _ in range(3):
            body()
        self.torch.cuda.synchronize()
        return samples(self.spans(body, 15))

    def sustained(self, body, estimate):
        count = max(4, min(200_000, math.ceil(0.5 / estimate)))
        for _ in range(count):
            body()
        start, end = self.event(), self.event()
        start.record()
        for _ in range(count):
            body()
        end.record()
        mhz = clock()
        self.torch.cuda.synchronize()
        return start.elapsed_time(end) * 1e-3 / count, mhz

    def graph(self, bodies):
        torch = self.torch
        for body in bodies:
            body()
        torch.cuda.synchronize()
        estimate = max(self.spans(lambda: [body() for body in bodies], 1)[0] / len(bodies), 1e-6)
        rounds = max(
            1, min(math.ceil(1e-3 / (estimate * len(bodies))), math.ceil(256 / len(bodies)))
        )
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(rounds):
                for body in bodies:
                    body()
        calls = rounds * len(bodies)
        for _ in range(2):
            graph.replay()
        torch.cuda.synchronize()
        replays = max(7, min(60, int(0.06 / (estimate * calls))))
        return samples([t / calls for t in self.spans(graph.replay, replays)])


def samples(seconds):
    ordered = sorted(seconds)
    n = len(ordered)
    return {
        "count": n,
        "minSeconds": ordered[0],
        "medianSeconds": (ordered[(n - 1) // 2] + ordered[n // 2]) / 2,
        "p90Seconds": ordered[(n * 9 + 9) // 10 - 1],
    }


def measure(torch, timer, case, with_sustained):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    b, s, hq, hk, d, causal = case
    make = lambda heads: torch.randn(b, s, heads, d, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
    sets = [(make(hq), make(hk), make(hk)) for _ in range(2)]

    def body(q, k, v):
        with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
            torch.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=causal, enable_gqa=hq != hk
            )

    bodies = [lambda t=t: body(*t) for t in sets]
    burst = timer.burst(bodies[0])
    result = {
        "name": name(case),
        "flops": 4 * b * hq * s * s * d // (2 if causal else 1),
        "burst": burst,
        "graph": timer.graph(bodies),
    }
    if with_sustained:
        seconds, mhz = timer.sustained(bodies[0], burst["medianSeconds"])
        result["sustainedSeconds"], result["sustainedClockMHz"] = seconds, mhz
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", required=True, help="where the result goes")
    parser.add_argument("--filter", default="", help="keep the cases whose name holds this text")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("bridge_gpu: PyTorch must be importable; found none.")
    if not torch.cuda.is_available():
        sys.exit("bridge_gpu: PyTorch must see a CUDA device; found none.")
    torch.cuda.set_stream(torch.cuda.Stream())
    timer = Timer(torch)
    results = []
    for case in CASES:
        if arguments.filter not in name(case):
            continue
        wide = case[1] >= 4096
        results.append(measure(torch, timer, case, wide))
        line = results[-1]
        rate = lambda seconds: line["flops"] / seconds * 1e-12
        print(
            f"{line['name']:34} burst {rate(line['burst']['medianSeconds']):6.1f}"
            f" graph {rate(line['graph']['medianSeconds']):6.1f}"
            + (f" sustained {rate(line['sustainedSeconds']):6.1f} TFLOP/s" if wide else ""),
            flush=True,
        )
    report = {
        "kind": "gpu-bridge",
        "schema": 1,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "device": torch.cuda.get_device_name(0),
        "torch": {"version": torch.__version__, "cudnn": torch.backends.cudnn.version()},
        "peer": "torch_sdpa_cudnn",
        "cases": results,
    }
    with open(arguments.json, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares Apus with PyTorch's scaled_dot_product_attention on the CPU, in one run.

For every cell the two alternate: some calls of PyTorch, some of Apus (through `apus bench --serve`,
which keeps its tensors between requests), several rounds. Both keep their inputs for the whole cell,
rotate through the same number of independent caches, use the same number of threads, and store the
median of every round. PyTorch runs in the fastest of the ways below, chosen by a probe per cell and
named in the result:

  gqa       K/V [batch, kvHead, length, dim], enable_gqa where heads are grouped
  expanded  K/V repeated to every query head beforehand, outside the timing
  folded    the query heads of a group as rows of one head (the same result for one query token)

each over tensors that are contiguous as [batch, head, length, dim] (hnd) or as
[batch, length, head, dim] (nhd), with the kernel that PyTorch picks or its `math` composition.
"""

import argparse
import datetime
import gc
import json
import pathlib
import statistics
import subprocess
import sys
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

ROOT = pathlib.Path(__file__).resolve().parent.parent
TORCH_TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
SCHEMA = 1
GIB = 1 << 30
# Expanded copies beyond this would not fit beside the other tensors.
GREATEST_EXPANDED_BYTES = 4 * GIB
POOL = 1 << 20


class Server:
    """One `apus bench --serve` process."""

    def __init__(self, binary, threads, seconds):
        command = [binary, "bench", "cpu", "--serve", "--threads", str(threads)]
        command += ["--seconds", str(seconds)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=ROOT
        )

    def ask(self, line):
        """The parsed answer to one line."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"compare_cpu: apus ended while it was asked for {line}")
        value = json.loads(answer)
        if "error" in value:
            raise SystemExit(f"compare_cpu: {value['error']}")
        return value

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Cell:
    """One case's PyTorch side."""

    def __init__(self, case):
        self.name = case["name"]
        self.shape = case["shape"]
        s = self.shape
        self.batch, self.heads, self.kv_heads = s["batch"], s["qoHeadCount"], s["kvHeadCount"]
        self.rows, self.length, self.dim = s["qoLength"], s["kvLength"], s["headDimQK"]
        self.causal = s["isCausal"] and self.rows > 1
        self.group = self.heads // self.kv_heads
        # Mixed and 8-bit types are beyond PyTorch's SDPA on the CPU.
        self.type = TORCH_TYPES.get(s["kv"]) if s["q"] == s["kv"] else None

    def ways(self):
        """Candidates as (layout, method, kernel)."""
        result = [("hnd", "gqa", "default"), ("nhd", "gqa", "default")]
        if self.rows == 1:
            result.append(("hnd", "gqa", "math"))
        if self.group > 1:
            if self.rows == 1:
                result.append(("hnd", "folded", "default"))
                result.append(("hnd", "folded", "math"))
                result.append(("nhd", "folded", "default"))
            element = torch.empty(0, dtype=self.type).element_size()
            expanded = 2 * self.batch * self.length * self.heads * self.dim * element
            if expanded <= GREATEST_EXPANDED_BYTES:
                result.append(("expanded", "expanded", "default"))
        # Ways over the same tensors stand together, so that each set is built once.
        order = {"hnd": 0, "nhd": 1, "expanded": 2}
        return sorted(result, key=lambda way: order[way[0]])

    def tensors(self, layout, sets, pool):
        """Queries and `sets` independent pairs of K and V."""
        heads = self.heads if layout == "expanded" else self.kv_heads
        q = normal(pool, (self.batch, self.heads, self.rows, self.dim))

        def make():
            if layout == "nhd":
                return normal(pool, (self.batch, self.length, heads, self.dim)).transpose(1, 2)
            return normal(pool, (self.batch, heads, self.length, self.dim))

        return q, [(make(), make()) for _ in range(sets)]

    def call(self, way, q, k, v):
        """One attention in the given way; o is [batch, head, rows, dim]."""
        _, method, kernel = way
        if method == "folded":
            q = q.view(self.batch, self.kv_heads, self.group, self.dim)
        grouped = method == "gqa" and self.group > 1

        def attend():
            return scaled_dot_product_attention(
                q, k, v, is_causal=self.causal, enable_gqa=grouped
            )

        if kernel == "math":
            with sdpa_kernel(SDPBackend.MATH):
                o = attend()
        else:
            o = attend()
        return o.view(self.batch, self.heads, 1, self.dim) if method == "folded" else o


def normal(pool, shape):
    """Standard normal values, tiled from a drawn list from a random place on: drawing gigabytes
    takes minutes, and no timing can see the repetition."""
    count = 1
    for extent in shape:
        count *= extent
    result = torch.empty(count, dtype=pool.dtype)
    position = 0
    while position < count:
        first = int(torch.randint(0, POOL // 2, (1,)))
        length = min(POOL - first, count - position)
        result[position : position + length] = pool[first : first + length]
        position += length
    return result.view(shape)


def time_calls(cell, way, data, seconds, warm_ups, least, most=100):
    """Seconds of each timed call."""
    q, caches = data
    samples, total, turn = [], 0.0, 0
    for index in range(warm_ups + most):
        k, v = caches[turn % len(caches)]
        turn += 1
        start = time.perf_counter()
        cell.call(way, q, k, v)
        elapsed = time.perf_counter() - start
        if index < warm_ups:
            continue
        samples.append(elapsed)
        total += elapsed
        if len(samples) >= least and total >= seconds:
            break
    return samples


def probe(cell, sets, pool):
    """Times every way briefly; returns all medians and the tensors of the fastest way."""
    times, data, layout = {}, None, None
    for way in cell.ways():
        if way[0] != layout:
            data, layout = None, way[0]
            gc.collect()
            data = cell.tensors(layout, sets, pool)
        first = time_calls(cell, way, data, 0, 0, 1)[0]
        # A way that is far behind even when cold caches of the allocator are allowed for.
        hopeless = times and first > 4 * min(times.values())
        samples = [first] if hopeless else time_calls(cell, way, data, 0.1, 0, 2, most=10)
        times[way] = statistics.median(samples)
    best = min(times, key=times.get)
    if best[0] != layout:
        data = None
        gc.collect()
        data = cell.tensors(best[0], sets, pool)
    return times, best, data


def check_ways():
    """Every way computes attention: each against the float64 definition at a small shape."""
    for rows, causal in ((1, False), (7, True)):
        shape = dict(
            batch=2, qoHeadCount=8, kvHeadCount=2, qoLength=rows, kvLength=rows if causal else 33,
            headDimQK=16, q="f32", kv="f32", isCausal=causal,
        )
        cell = Cell({"name": "check", "shape": shape})
        for way in cell.ways():
            q, caches = cell.tensors(way[0], 1, torch.randn(POOL))
            k, v = (t.double().repeat_interleave(8 // t.shape[1], dim=1) for t in caches[0])
            scores = q.double() @ k.transpose(-1, -2) / cell.dim**0.5
            if causal:
                hidden = torch.ones(rows, rows, dtype=torch.bool).triu(1)
                scores = scores.masked_fill(hidden, -torch.inf)
            expected = scores.softmax(-1) @ v
            error = (cell.call(way, q, *caches[0]).double() - expected).abs().max().item()
            # 40 roundings of f32 values below 4.
            if not error < 40 * 4 * 2.0**-24:
                raise SystemExit(f"compare_cpu: {way} must compute attention; found error {error}.")


def summary(seconds, work):
    """Figures of one side: the rounds' medians and the rates at their median."""
    median = statistics.median(seconds)
    return {
        "roundMedianSeconds": seconds,
        "medianSeconds": median,
        "leastRoundSeconds": min(seconds),
        "bytesPerSecond": work["bytes"] / median,
        "flopsPerSecond": work["flops"] / median,
    }


def compare(case, server, options):
    """Measures one cell on both sides."""
    cell = Cell(case)
    torch_seconds, apus_seconds, times, best, data = [], [], {}, None, None
    if cell.type is not None:
        first = server.ask(cell.name)
        pool = torch.randn(POOL).to(cell.type)
        times, best, data = probe(cell, first["inputSets"], pool)
        least = 1 if times[best] > 0.3 else 3
    for _ in range(options.rounds):
        if best:
            samples = time_calls(cell, best, data, options.seconds, 1, least)
            torch_seconds.append(statistics.median(samples))
            # OpenMP threads spin for a while after their last loop.
            time.sleep(0.05)
        apus = server.ask(cell.name)
        apus_seconds.append(apus["time"]["medianSeconds"])
        time.sleep(0.05)
    result = {
        "name": cell.name,
        "operator": case["operator"],
        "shape": case["shape"],
        "work": apus["work"],
        "inputSets": apus["inputSets"],
        "apus": summary(apus_seconds, apus["work"]),
    }
    if best:
        result["torch"] = summary(torch_seconds, apus["work"])
        result["torch"]["way"] = " ".join(best)
        result["torch"]["probedSeconds"] = {" ".join(way): t for way, t in times.items()}
        ratios = [t / a for t, a in zip(torch_seconds, apus_seconds)]
        result["ratio"] = result["torch"]["medianSeconds"] / result["apus"]["medianSeconds"]
        result["ratioRange"] = [min(ratios), max(ratios)]
    server.ask("drop")
    return result


def select(cases, options):
    """Cells of this run, from the list that `apus bench` prints."""
    chosen = []
    for case in cases:
        s = case["shape"]
        matched = s["q"] == s["kv"] if s["kv"] in TORCH_TYPES else s["q"] == "bf16"
        padded = case["operator"] == "batchDecode" and s["cache"] == "padded"
        decode = padded and s["layout"] == "NHD" and matched
        heads = (s["qoHeadCount"], s["kvHeadCount"])
        if options.full:
            few = s["kvLength"] in (1024, 8192) and (
                s["batch"] == 8 or (s["batch"] == 1 and s["headDimQK"] == 128)
            )
            prefill = case["operator"] == "singlePrefill" and s["headDimQK"] == 128
            keep = (decode and few) or (prefill and s["kvLength"] in (2048, 4096))
        else:
            keep = (
                decode and s["batch"] in (1, 16) and s["kvLength"] == 8192 and s["headDimQK"] == 128
                and heads in ((32, 8), (32, 32)) and s["kv"] != "e5m2"
            )
        if keep and all(text in case["name"] for text in options.filter):
            chosen.append(case)
    return chosen


def list_cases(binary):
    """The cases of `apus bench cpu` that fit this machine."""
    command = [binary, "bench", "cpu", "--list", "--json", "-"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [case for case in json.loads(listed) if "skipReason" not in case]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--apus", default=str(ROOT / ".build/release/apus"), help="the binary")
    parser.add_argument("--threads", type=int, default=2, help="threads of both sides (2)")
    parser.add_argument("--rounds", type=int, help="alternations per cell (5; 3 with --full)")
    parser.add_argument(
        "--seconds", type=float, help="timed calls per side and round (0.5; 0.1 with --full)"
    )
    parser.add_argument(
        "--full", action="store_true",
        help="padded decode of batch 1 and 8 over 1k and 8k keys, and prefill of 2k and 4k",
    )
    parser.add_argument("--filter", action="append", default=[], help="keep names with this text")
    parser.add_argument("--list", action="store_true", help="list the cells and stop")
    parser.add_argument("--output", type=pathlib.Path, help="result file")
    parser.add_argument(
        "--require", type=float, help="fail when a bf16 or f16 cell is below this ratio"
    )
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 3 if options.full else 5
    if options.seconds is None:
        options.seconds = 0.1 if options.full else 0.5
    if options.threads < 1 or options.rounds < 1 or not options.seconds >= 0:
        parser.error("--threads and --rounds must be at least 1, --seconds at least 0")
    return options


def store(report, path):
    """Writes after every cell, so that an interrupted run keeps what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    temporary.replace(path)


def main():
    options = parse_arguments()
    cells = select(list_cases(options.apus), options)
    if not cells:
        raise SystemExit("compare_cpu: no cell matches; see --list")
    if options.list:
        print("\n".join(case["name"] for case in cells))
        return
    torch.set_num_threads(options.threads)
    torch.manual_seed(2026)
    check_ways()
    server = Server(options.apus, options.threads, options.seconds)
    about, limits = server.ask("about"), server.ask("limits")
    now = datetime.datetime.now(datetime.timezone.utc)
    name = f"{now:%Y-%m-%d}-compare{'-full' if options.full else ''}.json"
    path = options.output or ROOT / "Benchmarks/Results/cpu" / name
    report = about | {
        "schema": SCHEMA,
        "kind": "cpu-compare",
        "isFull": options.full,
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "torch": {"version": torch.__version__, "threads": torch.get_num_threads()},
        "rounds": options.rounds,
        "secondsPerRound": options.seconds,
        "method": " ".join(__doc__.split("\n\n", 1)[1].split()),
        "limits": limits,
        "cases": [],
    }
    for index, case in enumerate(cells):
        result = compare(case, server, options)
        report["cases"].append(result)
        gc.collect()
        after = server.ask("limits")
        for key, value in after.items():
            report["limits"][key] = max(report["limits"][key], value)
        store(report, path)
        line = f"[{index + 1}/{len(cells)}] {case['name']}: "
        line += f"apus {result['apus']['medianSeconds'] * 1e3:.2f} ms"
        if "ratio" in result:
            line += f", torch {result['torch']['medianSeconds'] * 1e3:.2f} ms"
            line += f" ({result['torch']['way']}), ratio {result['ratio']:.2f}"
        print(line, flush=True)
    server.close()
    print(f"written: {path}")
    if options.require is not None:
        low = [
            c["name"] for c in report["cases"]
            if c["shape"]["kv"] in ("bf16", "f16") and c.get("ratio", options.require) < options.require
        ]
        if low:
            raise SystemExit(f"compare_cpu: below {options.require}: {', '.join(low)}")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
    sys.exit(0)

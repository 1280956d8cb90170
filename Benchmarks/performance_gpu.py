"""The GPU sections of PERFORMANCE.md: our figures beside recorded peers and bridges of the same run.

A recorded peer was measured on another card of the same kind. It is compared by a bridge that ran both
then and now: (ours / bridge now) against (peer / bridge then). For prefill the bridge is PyTorch's
cuDNN attention of the same shape, for decode a kernel that only reads.
"""

import json
import math
from collections import namedtuple

import freshness
import performance_host

PEERS = "Benchmarks/Peers/h200.jsonl"
CUDNN = "torch_sdpa_cudnn"


def load_peers(root):
    """{(operation, tag, types): {peer: row}} and the read-only rate of that session in TB/s."""
    cells, read = {}, None
    path = root / PEERS
    if not path.exists():
        return cells, read
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["op"] == "read_only":
            read = max(read or 0, row["tbps"])
        elif "ms" in row:
            cells.setdefault((row["op"], row["tag"], row["dtype"]), {})[row["peer"]] = row
    return cells, read


def best(cell, without=()):
    """The fastest peer of a cell, or None."""
    rows = [row for peer, row in cell.items() if peer not in without]
    return min(rows, key=lambda row: row["ms"]) if rows else None


def rate(work, seconds, digits=0):
    return "–" if not seconds else f"{work / seconds * 1e-12:.{digits}f}"


def median(samples):
    return samples["medianSeconds"] if samples else None


def micros(seconds):
    if not seconds:
        return "–"
    value = seconds * 1e6
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def source(path, report, root, more=""):
    device = report["device"]
    full = report.get("commit") or "unknown commit"
    commit = full[:12] + (" with changes" if full.endswith("-dirty") else "")
    name = path.relative_to(root).as_posix()
    limits = report.get("limits", {})
    read = limits.get("readBytesPerSecond")
    copy = limits.get("copyBytesPerSecond")
    rates = f"; read-only kernel {read * 1e-12:.2f} TB/s" if read else ""
    rates += f", copy {copy * 1e-12:.2f} TB/s" if copy else ""
    return [
        f"{device['name']}, {device['multiprocessorCount']} multiprocessors, CUDA "
        f"{device['cudaVersion']}{rates}; {report['date'][:10]}, `{commit}`: [{name}]({name}).{more}",
        "",
    ]


def prefill_ratio(case, cudnn, cell):
    """Our rate over the best peer's, both relative to cuDNN of their own run; None without either."""
    peer, then = best(cell, (CUDNN,)), cell.get(CUDNN)
    if not (peer and then and cudnn and case.get("graph")):
        return None
    return median(cudnn["graph"]) / median(case["graph"]) / (then["ms"] / peer["ms"])


PrefillCell = namedtuple("PrefillCell", "case cudnn peer ratio")
DecodeCell = namedtuple("DecodeCell", "case seconds share peer peer_share ratio")


def prefill_cells(report, bridge, root):
    """Each case with cuDNN of the bridge's run, the best recorded peer, and our rate over its rate."""
    cells, _ = load_peers(root)
    now = {case["name"]: case for case in bridge["cases"]} if bridge else {}
    for case in report["cases"]:
        cudnn = now.get(case["tag"]) if case["qType"] == "bf16" else None
        cell = cells.get(("prefill", case["tag"], case["qType"]), {})
        yield PrefillCell(case, cudnn, best(cell, (CUDNN,)), prefill_ratio(case, cudnn, cell))


def decode_cells(report, root):
    """Each case with its time, the fastest recorded peer, the parts of the read-only kernel's rate
    that both reach in their own runs, and our part over the peer's."""
    cells, then = load_peers(root)
    read = report["limits"].get("readBytesPerSecond")
    for case in report["cases"]:
        seconds = median(case.get("graph"))
        peer = best(cells.get(("decode", case["tag"], decode_types(case)), {}))
        share = case["bytes"] / seconds / read if seconds and read else None
        peer_share = peer["tbps"] / then if peer and then else None
        ratio = share / peer_share if share and peer_share else None
        yield DecodeCell(case, seconds, share, peer, peer_share, ratio)


def decode_types(case):
    """How the peers' file writes the types of a case."""
    return f"q={case['qType']} kv={case['kvType']}"


def prefill(path, report, root, bridge, table):
    """Dense prefill beside cuDNN of the same run and the best recorded peer."""
    where = bridge[0].relative_to(root).as_posix() if bridge else None
    more = f" cuDNN in the same run: [{where}]({where})." if where else ""
    lines = ["## GPU, dense prefill", ""] + source(path, report, root, more)
    lines += [
        "TFLOP/s: *burst* and *sustained* as `apus bench gpu-prefill` defines them, *graph* by the "
        "peers' method. *peer* is the fastest recorded one that computes in the same type; the last "
        "column is our rate over its rate, both relative to cuDNN of their own run.",
        "",
    ]
    rows, ratios, hashes = [], [], freshness.recorded(root)
    for case, cudnn, peer, value in prefill_cells(report, bridge[1] if bridge else None, root):
        flops = case["flops"]
        if value:
            ratios.append(value)
        rows.append(
            [
                f"`{case['tag']} {case['qType']}`{freshness.mark(case, report, hashes)}", rate(flops, median(case.get("burst"))),
                rate(flops, case.get("sustainedSeconds")), rate(flops, median(case.get("graph"))),
                rate(flops, median(cudnn["burst"])) if cudnn else "–",
                rate(flops, cudnn.get("sustainedSeconds")) if cudnn else "–",
                rate(flops, median(cudnn["graph"])) if cudnn else "–",
                f"{peer['tflops']:.0f} {peer['peer']}" if peer else "–",
                f"**{value:.2f}**" if value else "–",
            ]
        )
    header = ["case", "burst", "sustained", "graph", "cuDNN burst", "cuDNN sustained", "cuDNN graph"]
    lines += table(header + ["peer", "bridged"], rows) + [""]
    if ratios:
        lines += [f"Geometric mean over the best peer, bridged: {geometric_mean(ratios):.2f}.", ""]
    return lines


def decode(path, report, root, table):
    """Decode beside the best recorded peer and the read limit."""
    lines = ["## GPU, batch decode", ""] + source(path, report, root)
    lines += [
        "Microseconds a call by the peers' method; *of read* is the time that the read-only kernel "
        "needs for the same bytes over ours; *bridged* is our rate over the fastest peer's, both "
        "relative to the read-only kernel of their own run.",
        "",
    ]
    rows, ratios, hashes = [], [], freshness.recorded(root)
    for case, seconds, share, peer, _, value in decode_cells(report, root):
        if value:
            ratios.append(value)
        rows.append(
            [
                f"`{case['tag']} {decode_types(case)}`{freshness.mark(case, report, hashes)}",
                micros(seconds),
                rate(case["bytes"], seconds, 2),
                f"{share * 100:.0f} %" if share else "–",
                f"{peer['ms'] * 1e3:.1f} {peer['peer']}" if peer else "–",
                f"**{value:.2f}**" if value else "–",
            ]
        )
    lines += table(["case", "µs", "TB/s", "of read", "peer", "bridged"], rows) + [""]
    if ratios:
        lines += [
            f"{len(ratios)} cells of the peers' table: geometric mean {geometric_mean(ratios):.2f}, "
            f"least {min(ratios):.2f}.",
            "",
        ]
    return lines


def operators(path, report, root, table):
    """Operators that only move data, beside our own streaming kernels."""
    lines = ["## GPU, merge, append and rotation", ""] + source(path, report, root)
    limits = report["limits"]
    rows, hashes = [], freshness.recorded(root)
    for case in report["cases"]:
        seconds = median(case.get("graph"))
        types = case["qType"] if case["qType"] == case["kvType"] else f"{case['qType']} to {case['kvType']}"
        limit = case.get("limitBytesPerSecond") or limits.get("copyBytesPerSecond")
        rows.append(
            [
                f"`{case['operation']} {case['tag']}` {types}{freshness.mark(case, report, hashes)}",
                micros(seconds),
                rate(case["bytes"], seconds, 2),
                f"{case['bytes'] / seconds / limit * 100:.0f} %" if limit and seconds else "–",
            ]
        )
    return lines + table(["case", "µs", "TB/s", "of streaming"], rows) + [""]


def tensor_cores(path, report, root, table):
    """Both arithmetic paths of decode on the same inputs."""
    lines = ["## GPU, decode with and without tensor cores", ""] + source(path, report, root)
    lines += [
        "Errors are of the first request against float64 with o in f32, so that they are those of the "
        "arithmetic: ‖found − expected‖₂ ÷ ‖expected‖₂, and the greatest of an element. Registers are the "
        "driver's, of a thread; shared memory is a block's.",
        "",
    ]
    rows = []
    for case in report["results"]:
        seconds = median(case.get("graph"))
        rate_of = case.get("bytesPerSecond")
        rows.append(
            [
                f"`{case['tag']}` {case['qType']}/{case['kvType']}",
                case["path"],
                micros(seconds),
                f"{rate_of / 1e12:.2f}" if rate_of else "–",
                f"{case['registers']}",
                f"{case['sharedBytes'] / 1024:.0f} KB",
                f"{case['relativeError']:.1e}",
                f"{case['greatestError']:.1e}",
            ]
        )
    header = ["case", "path", "µs", "TB/s", "registers", "shared", "L2 error", "greatest"]
    return (
        lines
        + table(header, rows)
        + [
            "",
            "Take ordinary cores (`useTensorCores: .never`, or a `precision` above fast) where the last bits "
            "count: they round nothing but f32 sums and the output, and cost no time for a group of one. Take "
            "tensor cores, which `.automatic` chooses, for groups and FP8: they round P, and q beside FP8 "
            "caches, to 16 bits, and cost the same for a group of 8 as for one head, where ordinary cores "
            "cost in proportion to the group.",
            "",
        ]
    )


def sections(newest, root, table):
    """All GPU sections for the newest results, {(kind, suite): (path, report)}."""
    lines = []
    bridge = newest.get(("gpu-bridge", "prefill"))
    if ("apus-gpu-bench", "gpu-prefill") in newest:
        lines += prefill(*newest[("apus-gpu-bench", "gpu-prefill")], root, bridge, table)
    if ("apus-gpu-bench", "gpu-decode") in newest:
        lines += decode(*newest[("apus-gpu-bench", "gpu-decode")], root, table)
    if ("apus-gpu-tensor-cores", "tensor-cores") in newest:
        lines += tensor_cores(*newest[("apus-gpu-tensor-cores", "tensor-cores")], root, table)
    if ("apus-gpu-bench", "gpu-ops") in newest:
        lines += operators(*newest[("apus-gpu-bench", "gpu-ops")], root, table)
    lines += performance_host.section(root, table)
    return lines + freshness.section(results(newest), root, table)


def results(newest):
    """Pairs of path and report of the suites that the page shows."""
    keys = [("apus-gpu-bench", suite) for suite in ("gpu-prefill", "gpu-decode", "gpu-ops")]
    return [newest[key] for key in keys if key in newest]

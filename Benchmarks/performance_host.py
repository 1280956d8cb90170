"""The section of PERFORMANCE.md on host time: the library's own and that of Python."""

import json


def newest(root, suffix):
    """The newest result with a suffix as (path, content), or None."""
    paths = sorted((root / "Benchmarks/Results").rglob(f"*-{suffix}.json"))
    return (paths[-1], json.loads(paths[-1].read_text())) if paths else None


def link(path, root):
    name = path.relative_to(root).as_posix()
    return f"[{name}]({name})"


def section(root, table):
    """What a call costs the thread that makes it."""
    lines = []
    host, python = newest(root, "host"), newest(root, "overhead")
    if host:
        path, calls = host
        lines += [
            f"`apus bench gpu-host`, with a recording driver in the place of NVIDIA's: {link(path, root)}.",
            "",
        ]
        rows = [
            [
                call["name"],
                f"{call['microseconds']:.2f}",
                f"{call['leastMicroseconds']:.2f}",
                f"{call['goalMicroseconds']}" if call.get("goalMicroseconds") else "–",
            ]
            for call in calls
        ]
        lines += table(["call", "µs", "least", "goal"], rows) + [""]
    if python:
        path, report = python
        lines += [
            f"`Benchmarks/host_overhead.py` on {report['device']}, torch {report['torch']}, Python "
            f"{report['python']}, {report['batch']} requests, medians: {link(path, root)}. *run* allocates "
            "its output, *run_out* is given one.",
            "",
        ]
        names = list(dict.fromkeys(entry["interface"] for entry in report["results"]))
        found = {
            (entry["interface"], entry["case"]): entry["microseconds"]["median"]
            for entry in report["results"]
            if "microseconds" in entry
        }
        cases = list(dict.fromkeys(entry["case"] for entry in report["results"]))
        rows = [
            [case] + [f"{found[name, case]:.1f}" if (name, case) in found else "–" for name in names]
            for case in cases
        ]
        lines += table(["call, µs"] + names, rows) + [""]
    return ["## Host time of GPU calls", ""] + lines if lines else []

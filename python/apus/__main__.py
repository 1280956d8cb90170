"""``python -m apus devices | version | bench-call``."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from typing import Any

import apus
from apus import _native


def _devices() -> dict[str, Any]:
    backend = apus.backend("cpu")
    result: dict[str, Any] = {
        "cpu": {"name": backend.name, "machine": platform.machine(), "cores": _cores()}}
    for index in range(apus.cuda_device_count()):
        name = f"cuda:{index}"
        try:
            result[name] = {"name": apus.backend(name).name}
        except (RuntimeError, NotImplementedError, ValueError) as error:
            result[name] = {"error": str(error)}
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available() and index < torch.cuda.device_count():
            result[name]["model"] = torch.cuda.get_device_name(index)
    return result


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version() -> dict[str, Any]:
    return {
        "apus": apus.__version__, "abi": _native.library.apus_abi_version(),
        "library": _native.library_path(), "python": platform.python_version()}


def _import_seconds() -> float:
    """Seconds that the import of apus adds in a fresh interpreter."""
    import subprocess

    code = "import time; t = time.perf_counter(); import apus; print(time.perf_counter() - t)"
    return min(
        float(subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(3))


def _bench_call(repetitions: int) -> dict[str, Any]:
    """Seconds of the calling thread per call of a decode plan whose work is next to nothing."""
    results: dict[str, Any] = {"import_seconds": _import_seconds()}
    frameworks: dict[str, Any] = {}
    try:
        import torch

        frameworks["torch"] = lambda *shape: torch.zeros(shape, dtype=torch.float32)
    except ImportError:
        results["torch"] = None
    try:
        import numpy

        frameworks["numpy"] = lambda *shape: numpy.zeros(shape, dtype=numpy.float32)
    except ImportError:
        results["numpy"] = None
    plan = apus.AttentionPlan(
        "cpu", qo_head_count=1, kv_head_count=1, head_dim_qk=16, q_type="f32", qo_indptr=[0, 1],
        page_size=1, page_indptr=[0, 1], page_indices=[0], last_page_length=[1])
    for name, zeros in frameworks.items():
        q, out = zeros(1, 1, 16), zeros(1, 1, 16)
        k, v = zeros(1, 1, 1, 16), zeros(1, 1, 1, 16)
        calls = {
            "run": lambda: plan.run(q, k=k, v=v), "run_out": lambda: plan.run(q, k=k, v=v, out=out)}
        for call, function in calls.items():
            best = float("inf")
            for _ in range(5):
                start = time.thread_time()
                for _ in range(repetitions):
                    function()
                best = min(best, (time.thread_time() - start) / repetitions)
            results[f"{name}_{call}_microseconds"] = round(best * 1e6, 2)
    return results


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the result is its exit status."""
    parser = argparse.ArgumentParser(prog="python -m apus", description=apus.__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("devices", help="back ends of this machine")
    commands.add_parser("version", help="versions and the file of the library")
    bench = commands.add_parser("bench-call", help="overhead of a call, import time")
    bench.add_argument("--repetitions", type=int, default=5000, help="calls per sample (5000)")
    parsed = parser.parse_args(arguments)
    if parsed.command == "devices":
        result = _devices()
    elif parsed.command == "version":
        result = _version()
    else:
        result = _bench_call(max(parsed.repetitions, 1))
    if parsed.json:
        print(json.dumps(result, indent=2))
        return 0
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        print(f"{name:<28} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

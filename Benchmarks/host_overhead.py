#!/usr/bin/env python3
"""Measures what a call costs the host: Apus's torch interface, apus.compat.flashinfer, and FlashInfer itself.

The work of each call is small, so that the host is what takes time: a decode of a few requests, an append
of one token each, a rotation. Calls go round the layers of a model (as many caches and queries), are timed
in rows between two waits for the device, and the best and the median row count. FlashInfer is measured
where it can be imported (the real one, not Apus's shim); what fails is reported as such.

    PYTHONPATH=python python3 Benchmarks/host_overhead.py --device cuda:0 --output overhead.json
"""

import argparse
import importlib
import json
import statistics
import sys
import time

BATCH, LENGTH, PAGE, QO_HEADS, KV_HEADS, DIM = 4, 64, 16, 32, 8, 128
PAGES = LENGTH // PAGE


class Model:
    """Tensors of the layers, and lists on the host and on the device."""

    def __init__(self, torch, device, layers):
        def normal(*shape):
            return torch.randn(*shape, dtype=torch.bfloat16, device=device)

        def integers(values):
            return torch.tensor(values, dtype=torch.int32, device=device)

        self.torch, self.device = torch, torch.device(device)
        self.q = [normal(BATCH, QO_HEADS, DIM) for _ in range(layers)]
        self.keys = [normal(BATCH, KV_HEADS, DIM) for _ in range(layers)]
        self.out = [torch.empty_like(q) for q in self.q]
        self.caches = [normal(BATCH * PAGES, 2, PAGE, KV_HEADS, DIM) for _ in range(layers)]
        self.indptr = integers([r * PAGES for r in range(BATCH + 1)])
        self.indices = integers(list(range(BATCH * PAGES)))
        self.last = integers([PAGE] * BATCH)
        self.requests = integers(list(range(BATCH)))
        self.positions = integers([LENGTH - 1] * BATCH)
        self.workspace = torch.empty(128 << 20, dtype=torch.uint8, device=device)

    def wait(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()


def apus_cases(model):
    """Calls of the torch interface."""
    import apus

    lists = {
        "page_indptr": model.indptr, "page_indices": model.indices, "last_page_length": model.last}

    def plan():
        return apus.AttentionPlan(
            str(model.device), qo_head_count=QO_HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM,
            q_type="bf16", qo_indptr=range(BATCH + 1), page_size=PAGE, **lists)

    made = plan()
    rope = apus.Rope()
    yield "run", lambda i: made.run(model.q[i], kv=model.caches[i])
    yield "run_out", lambda i: made.run(model.q[i], kv=model.caches[i], out=model.out[i])
    yield "append", lambda i: apus.append(
        model.keys[i], model.keys[i], kv=model.caches[i], batch_indices=model.requests,
        positions=model.positions, **lists)
    yield "rotate", lambda i: apus.rotate(
        model.q[i], model.keys[i], model.positions, rope=rope, q_out=model.q[i],
        k_out=model.keys[i])
    yield "plan", lambda i: plan()


def flashinfer_cases(model, flashinfer, tensor_cores):
    """Calls of FlashInfer's interface, whoever implements it."""
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
        model.workspace, "NHD", use_tensor_cores=tensor_cores,
        backend="fa2" if tensor_cores else "auto")

    def plan():
        wrapper.plan(
            model.indptr, model.indices, model.last, QO_HEADS, KV_HEADS, DIM, PAGE,
            q_data_type=model.torch.bfloat16, kv_data_type=model.torch.bfloat16)

    plan()
    suffix = "_tensor_cores" if tensor_cores else ""
    yield f"run{suffix}", lambda i: wrapper.run(model.q[i], model.caches[i])
    yield f"run_out{suffix}", lambda i: wrapper.run(
        model.q[i], model.caches[i], out=model.out[i])
    yield f"plan{suffix}", lambda i: plan()
    # Last: FlashInfer may compile these first.
    if not tensor_cores:
        yield "append", lambda i: flashinfer.append_paged_kv_cache(
            model.keys[i], model.keys[i], model.requests, model.positions, model.caches[i],
            model.indices, model.indptr, model.last)
        yield "rotate", lambda i: flashinfer.apply_rope_pos_ids_inplace(
            model.q[i], model.keys[i], model.positions)


def measure(model, call, layers, rows, per_row):
    """Microseconds a call: the best row and the median one."""
    for i in range(layers):
        call(i)
    model.wait()
    spans = []
    for _ in range(rows):
        start = time.perf_counter()
        for i in range(per_row):
            call(i % layers)
        spans.append((time.perf_counter() - start) / per_row * 1e6)
        # A launch queue that is full would have the host wait inside a call.
        model.wait()
    return {"best": round(min(spans), 3), "median": round(statistics.median(spans), 3)}


def interfaces(model):
    """Name, version and cases of each interface that is there."""
    import apus

    yield "apus", apus.__version__, lambda: apus_cases(model)
    compat = importlib.import_module("apus.compat.flashinfer")
    for tensor_cores in (False, True):
        yield "apus.compat.flashinfer", apus.__version__, (
            lambda cores=tensor_cores: flashinfer_cases(model, compat, cores))
    try:
        flashinfer = importlib.import_module("flashinfer")
    except ImportError as error:
        print(f"host_overhead: SKIP flashinfer: {error}", file=sys.stderr)
        return
    if flashinfer.__version__.endswith("+apus"):
        print("host_overhead: SKIP flashinfer: found Apus's shim of it", file=sys.stderr)
        return
    for tensor_cores in (False, True):
        yield "flashinfer", flashinfer.__version__, (
            lambda cores=tensor_cores: flashinfer_cases(model, flashinfer, cores))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--layers", type=int, default=32, help="caches that calls go round (32)")
    parser.add_argument("--rows", type=int, default=30, help="rows of calls (30)")
    parser.add_argument("--per-row", type=int, default=128, help="calls of a row (128)")
    parser.add_argument("--output", help="file for the JSON; standard output otherwise")
    options = parser.parse_args()
    import torch

    model = Model(torch, options.device, options.layers)
    results = []
    report = {
        "what": "host microseconds a call",
        "device": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else "cpu",
        "torch": torch.__version__, "python": sys.version.split()[0],
        "batch": BATCH, "length": LENGTH, "page": PAGE, "heads": [QO_HEADS, KV_HEADS], "dim": DIM,
        "layers": options.layers, "results": results}

    def keep(entry):
        """Adds a result; the file is whole after each."""
        results.append(entry)
        print(json.dumps(entry), file=sys.stderr, flush=True)
        if options.output:
            with open(options.output, "w", encoding="utf-8") as file:
                file.write(json.dumps(report, indent=2) + "\n")

    for name, version, cases in interfaces(model):
        try:
            for case, call in cases():
                entry = {"interface": name, "version": version, "case": case}
                try:
                    # Plans are far slower than runs.
                    count = options.per_row if not case.startswith("plan") else 8
                    entry["microseconds"] = measure(
                        model, call, options.layers, options.rows, count)
                except Exception as error:  # A peer's failure is a result.
                    entry["error"] = f"{type(error).__name__}: {error}"[:400]
                keep(entry)
        except Exception as error:
            keep({
                "interface": name, "version": version,
                "error": f"{type(error).__name__}: {error}"[:400]})
    if not options.output:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

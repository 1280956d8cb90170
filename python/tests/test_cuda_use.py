"""How programs use a GPU: threads that share a plan, compilation, forked children, examples."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import apus

pytestmark = pytest.mark.usefixtures("cuda")
HEADS, KV_HEADS, DIM, BATCH = 8, 2, 64, 4
EXAMPLES = Path(__file__).parents[1] / "examples"


def sample(torch: Any, device: str, length: int = 700) -> Any:
    """A plan that splits its keys, and so has a workspace."""
    def normal(*shape: int) -> Any:
        return torch.randn(shape, device=device).to(torch.bfloat16)

    torch.manual_seed(2)
    plan = apus.AttentionPlan(
        device, qo_head_count=HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM,
        qo_indptr=range(BATCH + 1), max_length=length, split_size=128)
    return plan, normal(BATCH, HEADS, DIM), normal(BATCH, length, KV_HEADS, DIM), normal(
        BATCH, length, KV_HEADS, DIM)


def test_threads_share_a_plan_with_workspaces_of_their_own(torch: Any, cuda: str) -> None:
    plan, q, k, v = sample(torch, cuda)
    queries = [q * (i + 1) for i in range(4)]
    wanted = [plan.run(query, k=k, v=v) for query in queries]
    torch.cuda.synchronize()
    failures: list[str] = []

    def work(index: int) -> None:
        try:
            workspace = torch.empty(max(plan.workspace_size, 1), dtype=torch.uint8, device=cuda)
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                for _ in range(50):
                    out = plan.run(queries[index], k=k, v=v, workspace=workspace)
            stream.synchronize()
            if not torch.equal(out, wanted[index]):
                failures.append(f"thread {index} found other values")
        except Exception as error:
            failures.append(f"thread {index}: {error}")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_programs_of_inductor(torch: Any, cuda: str, mode: str) -> None:
    plan, q, k, v = sample(torch, cuda)
    compiled = torch.compile(
        lambda q: plan.run(q * 2, k=k, v=v) + 1, fullgraph=True, mode=mode)
    # The third call of reduce-overhead replays a graph.
    for factor in (1, 2, 3, 4):
        with torch.no_grad():
            found = compiled(q * factor).clone()
        wanted = plan.run(q * factor * 2, k=k, v=v) + 1
        assert torch.allclose(found.float(), wanted.float(), rtol=2**-7, atol=2**-7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_gets_a_clear_error(torch: Any, cuda: str) -> None:
    plan, q, k, v = sample(torch, cuda)
    plan.run(q, k=k, v=v)
    torch.cuda.synchronize()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        texts = []
        for call in (
            lambda: plan.run(q, k=k, v=v), plan.describe, lambda: apus.rotate(
                q, q, [0] * BATCH, rope=apus.Rope()),
        ):
            try:
                call()
                texts.append("no error")
            except RuntimeError as error:
                texts.append(str(error))
            except BaseException as error:
                texts.append(repr(error))
        # The C interface says the same of the parent's handles.
        library = apus._native.library
        status = library.apus_plan_destroy(plan._handle)
        texts.append(f"{status} {library.apus_last_error_message().decode()}")
        os.write(writer, "\n".join(texts).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        *texts, destroyed = stream.read().decode().split("\n")
    assert os.waitpid(child, 0)[1] == 0
    assert len(texts) == 3
    for text in texts:
        assert f"back end {cuda} must be used in the process that made it" in text
    assert destroyed.startswith("1 ") and "found a forked child" in destroyed
    # The parent goes on.
    plan.run(q, k=k, v=v)
    torch.cuda.synchronize()


@pytest.mark.parametrize("example, words", [
    ("flashinfer_users.py", "paged decode: (3, 32, 128) torch.bfloat16"),
    ("flash_mla_users.py", "layer 1: out (4, 2, 16, 512) torch.bfloat16"),
    ("transformers_generate.py", "32 tokens in")])
def test_examples_run_on_a_gpu(torch: Any, cuda: str, example: str, words: str) -> None:
    if example.startswith("transformers"):
        pytest.importorskip("transformers", reason="transformers is not installed")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), "--device", "cuda"], capture_output=True,
        text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert words in done.stdout

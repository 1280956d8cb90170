"""Tensors of torch: memory, types, compiled programs; CUDA where there is a device."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import Attention, assert_within

import apus

pytestmark = pytest.mark.usefixtures("torch")
HEADS, KV_HEADS, DIM = 4, 2, 64


def sample(torch: Any, kind: str = "bfloat16", device: str = "cpu", length: int = 33) -> Any:
    generator = torch.Generator().manual_seed(5)
    dtype = getattr(torch, kind)

    def normal(*shape: int) -> Any:
        return torch.randn(shape, generator=generator).to(dtype).to(device)

    q, k, v = normal(3, HEADS, DIM), normal(3, length, KV_HEADS, DIM), normal(
        3, length, KV_HEADS, DIM)
    names = {"float8_e4m3fn": "e4m3", "float8_e5m2": "e5m2", "bfloat16": "bf16",
             "float16": "f16", "float32": "f32"}
    plan = apus.AttentionPlan(
        apus.backend_of(q), qo_head_count=HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM,
        q_type=names[kind], qo_indptr=[0, 1, 2, 3], max_length=length, lse="natural")
    return plan, q, k, v


def compare(torch: Any, plan: Any, q: Any, k: Any, v: Any, out: Any, lse: Any = None) -> None:
    for r in range(q.shape[0]):
        parts = [t.detach().cpu().to(torch.float64).numpy() for t in (q[r:r + 1], k[r], v[r])]
        oracle = Attention(
            float(np.float32(DIM**-0.5)), o_kind=plan.o_type,
            rounds_weights=q.element_size() < 4)
        o, s, o_allowed, s_allowed = oracle(*parts)
        assert_within(
            out[r:r + 1].detach().cpu().to(torch.float64).numpy(), o, o_allowed, f"out of {r}")
        if lse is not None:
            assert_within(lse[r:r + 1].cpu().numpy(), s, s_allowed, f"lse of {r}")


@pytest.mark.parametrize(
    "kind", ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_types(torch: Any, kind: str) -> None:
    plan, q, k, v = sample(torch, kind)
    out, lse = plan.run(q, k=k, v=v, lse=True)
    assert out.dtype == q.dtype and out.shape == q.shape and lse.dtype == torch.float32
    compare(torch, plan, q, k, v, out, lse)


def test_results_go_to_given_memory_and_views_are_not_copied(torch: Any) -> None:
    plan, q, k, v = sample(torch)
    wanted, sums = plan.run(q, k=k, v=v, lse=True)
    room = torch.full((3, 2 * HEADS, DIM), math.nan, dtype=torch.bfloat16)
    out, lse = room[:, ::2], torch.zeros(HEADS, 3).T
    kv = torch.cat([k, v], dim=-1)
    address = room.data_ptr()
    found = plan.run(q, k=kv[..., :DIM], v=kv[..., DIM:], out=out, lse=lse)
    assert found[0] is out and found[1] is lse and room.data_ptr() == address
    assert torch.equal(out, wanted) and torch.equal(lse, sums)
    assert room[:, 1::2].isnan().all()
    slot = apus._tensors.Slot("x")
    slot.fill(kv[..., DIM:])
    assert slot.memory.tensor.data == kv.data_ptr() + DIM * kv.element_size()


def test_parameters_and_tensors_with_gradients_are_inputs(torch: Any) -> None:
    plan, q, k, v = sample(torch, "float32")
    wanted = plan.run(q, k=k, v=v)
    assert torch.equal(plan.run(torch.nn.Parameter(q), k=k.requires_grad_(), v=v), wanted)


@pytest.mark.parametrize("change, message", [
    (lambda t: t.to("meta"), r"k must live on a CPU or a CUDA device; found meta"),
    (lambda t: t.to_sparse(), r"k must be a dense tensor"),
    (lambda t: t.to(dtype=__import__("torch").complex64), r"k must have a type of .*complex64"),
    (lambda t: t.double(), r"k must have a type of .*float64"),
    (lambda t: t.float(), r"k must have type bf16; found f32"),
    (lambda t: t[..., ::2], r"k must be contiguous in its last dimension; found stride 2"),
    (lambda t: t.transpose(1, 2), r"k must have shape"),
    (lambda t: t.tolist(), r"k must be a tensor of torch, NumPy .*; found list"),
])
def test_bad_tensors(torch: Any, change: Any, message: str) -> None:
    plan, q, k, v = sample(torch)
    with pytest.raises(ValueError, match=message):
        plan.run(q, k=change(k), v=v)


@pytest.mark.parametrize("size", [0, 100])
def test_memory_that_was_freed(torch: Any, size: int) -> None:
    plan, q, k, v = sample(torch)
    k.untyped_storage().resize_(size)
    with pytest.raises(ValueError, match=rf"k must have its elements .* found {size} of"):
        plan.run(q, k=k, v=v)


def test_memory_that_was_freed_after_a_call(torch: Any) -> None:
    plan, q, k, v = sample(torch)
    plan.run(q, k=k, v=v)
    k.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="k must point to its elements; found a null pointer"):
        plan.run(q, k=k, v=v)


def test_lists_of_torch(torch: Any) -> None:
    plan, q, k, v = sample(torch)
    again = apus.AttentionPlan(
        "cpu", qo_head_count=HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM, lse="natural",
        qo_indptr=torch.arange(4, dtype=torch.int32), page_size=33,
        block_table=torch.arange(3)[:, None], kv_lengths=torch.full((3,), 33, dtype=torch.int16))
    assert torch.equal(again.run(q, k=k, v=v), plan.run(q, k=k, v=v))
    with pytest.raises(ValueError, match="qo_indptr must hold integers; found a tensor of"):
        plan.replan(qo_indptr=torch.zeros(2))


def test_operators(torch: Any) -> None:
    plan, q, k, v = sample(torch)
    out, lse = plan.run(q, k=k, v=v, lse=True)
    merged, sums = apus.merge_state(out, lse, out, lse, lse="natural")
    assert merged.dtype == out.dtype and torch.allclose(sums, lse + math.log(2), atol=2**-20)
    turned, _ = apus.rotate(q, q, torch.zeros(3, dtype=torch.int64), rope=apus.Rope())
    assert torch.equal(turned, q)
    cache = torch.zeros(2, 2, 4, KV_HEADS, DIM, dtype=torch.float8_e4m3fn)
    keys = k[:, 0]
    apus.append(
        keys, keys, kv=cache, page_indptr=[0, 2], page_indices=torch.tensor([1, 0]),
        last_page_length=[2], batch_indices=torch.zeros(3, dtype=torch.int32), positions=[0, 4, 5])
    assert torch.equal(
        cache[0, 1, 1].view(torch.uint8), keys[2].to(torch.float8_e4m3fn).view(torch.uint8))
    bits = apus.pack_bits(torch.tensor([True, False, True]))
    assert bits.dtype == torch.uint8 and bits.tolist() == [5]


def test_the_example_of_the_readme_runs(torch: Any) -> None:
    readme = Path(__file__).parents[1] / "README.md"
    code = readme.read_text().split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["out"].shape == (2, 32, 128) and names["out"].isfinite().all()


def everything(plan: Any, torch: Any) -> Any:
    """A program with every operator."""

    def program(q: Any, k: Any, v: Any) -> Any:
        positions = torch.arange(3)
        q, _ = apus.rotate(q * 2, q, positions, rope=apus.Rope(theta=1e3))
        out, lse = plan.run(q, k=k, v=v, lse=True)
        scaled = plan.run(q, k=k, v=v, q_scale=0.5, k_scale=torch.ones(KV_HEADS))
        merged, sums = apus.merge_state(out, lse, scaled, lse, lse="natural")
        room, rest = torch.empty_like(q), torch.empty_like(lse)
        plan.run(q, k=k, v=v, out=room, lse=rest)
        apus.merge_state_in_place(room, rest, merged, sums, lse="natural")
        many, _ = apus.merge_states(
            torch.stack([out, room], 1), torch.stack([lse, rest], 1), lse="natural")
        cache = torch.zeros(1, 2, 4, HEADS, DIM, dtype=q.dtype)
        apus.append(
            out, merged, kv=cache, page_indptr=torch.tensor([0, 1]),
            page_indices=torch.tensor([0]), last_page_length=torch.tensor([3]),
            batch_indices=torch.zeros(3, dtype=torch.int32), positions=positions)
        turned, other = room.clone(), out.clone()
        apus.rotate(turned, other, positions, rope=apus.Rope(), q_out=turned, k_out=other)
        return many + 1, room, rest, scaled, cache, turned, other

    return program


def test_compiled_programs_have_one_graph_and_the_same_bits(torch: Any) -> None:
    plan, q, k, v = sample(torch)
    program = everything(plan, torch)
    compiled = torch.compile(program, fullgraph=True, backend="aot_eager")
    for found, wanted in zip(compiled(q, k, v), program(q, k, v)):
        assert found.dtype == wanted.dtype and torch.equal(found, wanted)


def test_a_plan_made_anew_needs_no_new_compilation(torch: Any) -> None:
    plan, q, k, v = sample(torch)
    count = 0

    def backend(graph: Any, inputs: Any) -> Any:
        nonlocal count
        count += 1
        return graph.forward

    compiled = torch.compile(lambda q: plan.run(q, k=k, v=v) + 1, fullgraph=True, backend=backend)
    for lengths in ([33, 33, 33], [1, 2, 3], [33, 0, 7]):
        plan.replan(kv_lengths=lengths)
        assert torch.equal(compiled(q), plan.run(q, k=k, v=v) + 1)
    assert count == 1


def test_operators_keep_the_rules_of_torch(torch: Any) -> None:
    plan, q, k, v = sample(torch)
    rest = (q, k, v, None, None, None, None, None, None, None, None, [1.0] * 5, plan.id)
    check = torch.library.opcheck
    check(torch.ops.apus.attention.default, rest)
    check(torch.ops.apus.attention_lse.default, rest)
    check(torch.ops.apus.attention_out.default, (*rest, torch.zeros_like(q), torch.zeros(3, HEADS)))
    lse = torch.zeros(3, HEADS)
    check(torch.ops.apus.merge_state.default, (q, lse, q, lse, "base2"))
    check(torch.ops.apus.merge_state_in_place.default,
          (q.clone(), lse.clone(), q, lse, None, "base2"))
    check(torch.ops.apus.merge_states.default, (q[:, None], lse[:, None], "base2"))
    rotation = (torch.arange(3), None, False, 0, 1.0, 1e4, [])
    check(torch.ops.apus.rotate.default, (q, q, *rotation))
    check(torch.ops.apus.rotate_in_place.default, (q.clone(), k[:, 0].clone(), *rotation))
    with pytest.raises(ValueError, match="plan must be the id of a plan that is alive; found -1"):
        torch.ops.apus.attention(*rest[:-1], -1)


def test_cuda_runs_on_the_current_stream(torch: Any, cuda: str) -> None:
    plan, q, k, v = sample(torch, device=cuda, length=300)
    out, lse = plan.run(q, k=k, v=v, lse=True)
    compare(torch, plan, q, k, v, out, lse)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # The input is made on the stream: reading it earlier would see zeros.
        later = torch.zeros_like(q)
        torch.cuda._sleep(20_000_000)
        later.copy_(q)
        on_side = plan.run(later, k=k, v=v)
    side.synchronize()
    assert torch.equal(on_side, out)
    assert torch.equal(plan.run(q, k=k, v=v, stream=side), out)
    torch.cuda.synchronize()


def test_cuda_graphs_replay_with_new_contents(torch: Any, cuda: str) -> None:
    plan, q, k, v = sample(torch, device=cuda, length=300)
    out = torch.empty_like(q)
    plan.run(q, k=k, v=v, out=out)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plan.run(q, k=k, v=v, out=out)
    for seed in (1, 2):
        torch.manual_seed(seed)
        q.copy_(torch.randn_like(q))
        graph.replay()
        torch.cuda.synchronize()
        compare(torch, plan, q, k, v, out)
    with pytest.raises(RuntimeError, match="captured graph"):
        plan.replan(kv_lengths=[1, 2, 3])


def test_cuda_and_cpu_do_not_mix(torch: Any, cuda: str) -> None:
    plan, q, k, v = sample(torch, device=cuda)
    with pytest.raises(ValueError, match="k must live in cuda:0 memory; found host"):
        plan.run(q, k=k.cpu(), v=v)
    host, q, k, v = sample(torch)
    with pytest.raises(ValueError, match="v must live in host memory; found cuda:0"):
        host.run(q, k=k, v=v.cuda())


def test_cuda_operators_and_compilation(torch: Any, cuda: str) -> None:
    host, q, k, v = sample(torch)
    plan, *device = sample(torch, device=cuda)
    program = torch.compile(
        lambda q, k, v: plan.run(q, k=k, v=v, lse=True), fullgraph=True, backend="aot_eager")
    out, lse = program(*device)
    compare(torch, plan, q, k, v, out, lse)
    merged, _ = apus.merge_state(out, lse, out, lse, lse="natural")
    assert torch.allclose(merged.float(), out.float(), rtol=2**-7, atol=0)
    turned, _ = apus.rotate(device[0], device[0], torch.arange(3), rope=apus.Rope())
    wanted, _ = apus.rotate(q, q, torch.arange(3), rope=apus.Rope())
    assert torch.allclose(turned.cpu().float(), wanted.float(), rtol=2**-6, atol=2**-6)


def test_cuda_in_several_threads(torch: Any, cuda: str) -> None:
    samples = [sample(torch, device=cuda, length=100 + i) for i in range(4)]
    wanted = [plan.run(q, k=k, v=v) for plan, q, k, v in samples]
    torch.cuda.synchronize()
    failures: list[int] = []

    def work(index: int) -> None:
        plan, q, k, v = samples[index]
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(20):
                out = plan.run(q, k=k, v=v)
            torch.cuda.current_stream().synchronize()
        if not torch.equal(out, wanted[index]):
            failures.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_second_device(torch: Any, cuda: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device")
    plan, q, k, v = sample(torch, device="cuda:1")
    assert torch.cuda.current_device() == 0 and plan.backend.device == "cuda:1"
    compare(torch, plan, q, k, v, plan.run(q, k=k, v=v))

"""Memory, threads, processes, other libraries, and the command line."""

from __future__ import annotations

import copy
import ctypes
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest

import apus
from apus import _backends
from apus._tensors import Slot, _capsule_pointer


def sample(batch: int = 2, length: int = 40) -> tuple[apus.AttentionPlan, Any, Any, Any]:
    rng = np.random.default_rng(7)
    q = rng.standard_normal((batch, 4, 32), np.float32)
    k, v = rng.standard_normal((2, batch, length, 2, 32), np.float32)
    plan = apus.AttentionPlan(
        "cpu", qo_head_count=4, kv_head_count=2, head_dim_qk=32, q_type="f32",
        qo_indptr=range(batch + 1), max_length=length)
    return plan, q, k, v


@pytest.mark.parametrize("view", [
    lambda a: a, lambda a: a[1:], lambda a: a[:, 1::2], lambda a: a.transpose(1, 0, 2),
    lambda a: a[..., :4], lambda a: a[:0], lambda a: a.view(np.uint16)])
def test_slots_point_at_the_memory_of_arrays(view: Any) -> None:
    array = view(np.arange(3 * 4 * 8, dtype=np.float32).reshape(3, 4, 8))
    slot = Slot("x")
    assert slot.fill(array) == ctypes.addressof(slot.memory)
    tensor = slot.memory.tensor
    assert (tensor.data or 0) + tensor.byte_offset == array.ctypes.data
    assert tuple(slot.memory.shape[:tensor.ndim]) == array.shape
    if array.size:
        found = tuple(slot.memory.strides[:tensor.ndim])
        assert tuple(s * array.itemsize for s in found) == array.strides


def test_results_are_written_where_they_were_asked_for() -> None:
    plan, q, k, v = sample()
    wanted, sums = plan.run(q, k=k, v=v, lse=True)
    room = np.full((2, 8, 32), np.nan, np.float32)
    out, lse = room[:, ::2], np.zeros((4, 2), np.float32).T
    result = plan.run(q, k=k, v=v, out=out, lse=lse)
    assert result[0] is out and result[1] is lse
    assert np.array_equal(out, wanted) and np.array_equal(lse, sums)
    assert np.isnan(room[:, 1::2]).all()


def test_strided_inputs_give_the_bits_of_dense_ones() -> None:
    plan, q, k, v = sample()
    wanted = plan.run(q, k=k, v=v)
    both = np.concatenate([k, v], axis=-1)
    assert np.array_equal(plan.run(q, k=both[..., :32], v=both[..., 32:]), wanted)
    turned = np.ascontiguousarray(q.transpose(1, 0, 2)).transpose(1, 0, 2)
    assert not turned.flags.c_contiguous
    assert np.array_equal(plan.run(turned, k=k, v=v), wanted)


class Producer:
    """An array of a library that speaks DLPack and nothing else."""

    def __init__(self, array: np.ndarray, device: tuple[int, int] | None = None) -> None:
        self.array, self.shape, self.device_pair = array, array.shape, device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device_pair or (1, 0)


def test_other_producers_of_dlpack() -> None:
    plan, q, k, v = sample()
    wanted = plan.run(q, k=k, v=v)
    out = plan.run(Producer(q), k=Producer(k), v=Producer(v[:, :, :, :]))
    assert isinstance(out, np.ndarray) and np.array_equal(out, wanted)
    before = sys.getrefcount(k)
    plan.run(Producer(q), k=Producer(k), v=Producer(v))
    assert sys.getrefcount(k) == before
    with pytest.raises(ValueError, match="q must be exportable through DLPack; found Producer"):
        plan.run(Producer(np.zeros(3, "U1")), k=k, v=v)
    assert apus.backend_of(Producer(q)) is apus.backend("cpu")
    with pytest.raises(ValueError, match="DLPack device type 10"):
        apus.backend_of(Foreign(q))


class Foreign(Producer):
    """A tensor of a device that nobody here knows."""

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self.array.__dlpack__()
        address = _capsule_pointer(capsule, b"dltensor")
        ctypes.c_int32.from_address(address + 8).value = 10
        return capsule


def test_types_of_ml_dtypes() -> None:
    types = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    plan = apus.AttentionPlan(
        "cpu", qo_head_count=1, kv_head_count=1, head_dim_qk=16, q_type="bf16", kv_type="e4m3",
        qo_indptr=[0, 1], kv_indptr=[0, 3])
    q = np.ones((1, 1, 16), types.bfloat16)
    k = np.ones((3, 1, 16), types.float8_e4m3fn)
    out = plan.run(q, k=k, v=k)
    assert out.dtype == types.bfloat16 and (out.astype(np.float32) == 1).all()
    plain = plan.run(q.view(np.uint16), k=k.view(np.uint8), v=k.view(np.uint8))
    assert plain.dtype == np.uint16 and np.array_equal(plain, out.view(np.uint16))


def test_threads_share_a_plan() -> None:
    plan, q, k, v = sample(8, 300)
    inputs = [q + i for i in range(8)]
    wanted = [plan.run(x, k=k, v=v) for x in inputs]
    failures: list[str] = []

    def work(index: int) -> None:
        for _ in range(30):
            if not np.array_equal(plan.run(inputs[index], k=k, v=v), wanted[index]):
                failures.append(f"thread {index}")
            try:
                plan.run(inputs[index], k=k[:, :index], v=v)
            except ValueError as error:
                # The message is the thread's own.
                if f"{index}, 2, 32]" not in str(error):
                    failures.append(str(error))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_back_ends_and_plans_end() -> None:
    backend = apus.Backend("cpu", threads=1)
    plan = apus.AttentionPlan(
        backend, qo_head_count=1, kv_head_count=1, head_dim_qk=8, q_type="f32", qo_indptr=[0, 1],
        kv_indptr=[0, 1])
    handle, number = plan.handle, plan.id
    from apus._attention import plans

    assert plans[number] is plan
    del plan
    assert number not in plans
    status = apus._native.library.apus_plan_destroy(handle)
    assert status == apus._native.INVALID_ARGUMENT
    assert apus.backend("cpu") is apus.backend("cpu") and apus.backend(backend) is backend
    assert backend.name == "cpu" and repr(backend) == "apus.Backend('cpu')"


def test_plans_can_be_pickled_and_copied() -> None:
    plan, q, k, v = sample()
    for other in (pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan)):
        assert other.id != plan.id and other.backend is plan.backend
        assert np.array_equal(other.run(q, k=k, v=v), plan.run(q, k=k, v=v))


def in_child(work: Any) -> str:
    """The text that ``work`` returns in a forked child."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The pool of the back end has threads; the point is that the child copes.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            text = work()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    text = b""
    while part := os.read(reader, 4096):
        text += part
    os.close(reader)
    assert os.waitpid(child, 0)[1] == 0, "the child crashed"
    return text.decode()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_the_cpu_works_in_a_forked_child() -> None:
    # Long enough for the threads of the pool to take part.
    plan, q, k, v = sample(8, 600)
    wanted = plan.run(q, k=k, v=v)
    lists = np.array([0, 1])
    changed = apus.AttentionPlan(
        "cpu", qo_head_count=4, kv_head_count=2, head_dim_qk=32, q_type="f32", qo_indptr=lists,
        kv_indptr=[0, 5])
    lists[1] = 99

    def work() -> str:
        same = np.array_equal(plan.run(q, k=k, v=v), wanted)
        fresh = sample(8, 600)[0]
        again = np.array_equal(fresh.run(q, k=k, v=v), wanted)
        # The list as it was when the plan was made.
        own = changed.run(q[:1], k=k[0, :5], v=v[0, :5]).shape
        apus.merge_state(q, q[..., 0], q, q[..., 0])
        return f"{same} {again} {own}"

    assert in_child(work) == "True True (1, 4, 32)"
    assert np.array_equal(plan.run(q, k=k, v=v), wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_children_work_whatever_other_threads_held() -> None:
    plan, q, k, v = sample(8, 60)
    wanted = plan.run(q, k=k, v=v)
    done = threading.Event()

    def hammer() -> None:
        while not done.is_set():
            mine, *tensors = sample(2, 5)
            mine.run(tensors[0], k=tensors[1], v=tensors[2])
            mine.describe()

    def work() -> str:
        signal.alarm(30)
        fresh = sample(8, 60)[0]
        return f"{np.array_equal(plan.run(q, k=k, v=v), wanted)} " + str(
            np.array_equal(fresh.run(q, k=k, v=v), wanted))

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            assert in_child(work) == "True True"
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_cuda_in_a_forked_child_is_a_clear_error() -> None:
    backend = apus.Backend.__new__(apus.Backend)
    backend.device, backend._handle, backend._generation = "cuda:0", 0, _backends.generation()

    def work() -> str:
        backend.handle
        return "no error"

    assert in_child(work).startswith(
        "RuntimeError: apus: back end cuda:0 must be used in the process that made it; found a "
        "forked child.")


def command(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "apus", "--json", *arguments], capture_output=True, text=True,
        check=True)
    return json.loads(done.stdout)


def test_commands() -> None:
    assert command("version")["apus"] == apus.__version__
    devices = command("devices")
    assert devices["cpu"]["name"] == "cpu"
    assert len(devices) == 1 + apus.cuda_device_count()
    bench = command("bench-call", "--repetitions", "50")
    assert bench["numpy_run_microseconds"] > 0 and bench["import_seconds"] > 0


def test_neither_torch_nor_numpy_is_imported() -> None:
    code = "import apus, sys; assert not {'torch', 'numpy'} & set(sys.modules), 'imported'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_library_is_an_import_error() -> None:
    code = (
        "try:\n  import apus\nexcept ImportError as error:\n"
        "  assert 'found /nowhere/libapus.so' in str(error), error\n"
        "else:\n  raise SystemExit('none')")
    subprocess.run(
        [sys.executable, "-c", code], check=True,
        env={**os.environ, "APUS_LIBRARY": "/nowhere/libapus.so"})

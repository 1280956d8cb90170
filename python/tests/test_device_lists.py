"""Lists of integers on a CUDA device: appends and rotations follow them there.

Without a device, the structures that carry them are tested on the CPU, which reads and checks them.
"""

from __future__ import annotations

from typing import Any

import pytest

import apus
from apus import _device_lists, _operators

pytestmark = pytest.mark.usefixtures("torch")
HEADS, DIM, PAGE = 2, 64, 4
# Pages of each request after the append; tokens as (request, position).
INDPTR, INDICES = [0, 2, 3, 5], [3, 1, 2, 6, 5]
TABLE = [[3, 1], [2, -1], [6, 5]]
TOKENS = [(0, 5), (1, 2), (-1, 0), (2, 4), (0, 3)]


class Lists:
    """The lists of one append on a device, and what they must do to a cache."""

    def __init__(self, torch: Any, device: str, kind: str = "int32", table: bool = False) -> None:
        def tensor(values: Any) -> Any:
            return torch.tensor(values, dtype=getattr(torch, kind), device=device)

        self.torch, self.device = torch, device
        self.requests = tensor([request for request, _ in TOKENS])
        self.positions = tensor([position for _, position in TOKENS])
        self.pages = {"block_table": tensor(TABLE)} if table else {
            "page_indptr": tensor(INDPTR), "page_indices": tensor(INDICES)}
        generator = torch.Generator().manual_seed(3)
        self.rows = torch.randn((len(TOKENS), HEADS, DIM), generator=generator).to(
            torch.bfloat16).to(device)
        self.values = -self.rows

    def cache(self) -> Any:
        return self.torch.zeros(
            7, 2, PAGE, HEADS, DIM, dtype=self.torch.bfloat16, device=self.device)

    def append(self, cache: Any, **options: Any) -> None:
        apus.append(
            self.rows, self.values, kv=cache, batch_indices=self.requests,
            positions=self.positions, **self.pages, **options)

    def wanted(self) -> Any:
        cache = self.cache()
        for token, (request, position) in enumerate(
            zip(self.requests.tolist(), self.positions.tolist())
        ):
            if request < 0:
                continue
            page = TABLE[request][position // PAGE]
            cache[page, 0, position % PAGE] = self.rows[token]
            cache[page, 1, position % PAGE] = -self.rows[token]
        return cache


@pytest.fixture
def followed(torch: Any, monkeypatch: Any) -> Any:
    """Has the CPU take lists as tensors, as a GPU does."""
    monkeypatch.setattr(
        _operators, "_follows",
        lambda place, *lists, stays=False: any(
            isinstance(values, torch.Tensor) for values in lists))
    for module in (_operators, _device_lists):
        monkeypatch.setattr(
            module, "on_device",
            lambda name, values, *, wide=False, **options: (
                values if wide else torch.as_tensor(values, dtype=torch.int32)))


@pytest.mark.parametrize("table", [False, True])
def test_structures_of_lists_reach_the_library(torch: Any, followed: Any, table: bool) -> None:
    lists = Lists(torch, "cpu", table=table)
    cache = lists.cache()
    lists.append(cache)
    assert torch.equal(cache, lists.wanted())
    # The CPU checks what they hold.
    lists.positions[0] = 8
    with pytest.raises(ValueError, match=r"positions must be within .* found 8 of 8"):
        lists.append(cache)
    lists.positions = lists.positions[:2]
    with pytest.raises(ValueError, match=r"positions must have shape \[5\]; found \[2\]"):
        lists.append(cache)


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_positions_reach_the_library(torch: Any, followed: Any, kind: str) -> None:
    q = torch.randn(3, HEADS, DIM)
    positions = torch.tensor([7, 0, 2], dtype=getattr(torch, kind))
    turned = apus.rotate(q, q, positions, rope=apus.Rope())
    wanted = apus.rotate(q, q, [7, 0, 2], rope=apus.Rope())
    assert all(torch.equal(a, b) for a, b in zip(turned, wanted))
    with pytest.raises(ValueError, match="positions must be in 0…2147483647; found -1 at row 1"):
        apus.rotate(q, q, torch.tensor([0, -1, 2]), rope=apus.Rope())


def test_pages_come_in_one_form(torch: Any, followed: Any) -> None:
    lists = Lists(torch, "cpu")
    lists.pages["block_table"] = torch.tensor(TABLE)
    with pytest.raises(ValueError, match="block_table, must be given; found page_indptr, page_ind"):
        lists.append(lists.cache())
    lists.pages = {"page_indptr": torch.tensor(INDPTR)}
    with pytest.raises(ValueError, match="must be given; found page_indptr"):
        lists.append(lists.cache())


@pytest.fixture
def no_waits(torch: Any, cuda: str) -> Any:
    """Any wait that torch sees is an error: a copy of a device's list to the host is one."""
    torch.cuda.synchronize()

    class Guard:
        def __enter__(self) -> None:
            torch.cuda.set_sync_debug_mode("error")

        def __exit__(self, *arguments: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")

    return Guard()


@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize("table", [False, True])
def test_cuda_appends_follow_lists(
    torch: Any, cuda: str, no_waits: Any, kind: str, table: bool
) -> None:
    lists = Lists(torch, cuda, kind, table)
    cache = lists.cache()
    with no_waits:
        lists.append(cache)
    assert torch.equal(cache, lists.wanted())
    # Lists of the host beside one of the device go there.
    mixed = Lists(torch, cuda, kind, table)
    mixed.pages = {name: values.cpu() for name, values in mixed.pages.items()}
    again = lists.cache()
    mixed.append(again)
    assert torch.equal(again, cache)


@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize("table", [False, True])
def test_cuda_rotations_follow_positions(
    torch: Any, cuda: str, no_waits: Any, kind: str, table: bool
) -> None:
    q = torch.randn(5, HEADS, DIM, device=cuda)
    numbers = [9, 0, 31, 2, 2]
    positions = torch.tensor(numbers, dtype=getattr(torch, kind), device=cuda)
    options: dict[str, Any] = {"rope": apus.Rope()}
    if table:
        options = {"cos_sin_cache": torch.randn(32, DIM, device=cuda)}
    wanted = apus.rotate(q, q, numbers, **options)
    apus.rotate(q, q, positions, **options)
    with no_waits:
        turned = apus.rotate(q, q, positions, **options)
    assert all(torch.equal(a, b) for a, b in zip(turned, wanted))


def test_cuda_graphs_replay_with_new_lists(torch: Any, cuda: str) -> None:
    lists = Lists(torch, cuda)
    long = torch.tensor([1, 5, 9, 2, 0], device=cuda)
    q, cache = lists.rows.clone(), lists.cache()
    turned = torch.empty_like(q), torch.empty_like(q)

    def step() -> None:
        lists.append(cache)
        apus.rotate(q, q, long, rope=apus.Rope(), q_out=turned[0], k_out=turned[1])

    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for requests, positions in (
        ([2, 1, 0, -1, 0], [7, 0, 4, 0, 2]), ([1, 1, 1, 2, 2], [0, 1, 3, 0, 5])
    ):
        lists.requests.copy_(torch.tensor(requests))
        lists.positions.copy_(torch.tensor(positions))
        long.copy_(torch.tensor(positions))
        cache.zero_()
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(cache, lists.wanted())
        wanted = apus.rotate(q, q, positions, rope=apus.Rope())
        assert torch.equal(turned[0], wanted[0])


def test_cuda_lists_of_another_stream(torch: Any, cuda: str) -> None:
    side = torch.cuda.Stream()
    for explicit in (False, True):
        lists, wanted = Lists(torch, cuda, "int64"), Lists(torch, cuda).wanted()
        cache, positions = lists.cache(), lists.positions.clone()
        lists.positions.fill_(-1)
        side.wait_stream(torch.cuda.current_stream())
        # The lists are made on the stream: reading them earlier would skip every token.
        with torch.cuda.stream(side):
            torch.cuda._sleep(20_000_000)
            lists.positions.copy_(positions)
            if not explicit:
                lists.append(cache)
        if explicit:
            lists.append(cache, stream=side)
        side.synchronize()
        assert torch.equal(cache, wanted)


def test_cuda_lists_that_are_checked(torch: Any, cuda: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(_device_lists, "checks_lists", True)
    lists = Lists(torch, cuda)
    lists.pages["last_page_length"] = torch.tensor([4, 4, 4], device=cuda)
    cache = lists.cache()
    lists.append(cache)
    assert torch.equal(cache, lists.wanted())
    lists.positions[0] = 8
    with pytest.raises(ValueError, match="positions must be within the request's length"):
        lists.append(cache)


@pytest.mark.parametrize("change, message", [
    (lambda lists: setattr(lists, "positions", lists.positions.float()), "positions must hold int"),
    (lambda lists: setattr(lists, "positions", lists.positions[:2]), r"shape \[5\]; found \[2\]"),
    (lambda lists: setattr(lists, "positions", lists.positions[None]), "must have 1 dimension"),
])
def test_cuda_lists_of_wrong_type_and_shape(
    torch: Any, cuda: str, change: Any, message: str
) -> None:
    lists = Lists(torch, cuda)
    change(lists)
    with pytest.raises(ValueError, match=message):
        lists.append(lists.cache())


def test_cuda_copies_nothing(torch: Any, cuda: str) -> None:
    """Every tensor reaches the library at its own address, and a run takes no memory."""
    q, k, v = (torch.randn(3, n, HEADS, DIM, device=cuda).to(torch.bfloat16) for n in (1, 33, 33))
    q, out = q[:, 0], torch.empty(3, HEADS, DIM, dtype=torch.bfloat16, device=cuda)
    lse = torch.empty(3, HEADS, device=cuda)
    plan = apus.AttentionPlan(
        cuda, qo_head_count=HEADS, kv_head_count=HEADS, head_dim_qk=DIM, qo_indptr=[0, 1, 2, 3],
        max_length=33)
    plan.run(q, k=k, v=v, out=out, lse=lse)
    lists, cache = Lists(torch, cuda), Lists(torch, cuda).cache()
    lists.append(cache)
    turned = apus.rotate(q, q, lists.positions[:3], rope=apus.Rope())
    torch.cuda.synchronize()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    found = plan.run(q, k=k, v=v, out=out, lse=lse)
    lists.append(cache)
    apus.rotate(q, q, lists.positions[:3], rope=apus.Rope(), q_out=turned[0], k_out=turned[1])
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
    assert found[0] is out and found[1] is lse
    frame = plan._frames[-1]
    addresses = [frame.q.words[0], frame.o.words[0]] + [
        frame.optional[name].words[0] for name in ("k", "v", "lse")]
    assert addresses == [tensor.data_ptr() for tensor in (q, out, k, v, lse)]


def test_cuda_compiled_programs_follow_lists(torch: Any, cuda: str) -> None:
    lists = Lists(torch, cuda)

    def program(rows: Any, cache: Any, positions: Any) -> Any:
        apus.append(
            rows, -rows, kv=cache, batch_indices=lists.requests, positions=positions,
            **lists.pages)
        return apus.rotate(rows * 2, rows, positions.clamp(min=0), rope=apus.Rope())[0] + 1

    wanted_cache, cache = lists.cache(), lists.cache()
    wanted = program(lists.rows, wanted_cache, lists.positions)
    compiled = torch.compile(program, fullgraph=True)
    found = compiled(lists.rows, cache, lists.positions)
    assert torch.equal(cache, wanted_cache) and torch.equal(cache, lists.wanted())
    assert torch.allclose(found.float(), wanted.float(), rtol=2**-7, atol=2**-7)


def test_the_second_device_follows_lists(torch: Any, cuda: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device")
    lists = Lists(torch, "cuda:1", "int64")
    cache = lists.cache()
    lists.append(cache)
    assert torch.cuda.current_device() == 0
    assert torch.equal(cache, lists.wanted())
    q = torch.randn(5, HEADS, DIM, device="cuda:1")
    turned = apus.rotate(q, q, lists.positions, rope=apus.Rope())[0]
    assert torch.equal(turned, apus.rotate(q, q, lists.positions.tolist(), rope=apus.Rope())[0])
    with pytest.raises(ValueError, match="must live in cuda:1 memory; found cuda:0"):
        lists.requests = lists.requests.to(torch.int32).to("cuda:0")
        lists.append(cache)

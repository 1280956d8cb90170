"""What the tests of FlashAttention, FlashMLA and their clients share.

Every test draws its numbers from a seed of its own, printed where it fails. APUS_TEST_DEVICE=cuda:0
runs them on a GPU, where NotImplementedError skips what there is no kernel for.
"""

import os
import zlib

import pytest

DEVICE = os.environ.get("APUS_TEST_DEVICE", "cpu")

try:
    import torch
except ImportError:
    torch = None
else:
    # The oracle is small; threads of its own would only wait for those of the library.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed(request):
    value = zlib.crc32(request.node.nodeid.encode())
    print(f"seed {value}")
    if torch is None:
        yield value
        return
    torch.manual_seed(value)
    if DEVICE == "cpu":
        yield value
        return
    with torch.device(DEVICE):
        yield value


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    outcome = yield
    if DEVICE != "cpu" and outcome.excinfo and issubclass(outcome.excinfo[0], NotImplementedError):
        outcome.force_exception(pytest.skip.Exception(str(outcome.excinfo[1])))


__all__ = ["pytest_runtest_call", "seed"]

"""Shared fixtures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def cpu() -> Any:
    """The CPU back end."""
    import apus

    return apus.backend("cpu")


@pytest.fixture(scope="session")
def torch() -> Any:
    """torch, or a skip with the reason."""
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture
def cuda(torch: Any) -> str:
    """A CUDA device that torch and Apus can use."""
    import apus

    if not torch.cuda.is_available() or apus.cuda_device_count() == 0:
        pytest.skip("no CUDA device")
    return "cuda:0"

"""Fixtures of these tests; see flash_plugin."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "compat_flash_attn"))

from flash_plugin import pytest_runtest_call, seed, torch  # noqa: E402, F401

if torch is None:
    # The interface is one of torch: without it there is nothing to test.
    collect_ignore_glob = ["test_*.py"]

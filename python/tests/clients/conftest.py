"""Fixtures of these tests; see flash_plugin."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "compat_flash_attn"))

from flash_plugin import pytest_runtest_call, seed, torch  # noqa: E402, F401

if torch is None:
    # Clients without torch are the NumPy example.
    collect_ignore = ["test_shims.py", "test_transformers.py"]
